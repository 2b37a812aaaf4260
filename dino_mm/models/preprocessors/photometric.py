"""Crops of a whole batch on the training device, each sample with parameters of its own.

Values are floats from 0 to 255 that are whole after every step, as Pillow's are; tolerances stand
in ``tests/test_datasets/test_backends.py``.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def to_gray(images: Tensor) -> Tensor:
    """Luma (N, 1, H, W) of RGB (N, 3, H, W), with Pillow's integer weights.

    Of channels of another kind, their mean.
    """
    if images.shape[1] != 3:
        return (images.mean(1, keepdim=True) + 0.5).floor()
    red, green, blue = images.split(1, dim=1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536).floor()


def blend(images: Tensor, base: Tensor | float, factor: Tensor) -> Tensor:
    """``base + factor * (images - base)``, cut off to whole levels."""
    return (base + factor.view(-1, 1, 1, 1) * (images - base)).clamp(0, 255).floor()


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends (N, 3, H, W) with black by ``factor`` (N,)."""
    return blend(images, 0.0, factor)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends each image with its mean gray level."""
    mean = to_gray(images).mean((1, 2, 3), keepdim=True)
    return blend(images, (mean + 0.5).floor(), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blends each image with its gray levels."""
    return blend(images, to_gray(images), factor)


def adjust_hue(images: Tensor, factor: Tensor) -> Tensor:
    """Turns the hue of (N, 3, H, W) by ``factor`` (N,) of the circle.

    Hue and saturation are cut off to 8 bits, as in Pillow's HSV images.
    """
    red, green, _ = images.split(1, dim=1)
    value = images.amax(1, keepdim=True)
    span = value - images.amin(1, keepdim=True)
    below_red, below_green, below_blue = ((value - images) / span.clamp(min=1)).split(1, dim=1)
    hue = torch.where(
        red == value,
        below_blue - below_green,
        torch.where(green == value, 2 + below_red - below_blue, 4 + below_green - below_red),
    )
    hue = (hue.remainder(6) * (255 / 6)).floor()
    saturation = (255 * span / value.clamp(min=1)).floor() / 255
    hue = (hue + (255 * factor).trunc().view(-1, 1, 1, 1)).remainder(256) * (6 / 255)
    # A channel stays at `value` for the third of the circle around its own hue, and falls from it
    # by saturation * value on the opposite third.
    shift = 5 - 2 * torch.arange(3, dtype=hue.dtype, device=hue.device)  # not copied from the host
    sector = (hue + shift.view(1, 3, 1, 1)).remainder(6)
    return (value - value * saturation * torch.minimum(sector, 4 - sector).clamp(0, 1)).round()


#: By the numbers of :mod:`dino_mm.datasets.transforms.functional.crop`.
ADJUST = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def blur_matrix(kernel: Tensor, size: int) -> Tensor:
    """What one axis of ``size`` pixels is multiplied by to blur it: (N, taps) -> (N, size, size).

    Beyond its ends the axis goes on with its outermost pixels.
    """
    taps = kernel.shape[1]
    places = torch.arange(size, device=kernel.device)
    offsets = torch.arange(taps, device=kernel.device) - taps // 2
    sources = (places[:, None] + offsets).clamp(0, size - 1)  # (size, taps)
    chosen = sources.T[..., None] == places  # (taps, size, size)
    return (kernel @ chosen.flatten(1).to(kernel.dtype)).view(-1, size, size)


