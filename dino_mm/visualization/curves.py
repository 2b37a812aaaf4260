"""Picture of a training run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over the last ``window`` values, fewer at the start: (N,) -> (N,)."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    return (sums[end] - sums[start]) / (end - start)


def draw_curves(
    path: str,
    curves: np.ndarray,
    max_entropy: float,
    accuracy: Sequence[tuple[int, float]],
    baselines: dict[str, float],
) -> None:
    """Draws loss, teacher entropy and, where it was evaluated, k-NN accuracy over iterations.

    Args:
        path (str): Picture file.
        curves (np.ndarray): (3, N) iteration, loss and teacher entropy, both in nats.
        max_entropy (float): ln K, the entropy of a collapsed, uniform teacher.
        accuracy (Sequence[tuple]): ``(iteration, percent)`` of each evaluation; may be empty.
        baselines (dict): Name and percent of horizontal lines beside them.
    """
    columns = 3 if accuracy or baselines else 2
    figure = Figure(figsize=(5 * columns, 4), layout='constrained')
    axes = figure.subplots(1, columns)
    iterations, loss, entropy = curves
    window = max(len(loss) // 50, 1)
    for axis, values, title in zip(
        axes, (loss, entropy), ('loss', 'teacher entropy'), strict=False
    ):
        axis.plot(iterations, values, alpha=0.25, color='C0')
        axis.plot(iterations, smooth(values, window), color='C0')
        axis.set(title=f'{title} (nats)', xlabel='iteration')
    axes[1].axhline(max_entropy, color='C3', linestyle='--', label='ln K: collapsed to uniform')
    axes[1].axhline(0, color='C3', linestyle=':', label='0: collapsed to one prototype')
    axes[1].legend(loc='best')
    if columns == 3:
        axes[2].set(title='k-NN accuracy (percent)', xlabel='iteration')
    if accuracy:
        axes[2].plot(*zip(*accuracy, strict=True), marker='o')
    for index, (name, value) in enumerate(baselines.items()):
        axes[2].axhline(value, color=f'C{index + 1}', linestyle='--', label=name)
    if baselines:
        axes[2].legend()
    figure.savefig(path, dpi=100)
