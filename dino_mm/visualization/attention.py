"""Picture of where the class token looks."""

import torch
from matplotlib.figure import Figure
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


def draw_attention(path: str, pictures: Tensor, attention: Tensor) -> None:
    """Draws one row per image: the image, its mean attention, then each head.

    Args:
        path (str): Picture file.
        pictures (Tensor): (B, 3, H, W) uint8.
        attention (Tensor): (B, heads, h, w).
    """
    rows, heads = attention.shape[:2]
    figure = Figure(figsize=(1.6 * (heads + 2), 1.6 * rows), layout='constrained')
    axes = figure.subplots(rows, heads + 2, squeeze=False)
    titles = ['image', 'mean', *(f'head {i}' for i in range(heads))]
    for row, (picture, maps) in enumerate(zip(pictures, attention.cpu(), strict=True)):
        axes[row, 0].imshow(picture.permute(1, 2, 0).cpu())
        for column, values in enumerate([maps.mean(0), *maps], start=1):
            axes[row, column].imshow(values, cmap='inferno')
        for column, title in enumerate(titles):
            axes[row, column].set_axis_off()
            if row == 0:
                axes[row, column].set_title(title, fontsize=9)
    figure.savefig(path, dpi=100)
