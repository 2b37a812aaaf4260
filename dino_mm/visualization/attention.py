"""Picture of where the class token looks."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.functional import resize

from .figures import as_picture, save_figure

#: Edge in pixels of the maps laid over images.
EDGE = 160


def overlay(axis: Axes, picture: Tensor, values: Tensor) -> None:
    """Lays attention (h, w) over an image (C, H, W), both enlarged smoothly."""
    side = [EDGE, EDGE * picture.shape[-1] // picture.shape[-2]]
    axis.imshow(as_picture(resize(picture, side, antialias=True)).float().mean(-1), cmap='gray')
    axis.imshow(resize(values[None], side, antialias=True)[0], cmap='inferno', alpha=0.6)


def draw_attention(
    path: str, pictures: Tensor, attention: Tensor, untrained: Tensor | None = None
) -> None:
    """Draws one row per image: the image, the mean attention laid over it, then each head.

    Args:
        path (str): Picture file.
        pictures (Tensor): (B, C, H, W) uint8.
        attention (Tensor): (B, heads, h, w).
        untrained (Tensor, optional): The same of the untrained network, whose mean is laid over
            the image before that of the trained one.
    """
    attention = attention.cpu()
    heads = attention.shape[1]
    titles = ['image', *(['untrained'] if untrained is not None else []), 'mean']
    titles += [f'head {i}' for i in range(heads)]
    figure = Figure(figsize=(1.6 * len(titles), 1.7 * len(pictures)), layout='constrained')
    axes = figure.subplots(len(pictures), len(titles), squeeze=False)
    for row, picture in enumerate(pictures.cpu()):
        axes[row, 0].imshow(as_picture(picture))
        means = [attention[row].mean(dim=0)]
        if untrained is not None:
            means.insert(0, untrained[row].cpu().mean(dim=0))
        for axis, values in zip(axes[row, 1:], means, strict=False):
            overlay(axis, picture, values)
        for axis, values in zip(axes[row, 1 + len(means) :], attention[row], strict=True):
            axis.imshow(values, cmap='inferno')
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    save_figure(figure, path)
