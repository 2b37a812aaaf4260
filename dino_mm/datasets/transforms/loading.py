"""Reading images of any common kind as RGB."""

import warnings

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from dino_mm.registry import TRANSFORMS


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts grey, palette, CMYK, alpha and 16-bit images to 8-bit RGB.

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
        OSError: Missing, unreadable or truncated file; the message names it.
    """
    try:
        with Image.open(path) as image:
            image.load()  # Pillow opens lazily: let a truncated file fail here
            return to_rgb(image)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'image {path} does not exist: check data_root, or scan the folder again'
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise OSError(
            f'cannot read image {path} ({error}): remove or replace the file, or set '
            'ignore_broken=True of LoadImage'
        ) from error


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Loads ``img_path`` as a PIL image in RGB.

    Added keys: ``img`` (PIL.Image), ``ori_shape`` and ``img_shape`` (H, W).

    Args:
        ignore_broken (bool): Warn of an unreadable file and take another image in its place.
    """

    def __init__(self, ignore_broken: bool = False) -> None:
        self.ignore_broken = ignore_broken

    def transform(self, results: dict) -> dict | None:
        if 'img' in results:  # data sets that hold their images, such as CIFAR-10
            image = to_rgb(results['img'])
        else:
            try:
                image = read_image(results['img_path'])
            except OSError as error:
                if not self.ignore_broken:
                    raise
                warnings.warn(str(error), stacklevel=1)
                return None
        results['img'] = image
        results['ori_shape'] = results['img_shape'] = image.size[::-1]
        return results
