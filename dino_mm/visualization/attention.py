"""Picture of where the class token looks."""

from matplotlib.figure import Figure
from torch import Tensor


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
