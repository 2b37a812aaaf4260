"""A crop on uint8 arrays: PyTorch's antialiased resize and OpenCV's colors.

Equal to Pillow's but for rounding. ``tests/test_datasets/test_backends.py`` holds the tolerances.
"""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .crop import BRIGHTNESS, CONTRAST, SATURATION, CropParams, blur_kernel

_LEVELS = np.arange(256, dtype=np.float32)


def resized_crop(image: Tensor, crop: CropParams, interpolation: str) -> Tensor:
    """Cuts the box out and resizes it with antialiasing.

    Args:
        image (Tensor): (C, H, W) uint8, fastest with the channels of a pixel side by side.
        crop (CropParams): ``box`` and ``size``.
        interpolation (str): ``'bicubic'`` or ``'bilinear'``.

    Returns:
        Tensor: (C, *size) uint8.
    """
    top, left, height, width = crop.box
    box = image[None, :, top : top + height, left : left + width]
    return interpolate(box, crop.size, mode=interpolation, antialias=True)[0]


def _gray(pixels: np.ndarray) -> np.ndarray:
    """Gray levels of (H, W, 3) RGB; of channels of another kind their mean."""
    if pixels.shape[-1] != 3:
        return (pixels.mean(axis=-1) + 0.5).astype(np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def _blend(base: float, factor: float) -> np.ndarray:
    """Table of ``base + factor * (level - base)``, cut off like Pillow's."""
    return (base + factor * (_LEVELS - base)).clip(0, 255).astype(np.uint8)


def adjust(pixels: np.ndarray, adjustment: int, factor: float) -> np.ndarray:
    """One step of the color jitter on (H, W, 3) RGB."""
    if adjustment == BRIGHTNESS:
        return cv2.LUT(pixels, _blend(0, factor))
    if adjustment == CONTRAST:
        return cv2.LUT(pixels, _blend(int(cv2.mean(_gray(pixels))[0] + 0.5), factor))
    if adjustment == SATURATION:
        gray = cv2.cvtColor(_gray(pixels), cv2.COLOR_GRAY2RGB)
        # OpenCV rounds where Pillow cuts off: half a level less is nearly the same.
        return cv2.addWeighted(pixels, factor, gray, 1 - factor, -0.5)
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(int(factor * 255) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def photometric(crop: Tensor, params: CropParams, threshold: int) -> Tensor:
    """All that follows the resize: flip, color jitter, gray levels, blur, solarization.

    Args:
        crop (Tensor): (C, h, w) uint8.
        params (CropParams): What to do.
        threshold (int): Of the solarization.

    Returns:
        Tensor: (C, h, w) uint8, contiguous.
    """
    pixels = np.ascontiguousarray(crop.permute(1, 2, 0).numpy())
    shape = pixels.shape
    if params.flip:
        pixels = cv2.flip(pixels, 1).reshape(shape)
    for adjustment, factor in params.jitter:
        pixels = adjust(pixels, adjustment, factor).reshape(shape)
    if params.gray:
        pixels = cv2.cvtColor(_gray(pixels), cv2.COLOR_GRAY2RGB)
    if params.blur:
        kernel = blur_kernel(params.blur)
        pixels = cv2.sepFilter2D(pixels, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    if params.solarize:
        pixels = np.where(pixels < threshold, pixels, 255 - pixels)
    # OpenCV drops the dimension of a single channel.
    return torch.from_numpy(pixels.reshape(shape)).permute(2, 0, 1).contiguous()
