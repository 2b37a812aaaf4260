"""What every picture has in common."""

import os

from matplotlib.figure import Figure
from torch import Tensor

from dino_mm.utils.files import replaced


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Saves a figure so that whoever looks meanwhile sees the old picture or the new one."""
    with replaced(path) as scratch:
        figure.savefig(scratch, dpi=100)


def as_picture(image: Tensor) -> Tensor:
    """(C, H, W) with any number of channels as (H, W, 3), of which a screen shows three."""
    shown = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    return shown.permute(1, 2, 0)
