"""Drawn parameters as tensors, for the training device to apply."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .crop import CropParams, blur_kernel


def encode(crops: Sequence[CropParams], threshold: int, max_radius: float) -> dict[str, Tensor]:
    """What :func:`dino_mm.models.preprocessors.photometric.photometric` needs to know of V crops, as tensors that collate.

    Args:
        crops (Sequence[CropParams]): Drawn parameters.
        threshold (int): Of the solarization.
        max_radius (float): Largest blur that may occur, which fixes the shape of the kernels.

    Returns:
        dict: ``flip``, ``gray`` and ``blur`` (V,) bool; ``adjustment`` (V, 4), -1 for none, and its
        ``factor`` (V, 4), in order of application; ``kernel`` (V, taps); ``threshold`` (V,), 256
        for no solarization.
    """
    taps = len(blur_kernel(max_radius))
    adjustment, factor = np.full((len(crops), 4), -1), np.ones((len(crops), 4), np.float32)
    kernel = np.zeros((len(crops), taps), np.float32)
    for row, crop in enumerate(crops):
        for step, drawn in enumerate(crop.jitter):
            adjustment[row, step], factor[row, step] = drawn
        weights = blur_kernel(crop.blur)
        margin = (taps - len(weights)) // 2
        kernel[row, margin : taps - margin] = weights
    return dict(
        flip=torch.tensor([crop.flip for crop in crops]),
        gray=torch.tensor([crop.gray for crop in crops]),
        blur=torch.tensor([crop.blur > 0 for crop in crops]),
        adjustment=torch.from_numpy(adjustment),
        factor=torch.from_numpy(factor),
        kernel=torch.from_numpy(kernel),
        threshold=torch.tensor([threshold if crop.solarize else 256 for crop in crops]),
    )
