"""What is drawn for one crop."""

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass
class CropParams:
    """Everything drawn for one crop.

    Attributes:
        box (tuple): ``top, left, height, width`` in pixels of the source.
        size (tuple): Height and width of the crop in pixels.
        flip (bool): Mirrored left to right.
        jitter (list): ``(adjustment, factor)`` in order of application, adjustments numbered
            brightness, contrast, saturation, hue; empty for none.
        gray (bool): Turned to gray levels.
        blur (float): Radius of the Gaussian blur in pixels, 0 for none.
        solarize (bool): Values from the threshold up inverted.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    flip: bool
    jitter: list[tuple[int, float]]
    gray: bool
    blur: float
    solarize: bool


#: Numbers of the adjustments in :attr:`CropParams.jitter`.
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def without_color(crop: CropParams) -> CropParams:
    """The same crop for an image whose channels are not red, green and blue."""
    jitter = [step for step in crop.jitter if step[0] in (BRIGHTNESS, CONTRAST)]
    return replace(crop, jitter=jitter, gray=False)


def draw_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Box of a random resized crop: ``top, left, height, width``.

    Area share uniform in ``scale``, aspect ratio log-uniform in ``ratio``; after ten misses the
    largest central box of a permitted ratio (``torchvision.transforms.RandomResizedCrop``).
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = (
        (width, round(width / aspect))
        if width / height < ratio[0]
        else (round(height * aspect), height)
        if width / height > ratio[1]
        else (width, height)
    )
    return (height - h) // 2, (width - w) // 2, h, w


def blur_kernel(radius: float) -> np.ndarray:
    """Weights of Pillow's Gaussian blur, an extended box filter applied three times.

    A box of ``2 l + 1`` ones with weights ``a`` at either end, divided by their sum, has variance
    ``radius^2 / 3`` for ``l = floor((sqrt(4 radius^2 + 1) - 1) / 2)`` and
    ``a = (2 l + 1) (l (l + 1) - radius^2) / (2 radius^2 - 6 (l + 1)^2)``
    (Gwosdek et al., Theoretical Foundations of Gaussian Convolution by Extended Box Filtering).

    Returns:
        np.ndarray: Odd number of weights that sum to 1: 1 for radius 0, 7 below
        ``sqrt(2)`` pixels, 13 below ``sqrt(6)``.
    """
    if radius == 0:
        return np.ones(1)
    l = math.floor((math.sqrt(4 * radius**2 + 1) - 1) / 2)  # noqa: E741
    a = (2 * l + 1) * (l * (l + 1) - radius**2) / (2 * radius**2 - 6 * (l + 1) ** 2)
    box = np.array([a, *[1.0] * (2 * l + 1), a]) / (2 * l + 1 + 2 * a)
    return np.convolve(np.convolve(box, box), box)
