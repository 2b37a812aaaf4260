"""Optimiser step of DINO: autocast, per-parameter clipping, skipping of non-finite gradients."""

from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from dino_mm.registry import OPTIM_WRAPPERS

from .precision import best_amp_dtype


def clip_each_grad_(norms: Tensor, grads: list[Tensor], max_norm: float) -> None:
    r"""Clips each gradient to L2 norm ``max_norm`` on its own, without a host synchronisation.

    .. math:: g_i \leftarrow g_i \min(1, max\_norm / (\|g_i\| + 10^{-6}))

    Args:
        norms (Tensor): (P,) norms of ``grads``.
        grads (list[Tensor]): Gradients, changed in place.
        max_norm (float): Largest norm left.

    Source: ``clip_gradients`` of the reference.
    """
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(grads, list(factors.unbind()))


@OPTIM_WRAPPERS.register_module()
class DINOOptimWrapper(OptimWrapper):
    """Optimiser wrapper with mixed precision on any device.

    A step whose gradients are not all finite is skipped and counted; :meth:`pop_skipped` tells
    how many were and names the first such tensor.

    Args:
        dtype (str | None): Autocast type of the forward pass: ``'bfloat16'``, ``'float16'`` (with
            loss scaling), ``None`` for float32, or ``'auto'`` for what the hardware is fast in.
        clip_grad (float | None): Largest L2 norm of each single gradient; ``None`` or 0 disables.
        kwargs: ``optimizer`` and ``accumulative_counts`` of
            :class:`mmengine.optim.OptimWrapper`.
    """

    dtypes = {None: None, 'bfloat16': torch.bfloat16, 'float16': torch.float16}

    def __init__(self, dtype: str | None = None, clip_grad: float | None = None, **kwargs) -> None:
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
        self._skipped = 0
        self._culprit = ''

    @contextmanager
    def optim_context(self, model: nn.Module):
        with (
            super().optim_context(model),
            torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not None),
        ):
            yield

    def backward(self, loss: Tensor, **kwargs) -> None:
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs) -> None:
        self.scaler.unscale_(self.optimizer)
        params = [p for group in self.optimizer.param_groups for p in group['params']]
        grads = [p.grad for p in params if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(grads))  # (P,)
        self.grad_norm = norms.norm()
        if not self.grad_norm.isfinite():
            self._skipped += 1
            self._culprit = self._name_of(grads[int((~norms.isfinite()).nonzero()[0])])
        else:
            if self.max_norm:
                clip_each_grad_(norms, grads, self.max_norm)
            self.optimizer.step(**kwargs)
        self.scaler.update()

    def _name_of(self, grad: Tensor) -> str:
        for index, group in enumerate(self.optimizer.param_groups):
            for i, param in enumerate(group['params']):
                if param.grad is grad:
                    # Groups of foreign constructors carry no names.
                    return group['names'][i] if 'names' in group else f'group {index}, tensor {i}'
        raise KeyError('gradient of no parameter')

    def pop_skipped(self) -> tuple[int, str]:
        """Steps skipped since the last call and the first non-finite gradient of the latest."""
        result = (self._skipped, self._culprit)
        self._skipped, self._culprit = 0, ''
        return result

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
