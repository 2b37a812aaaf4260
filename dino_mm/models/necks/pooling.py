"""Necks that turn what a backbone returns into one vector per image."""

from mmengine.model import BaseModule
from torch import Tensor

from dino_mm.registry import MODELS


def last_output(outputs: Tensor | tuple | list) -> Tensor:
    """A backbone's last output, whether it returns a tensor or a sequence of stages."""
    while isinstance(outputs, (tuple, list)):
        outputs = outputs[-1]
    return outputs


@MODELS.register_module()
class ClassToken(BaseModule):
    """Class token: passes (B, C) on, takes the first token of (B, N, C)."""

    def forward(self, outputs: Tensor | tuple | list) -> Tensor:
        x = last_output(outputs)
        if x.ndim == 4:
            raise ValueError(
                f'the backbone returns maps of shape {tuple(x.shape)}, which hold no class token: '
                "use neck=dict(type='GlobalAveragePool')"
            )
        return x if x.ndim == 2 else x[:, 0]


@MODELS.register_module()
class GlobalAveragePool(BaseModule):
    """Mean over positions of (B, C, H, W) or tokens of (B, N, C); passes (B, C) on."""

    def forward(self, outputs: Tensor | tuple | list) -> Tensor:
        x = last_output(outputs)
        if x.ndim == 4:
            return x.mean(dim=(2, 3))
        return x.mean(dim=1) if x.ndim == 3 else x
