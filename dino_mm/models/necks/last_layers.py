"""Last layers of a vision transformer, as linear classifiers see them."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor

from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number


def last_layer_parts(layers: Sequence[Tensor], num_prefix_tokens: int = 1) -> Tensor:
    """Class token of each layer and the mean patch token of the last one.

    Args:
        layers (Sequence[Tensor]): n layers' normalized tokens (B, R + 1 + N, C).
        num_prefix_tokens (int): Class token and R registers.

    Returns:
        Tensor: (B, n + 1, C), the mean patch token last.
    """
    patches = layers[-1][:, num_prefix_tokens:].mean(dim=1)
    return torch.stack([*(layer[:, 0] for layer in layers), patches], dim=1)


@MODELS.register_module()
class LastLayers(BaseModule):
    """Concatenated class tokens of several layers, with or without pooled patches.

    For a backbone with ``out_type='raw'`` and the wanted layers as ``out_indices``
    (``eval_linear`` of the reference: four layers for ViT-S, one and pooled patches for ViT-B).

    Args:
        avg_patches (bool): Append the mean patch token of the last layer.
        num_prefix_tokens (int): Tokens before the patches: class token and registers.
    """

    def __init__(self, avg_patches: bool = False, num_prefix_tokens: int = 1) -> None:
        super().__init__()
        # The first of them is the class token.
        check_number('LastLayers.num_prefix_tokens', num_prefix_tokens, whole=True, at_least=1)
        self.avg_patches, self.num_prefix_tokens = avg_patches, num_prefix_tokens

    def forward(self, outputs: Sequence[Tensor]) -> tuple[Tensor]:
        """n layers' tokens (B, T, C) to a tuple of one tensor (B, C * n) or (B, C * (n + 1))."""
        parts = last_layer_parts(outputs, self.num_prefix_tokens)
        return ((parts if self.avg_patches else parts[:, :-1]).flatten(1),)
