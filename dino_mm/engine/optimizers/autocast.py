"""bfloat16 for configs of mmpretrain, mmseg and mmdet, on any device."""

from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from dino_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """MMEngine's OptimWrapper with the forward pass in bfloat16.

    MMEngine's own ``AmpOptimWrapper`` refuses CPUs and scales the loss, which bfloat16, with the
    range of float32, has no need of. What ``--amp`` of ``tools/train.py`` sets.

    Args:
        kwargs: Those of :class:`mmengine.optim.OptimWrapper`, clipping included.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.device_type = get_device().split(':')[0]

    @contextmanager
    def optim_context(self, model: nn.Module):
        with super().optim_context(model), torch.autocast(self.device_type, torch.bfloat16):
            yield
