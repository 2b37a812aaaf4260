"""What a vision transformer attends to."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def class_token_attention(backbone: nn.Module, images: Tensor, layer: int = -1) -> Tensor:
    """Attention of the class token over patches: (B, C, H, W) -> (B, heads, h, w).

    Args:
        backbone (nn.Module): :class:`dino_mm.models.VisionTransformer`.
        images (Tensor): Normalized images.
        layer (int): Which layer.

    Source: ``visualize_attention.py`` of the reference.
    """
    attention = backbone.get_attention(images, layer)
    attention = attention[:, :, 0, backbone.num_prefix_tokens :]  # (B, heads, N)
    grid = [side // backbone.patch_size for side in images.shape[-2:]]
    return attention.unflatten(-1, grid)
