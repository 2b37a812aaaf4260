"""Picture of a training run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dino_mm.utils.limits import Limits

from .figures import save_figure


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over the last ``window`` values, fewer at the start: (N,) -> (N,)."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    return (sums[end] - sums[start]) / (end - start)


def draw_curves(
    path: str,
    curves: np.ndarray,
    limits: Sequence[Limits],
    accuracy: Sequence[tuple[int, float]],
    baselines: dict[str, float],
) -> None:
    """Draws the loss, values with limits and, where it was evaluated, k-NN accuracy over iterations.

    Args:
        path (str): Picture file.
        curves (np.ndarray): (2 + L, N) iteration, loss in nats, and L values that have limits.
        limits (Sequence[Limits]): Of each of those values.
        accuracy (Sequence[tuple]): ``(iteration, percent)`` of each evaluation; may be empty.
        baselines (dict): Name and percent of horizontal lines beside them.
    """
    titles = ['loss (nats)', *(limit.title for limit in limits)]
    evaluated = bool(accuracy or baselines)
    columns = len(titles) + evaluated
    figure = Figure(figsize=(5 * columns, 4), layout='constrained')
    axes = figure.subplots(1, columns, squeeze=False)[0]
    iterations, *rows = curves
    window = max(len(iterations) // 50, 1)
    for axis, values, title in zip(axes, rows, titles, strict=False):
        axis.plot(iterations, values, alpha=0.25, color='C0')
        axis.plot(iterations, smooth(values, window), color='C0')
        axis.set(title=title, xlabel='iteration')
    for axis, limit in zip(axes[1:], limits, strict=False):
        axis.axhline(limit.high, color='C3', linestyle='--', label=limit.high_label)
        axis.axhline(limit.low, color='C3', linestyle=':', label=limit.low_label)
        axis.legend(loc='best')
    if evaluated:
        axes[-1].set(title='k-NN accuracy (percent)', xlabel='iteration')
    if accuracy:
        axes[-1].plot(*zip(*accuracy, strict=True), marker='o')
    for index, (name, value) in enumerate(baselines.items()):
        axes[-1].axhline(value, color=f'C{index + 1}', linestyle='--', label=name)
    if baselines:
        axes[-1].legend()
    save_figure(figure, path)
