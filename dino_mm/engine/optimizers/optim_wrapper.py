"""Optimizer step of DINO: autocast, per-parameter clipping, skipping of non-finite gradients."""

from collections.abc import Sequence
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from dino_mm.registry import OPTIM_WRAPPERS
from dino_mm.utils.checks import check_number
from dino_mm.utils.precision import best_amp_dtype


def clip_each_grad_(norms: Tensor, grads: list[Tensor], max_norm: float) -> None:
    r"""Clips each gradient to L2 norm ``max_norm`` on its own, without a host synchronization.

    .. math:: g_i \leftarrow g_i \min(1, max\_norm / (\|g_i\| + 10^{-6}))

    Args:
        norms (Tensor): (P,) norms of ``grads``.
        grads (list[Tensor]): Gradients, changed in place.
        max_norm (float): Largest norm left.

    Source: ``clip_gradients`` of the reference.
    """
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(grads, list(factors.unbind()))


def accumulation_of(wrapper: OptimWrapper) -> int:
    """Batches that share one step of an optimizer or its wrapper."""
    return getattr(wrapper, '_accumulative_counts', 1)


def is_between_steps(wrapper: OptimWrapper) -> bool:
    """Whether no gradient is held for a step that still lacks batches."""
    return getattr(wrapper, '_inner_count', 0) % accumulation_of(wrapper) == 0


@OPTIM_WRAPPERS.register_module()
class DINOOptimWrapper(OptimWrapper):
    """Optimizer wrapper with mixed precision on any device.

    A step whose gradients are not all finite is skipped and counted; :meth:`pop_steps` tells how
    many were and names the first such value. Weights and moments then stay as they were, and what
    the forward pass did to buffers (statistics of batch norm, the center) is undone. With a fused
    optimizer all of this happens on the device, so that the host never waits for it.

    Args:
        dtype (str | None): Autocast type of the forward pass: ``'bfloat16'``, ``'float16'`` (with
            loss scaling), ``None`` for float32, or ``'auto'`` for what the hardware is fast in.
        clip_grad (float | None): Largest L2 norm of each single gradient; ``None`` or 0 disables.
        kwargs: ``optimizer`` and ``accumulative_counts`` of
            :class:`mmengine.optim.OptimWrapper`.
    """

    dtypes = {None: None, 'bfloat16': torch.bfloat16, 'float16': torch.float16}

    def __init__(self, dtype: str | None = None, clip_grad: float | None = None, **kwargs) -> None:
        # MMEngine's own check is an assertion without the key's name, and is met only later.
        accumulated = kwargs.get('accumulative_counts', 1)
        check_number('optim_wrapper.accumulative_counts', accumulated, whole=True, at_least=1)
        check_number('optim_wrapper.clip_grad', clip_grad, optional=True, at_least=0)
        super().__init__(**kwargs)
        if dtype == 'auto':
            dtype = best_amp_dtype()
        if dtype not in self.dtypes:
            known = ['auto', *self.dtypes]
            raise ValueError(f'optim_wrapper.dtype must be one of {known}, got {dtype!r}')
        self.dtype = self.dtypes[dtype]
        self.max_norm = clip_grad
        self.device_type = get_device().split(':')[0]
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=self.dtype is torch.float16)
        self.grad_norm: Tensor | None = None  # of the last step, before clipping
        self._loss: Tensor | None = None  # of the step to come
        self._steps = 0  # since last asked
        self._skipped: Tensor | None = None  # how often since last asked, and where
        self._model: nn.Module | None = None
        self._stored: list[Tensor] = []  # buffers of this model that checkpoints hold
        self._buffers: list[tuple[Tensor, Tensor]] = []  # and what they held before this step

    @contextmanager
    def optim_context(self, model: nn.Module):
        if is_between_steps(self):
            if self._model is not model:  # looked up once: a step has no time for it
                stored = model.state_dict(keep_vars=True).values()
                self._stored = [
                    value
                    for value in stored
                    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
                ]
                self._model = model
            self._buffers = [(buffer, buffer.clone()) for buffer in self._stored]
        with (
            super().optim_context(model),
            torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not None),
        ):
            yield

    def backward(self, loss: Tensor, **kwargs) -> None:
        detached = loss.detach().float()
        self._loss = detached if self._loss is None else self._loss + detached
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs) -> None:
        self._steps += 1
        self.scaler.unscale_(self.optimizer)
        params = [p for group in self.optimizer.param_groups for p in group['params']]
        grads = [p.grad for p in params if p.grad is not None]
        norms = torch._foreach_norm(grads)
        self.grad_norm = torch.stack(norms).norm()
        finite = self.grad_norm.isfinite()
        self._count_skipped(finite, params, norms)
        for buffer, before in self._buffers:
            buffer.copy_(torch.where(finite.to(buffer.device), buffer, before))
        self._buffers = []
        if self.max_norm:
            clip_each_grad_(torch.stack(norms), grads, self.max_norm)
        # Fused optimizers read this flag on the device, and leave weights and moments as they are.
        fused = all(group.get('fused') for group in self.optimizer.param_groups)
        if fused:
            self.optimizer.grad_scale, self.optimizer.found_inf = None, (~finite).float()
            self._prepare_momentum()
        if fused or finite:
            self.optimizer.step(**kwargs)
        self.scaler.update()

    def _prepare_momentum(self) -> None:
        """Zeros as the first momentum of SGD, which are the same as none.

        PyTorch's fused SGD refuses parameters that take part later than others, and leaves what a
        skipped first step allocates unwritten.
        """
        for group in self.optimizer.param_groups:
            for param in group['params'] if group.get('momentum') else ():
                if self.optimizer.state[param].get('momentum_buffer') is None:
                    self.optimizer.state[param]['momentum_buffer'] = torch.zeros_like(param)

    def _count_skipped(self, finite: Tensor, params: list[Tensor], norms: Sequence[Tensor]) -> None:
        norm_of, zero = iter(norms), torch.zeros_like(norms[0])
        loss = zero if self._loss is None else self._loss
        values = [loss] + [zero if p.grad is None else next(norm_of) for p in params]
        self._loss = None
        first = (~torch.stack(values).isfinite()).int().argmax()  # 0 is the loss
        if self._skipped is None:
            self._skipped = torch.zeros_like(first).repeat(2)
        latest = torch.stack([self._skipped[0] + 1, first])
        self._skipped = torch.where(finite, self._skipped, latest)

    def pop_steps(self) -> tuple[int, int, str]:
        """Steps since the last call, how many of them were skipped, and why the latest was.

        Halts the host until the device has caught up.
        """
        (skipped, place) = (0, 0) if self._skipped is None else self._skipped.tolist()
        steps, self._steps, self._skipped = self._steps, 0, None
        if not skipped:
            return steps, 0, ''
        culprit = 'the loss' if place == 0 else f'the gradient of {self._names()[place - 1]}'
        return steps, skipped, culprit

    def _names(self) -> list[str]:
        names = []
        for index, group in enumerate(self.optimizer.param_groups):
            # Groups of foreign constructors carry no names.
            plain = [f'group {index}, tensor {i}' for i in range(len(group['params']))]
            names += group.get('names', plain)
        return names

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.scaler.is_enabled():
            state['loss_scaler'] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        scaler = state_dict.pop('loss_scaler', None)
        if scaler is not None and self.scaler.is_enabled():
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)
