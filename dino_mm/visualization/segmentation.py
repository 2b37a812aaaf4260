"""Picture of segmentations beside images and labels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .figures import save_figure


def color(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Labels (H, W) in the colors of their classes, (H, W, 3) uint8; ignored ones are white."""
    out = np.full((*labels.shape, 3), 255, np.uint8)
    known = labels < len(palette)
    out[known] = np.asarray(palette, np.uint8)[labels[known]]
    return out


def draw_segmentation(
    path: str,
    samples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> None:
    """Draws a row per sample: image, labels, prediction, and what each color stands for.

    Args:
        path (str): Picture file.
        samples (Sequence[tuple]): Image (H, W, 3) uint8 RGB, labels (H, W) and prediction (H, W).
        classes (Sequence[str]): Names of the classes.
        palette (Sequence): Their colors, RGB from 0 to 255.
    """
    figure = Figure(figsize=(10, 2.6 * len(samples)), layout='constrained')
    axes = figure.subplots(len(samples), 3, squeeze=False)
    for row, (image, labels, prediction) in zip(axes, samples, strict=True):
        row[0].imshow(image)
        row[1].imshow(color(labels, palette), interpolation='nearest')
        row[2].imshow(color(prediction, palette), interpolation='nearest')
    for axis, title in zip(axes[0], ('image', 'labels', 'prediction'), strict=True):
        axis.set_title(title)
    for axis in axes.flat:
        axis.axis('off')
    shown = np.unique(np.concatenate([part.ravel() for _, *parts in samples for part in parts]))
    patches = [
        Patch(facecolor=np.array(palette[i]) / 255, edgecolor='black', label=classes[i])
        for i in shown
        if i < len(classes)
    ]
    figure.legend(handles=patches, loc='outside lower center', ncols=6, fontsize='small')
    save_figure(figure, path)
