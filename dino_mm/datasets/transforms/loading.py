"""Reading images of any common kind as RGB."""

import warnings

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.functional import pil_to_tensor

from dino_mm.registry import TRANSFORMS


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts gray, palette, CMYK, alpha and 16-bit images to 8-bit RGB.

    Alpha is dropped. Pillow would clip 16-bit values at 255; here they are scaled.
    """
    if image.mode == 'RGB':
        return image
    if image.mode.startswith('I'):
        return Image.fromarray((np.asarray(image) / 257.0).clip(0, 255).astype(np.uint8)).convert(
            'RGB'
        )
    if image.mode == 'P' and 'transparency' in image.info:
        image = image.convert('RGBA')
    return image.convert('RGB')


def read_image(path: str) -> Image.Image:
    """Decodes a file to an RGB image.

    Raises:
        OSError: Missing, unreadable or truncated file, or an image above Pillow's limit (twice
            ``PIL.Image.MAX_IMAGE_PIXELS``); the message names it.
    """
    try:
        with Image.open(path) as image:
            image.load()  # Pillow opens lazily: let a truncated file fail here
            return to_rgb(image)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'image {path} does not exist: check data_root, or scan the folder again'
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(
            f'cannot read image {path} ({error}): remove or replace the file, or set '
            'ignore_broken=True of LoadImage'
        ) from error


def read_tensor(path: str) -> Tensor:
    """Decodes a file to a (3, H, W) uint8 RGB tensor: torchvision where it can, else Pillow.

    The same values as :func:`read_image`.

    Raises:
        OSError: As :func:`read_image`.
    """
    try:
        image = decode_jpeg(read_file(path), ImageReadMode.UNCHANGED)
    except RuntimeError:  # no JPEG, or a broken one: Pillow reads it or names the error
        return pil_to_tensor(read_image(path))
    if len(image) == 4:  # CMYK, which Pillow converts in a way of its own
        return pil_to_tensor(read_image(path))
    return image.expand(3, -1, -1)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Loads ``img_path`` in RGB.

    Added keys: ``img`` (PIL.Image), ``ori_shape`` and ``img_shape`` (H, W).

    Args:
        ignore_broken (bool): Warn of an unreadable file and take another image in its place.
        as_tensor (bool): ``img`` is a (3, H, W) uint8 tensor of the same values, decoded faster
            where the file is a JPEG. For :class:`DINOMultiCrop` with a backend other than Pillow.
    """

    def __init__(self, ignore_broken: bool = False, as_tensor: bool = False) -> None:
        self.ignore_broken, self.as_tensor = ignore_broken, as_tensor

    def transform(self, results: dict) -> dict | None:
        if 'img' in results:  # data sets that hold their images, such as CIFAR-10
            image = to_rgb(results['img'])
            image = pil_to_tensor(image) if self.as_tensor else image
        else:
            try:
                image = (read_tensor if self.as_tensor else read_image)(results['img_path'])
            except OSError as error:
                if not self.ignore_broken:
                    raise
                warnings.warn(str(error), stacklevel=1)
                return None
        results['img'] = image
        shape = tuple(image.shape[1:]) if self.as_tensor else image.size[::-1]
        results['ori_shape'] = results['img_shape'] = shape
        return results
