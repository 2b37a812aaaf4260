"""A crop as published: torchvision's and Pillow's operations on a PIL image."""

import torchvision.transforms.functional as F
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode

from .crop import CropParams

_ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def apply_crop(
    image: Image.Image, crop: CropParams, interpolation: InterpolationMode, threshold: int
) -> Tensor:
    """Performs one crop on a PIL image: uint8 tensor (3, *size)."""
    image = F.resized_crop(image, *crop.box, list(crop.size), interpolation)
    if crop.flip:
        image = F.hflip(image)
    for adjustment, factor in crop.jitter:
        image = _ADJUST[adjustment](image, factor)
    if crop.gray:
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    if crop.blur:
        image = image.filter(ImageFilter.GaussianBlur(crop.blur))
    if crop.solarize:
        image = ImageOps.solarize(image, threshold)
    return F.pil_to_tensor(image)