def blur(images: Tensor, kernel: Tensor) -> Tensor:
    """Separable blur of (N, C, H, W) with one ``kernel`` (N, taps) per sample: ``My @ x @ Mx^T``.

    Matrix products, since cuDNN would look for its fastest convolution anew for every N.
    """
    rows, columns = (blur_matrix(kernel, size)[:, None] for size in images.shape[-2:])
    return (rows @ images @ columns.mT).round()


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts values from ``threshold`` (N,) up."""
    return torch.where(images < threshold.view(-1, 1, 1, 1), images, 255 - images)


def _change(images: Tensor, chosen: Tensor, change: Callable[..., Tensor], *values: Tensor) -> None:
    """Replaces the chosen samples in place; ``chosen`` and ``values`` are on the host.

    Which samples they are is known without asking the device, so nothing waits for it.
    """
    rows = chosen.nonzero()[:, 0]
    if len(rows):
        arguments = [value[rows].to(images.device, non_blocking=True) for value in values]
        rows = rows.to(images.device, non_blocking=True)
        images[rows] = change(images[rows], *arguments)


def photometric(
    images: Tensor, params: dict[str, Tensor], adjust: Sequence[Callable[..., Tensor]] = ADJUST
) -> Tensor:
    """All that follows the resize: flip, color jitter, gray levels, blur, solarization.

    Args:
        images (Tensor): (N, 3, H, W), 0 to 255.
        params (dict): What :func:`dino_mm.datasets.transforms.functional.encode` makes, on the host, with N samples in the first
            dimension.
        adjust (Sequence[Callable]): The four adjustments, to pass them compiled.

    Returns:
        Tensor: Same shape, float32, whole values from 0 to 255.
    """
    x = images.to(torch.float32, copy=True)
    _change(x, params['flip'], lambda x: x.flip(-1))
    for kinds, factors in zip(params['adjustment'].T, params['factor'].T, strict=True):
        for kind, change in enumerate(adjust):
            _change(x, kinds == kind, change, factors)
    _change(x, params['gray'], lambda x: to_gray(x).expand_as(x))
    _change(x, params['blur'], blur, params['kernel'])
    _change(x, params['threshold'] < 256, solarize, params['threshold'])
    return x


def _cubic(x: Tensor) -> Tensor:
    """Cubic convolution kernel with a = -0.5 (Keys, 1981), as in Pillow."""
    x = x.abs()
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, inner, torch.where(x < 2, outer, 0))


def resize_weights(start: Tensor, length: Tensor, size: int, extent: int) -> Tensor:
    """Matrices that cut an interval out and resize it, bicubic with antialiasing.

    Args:
        start, length (Tensor): (...) of the interval in pixels.
        size (int): Pixels to make of it.
        extent (int): Pixels of the whole axis.

    Returns:
        Tensor: (..., size, extent), rows sum to 1, nothing outside of the interval counts.
    """
    start, length = start[..., None, None], length[..., None, None]
    scale = length / size
    targets = torch.arange(size, device=start.device).view(-1, 1) + 0.5  # (size, 1)
    sources = torch.arange(extent, device=start.device) + 0.5  # (extent,)
    distance = (sources - start - targets * scale) / scale.clamp(min=1)
    inside = (sources > start) & (sources < start + length)
    weights = torch.where(inside, _cubic(distance), 0)
    return weights / weights.sum(-1, keepdim=True)


def crop_resize(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """V boxes of each image, resized by :func:`resize_weights`: ``Wy @ image @ Wx^T``.

    Args:
        images (Tensor): (B, C, H, W) uint8; what lies outside of the boxes does not matter.
        boxes (Tensor): (B, V, 4) ``top, left, height, width`` in pixels.
        size (tuple): Height h and width w of the crops.

    Returns:
        Tensor: (V * B, C, h, w) float32, 0 to 255, not rounded.
    """
    (batch, views), channels = boxes.shape[:2], images.shape[1]
    top, left, height, width = boxes.float().unbind(-1)  # each (B, V)
    rows = resize_weights(top, height, size[0], images.shape[2])  # (B, V, h, H)
    columns = resize_weights(left, width, size[1], images.shape[3])  # (B, V, w, W)
    x = images.permute(0, 2, 1, 3).flatten(2).float()  # (B, H, C W)
    x = rows.flatten(1, 2) @ x  # (B, V h, C W)
    x = x.view(batch * views, size[0] * channels, -1) @ columns.flatten(0, 1).mT  # (B V, h C, w)
    x = x.view(batch, views, size[0], channels, size[1]).permute(1, 0, 3, 2, 4)
    return x.reshape(views * batch, channels, *size).clamp(0, 255)
