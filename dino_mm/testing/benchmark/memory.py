"""Memory of a training step on a GPU, calculated where there is none."""

import weakref
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from dino_mm.models.losses import fused


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: set[int] = set()

    def add(self, tensor: Tensor) -> None:
        """Counts a tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_flatten(out)[0]:
            if isinstance(value, Tensor):
                self.add(value)
        return out


def drop_contents(module: nn.Module, mode: FakeTensorMode) -> None:
    """Leaves the tensors of a module their shapes only."""

    def convert(tensor: Tensor) -> Tensor:
        empty = mode.from_tensor(tensor.detach())
        if not isinstance(tensor, nn.Parameter):
            return empty
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)

    for part in module.modules():
        for kept in (part._parameters, part._buffers):
            kept.update({name: convert(v) for name, v in kept.items() if v is not None})


def calculate_peak(module: nn.Module, build: Callable[[], Callable[[], None]]) -> float:
    """GiB at the peak of a step: weights, moments, gradients, activations. Nothing is computed.

    For what a GPU would take, give the model ``attention='sdpa'`` and the loss a ``chunk_size``
    of the batch, as they are there. It does not see what libraries and the allocator add.

    Args:
        module (nn.Module): Model on CPU; useless afterwards.
        build (Callable): Makes optimizer and inputs, and returns the step.
    """
    # A GPU is not asked for the loss's factor, and here there is none to ask.
    factor = mock.patch.object(fused, '_scaled', Tensor.mul_)
    # Tensors without contents have no pages.
    empty = mock.patch.object(fused, 'empty_in_large_pages', torch.empty_like)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, LiveBytes() as counter, factor, empty:
        drop_contents(module, mode)
        for tensor in [*module.parameters(), *module.buffers()]:
            counter.add(tensor)
        step = build()
        for _ in range(2):  # moments exist from the second on
            step()
    return counter.peak / 2**30
