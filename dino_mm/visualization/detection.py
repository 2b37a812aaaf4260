"""Picture of detections beside the truth."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .figures import save_figure


def _draw_objects(axis: Axes, objects: Sequence[tuple], classes: Sequence[str]) -> None:
    colors = colormaps['tab20'].colors
    for (left, top, right, bottom), label, score, mask in objects:
        color = colors[label % len(colors)]
        if mask is not None:
            layer = np.zeros((*mask.shape, 4))
            layer[mask > 0] = (*color, 0.5)
            axis.imshow(layer, interpolation='nearest')
        size = right - left, bottom - top
        axis.add_patch(Rectangle((left - 0.5, top - 0.5), *size, fill=False, edgecolor=color))
        text = classes[label] if score is None else f'{classes[label]} {score:.2f}'
        tag = dict(facecolor=color, edgecolor='none', pad=1)
        axis.text(left, top, text, fontsize=6, va='bottom', color='white', bbox=tag)


def draw_detections(
    path: str,
    samples: Sequence[tuple[np.ndarray, Sequence[tuple], Sequence[tuple]]],
    classes: Sequence[str],
) -> None:
    """Draws a row per two samples: labels and prediction of each.

    Args:
        path (str): Picture file.
        samples (Sequence[tuple]): Image (H, W, 3) uint8 RGB, labeled and predicted objects: box
            (x1, y1, x2, y2) in pixels, label, score or None, and mask (H, W) or None.
        classes (Sequence[str]): Names of the classes.
    """
    rows = -(-len(samples) // 2)
    figure = Figure(figsize=(13, 3.4 * rows), layout='constrained')
    axes = figure.subplots(rows, 4, squeeze=False)
    for axis in axes.flat:
        axis.axis('off')
    for pair, (image, known, found) in zip(axes.reshape(-1, 2), samples, strict=False):
        for axis, objects, title in zip(
            pair, (known, found), ('labels', 'prediction'), strict=True
        ):
            axis.imshow(image)
            axis.set_title(title, fontsize=9)
            _draw_objects(axis, objects, classes)
    save_figure(figure, path)
