"""Picture of images and those that a network finds most alike."""

from matplotlib.figure import Figure
from torch import Tensor

from .figures import as_picture, save_figure


def draw_neighbors(
    path: str,
    queries: Tensor,
    gallery: Tensor,
    neighbors: Tensor,
    untrained: Tensor | None = None,
) -> None:
    """Draws one row per query: the image, its neighbors before training, and those now.

    Args:
        path (str): Picture file.
        queries (Tensor): (Q, C, H, W) uint8.
        gallery (Tensor): (N, C, H, W) uint8.
        neighbors (Tensor): (Q, k) places in the gallery, the nearest first.
        untrained (Tensor, optional): The same of the untrained network.
    """
    groups = dict(untrained=untrained, now=neighbors)
    groups = {name: places for name, places in groups.items() if places is not None}
    titles = ['image']
    for name, places in groups.items():
        titles += ['', f'{name}: nearest', *[''] * (places.shape[1] - 1)]
    figure = Figure(figsize=(1.1 * len(titles), 1.2 * len(queries)), layout='constrained')
    axes = figure.subplots(len(queries), len(titles), squeeze=False)
    for row, query in enumerate(queries.cpu()):
        images = [query]
        for places in groups.values():
            images += [None, *gallery[places[row]].cpu()]  # a gap before each group
        for axis, image in zip(axes[row], images, strict=True):
            axis.set_axis_off()
            if image is not None:
                axis.imshow(as_picture(image))
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9, loc='left')
    save_figure(figure, path)
