"""Images of any common kind as RGB, from files or from memory.

In memory a PIL image or a tensor is RGB, and a NumPy array is BGR, as OpenCV and mmcv read it and as
the inference APIs of mmseg, mmpretrain and mmdet hand it over.
"""

import warnings

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

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


def bgr_to_rgb(image: np.ndarray) -> np.ndarray:
    """An (H, W, 3) uint8 RGB copy of a gray, BGR or BGRA array.

    Alpha is dropped and 16-bit values are scaled, as in :func:`to_rgb`.

    Args:
        image (np.ndarray): (H, W) or (H, W, 1) gray, (H, W, 3) BGR or (H, W, 4) BGRA; uint8 or
            uint16.

    Raises:
        ValueError: Another shape or type.
    """
    channels = 1 if image.ndim == 2 else image.shape[-1]
    if image.ndim not in (2, 3) or channels not in (1, 3, 4) or image.dtype not in ('u1', 'u2'):
        raise ValueError(
            f'an image array of shape {image.shape} and type {image.dtype}: give (H, W) gray, '
            '(H, W, 3) BGR or (H, W, 4) BGRA in uint8 or uint16, as mmcv.imread returns it'
        )
    if image.dtype == np.uint16:
        image = (image / 257.0).astype(np.uint8)
    if channels == 1:
        return image.reshape(*image.shape[:2], 1).repeat(3, axis=2)
    return image[..., 2::-1].copy()


def as_tensor(image: Image.Image | np.ndarray | Tensor) -> Tensor:
    """A (3, H, W) uint8 RGB tensor of a PIL image, a BGR array or an RGB or gray tensor.

    Args:
        image: An array as :func:`bgr_to_rgb` takes it, a (3, H, W) or (1, H, W) uint8 tensor, or
            any PIL image.

    Raises:
        ValueError: An array or tensor of another shape or type.
    """
    if isinstance(image, Image.Image):
        return pil_to_tensor(to_rgb(image))
    if isinstance(image, np.ndarray):
        return torch.from_numpy(bgr_to_rgb(image)).permute(2, 0, 1)
    if image.ndim != 3 or len(image) not in (1, 3) or image.dtype != torch.uint8:
        raise ValueError(
            f'an image tensor of shape {tuple(image.shape)} and type {image.dtype}: give '
            '(3, H, W) RGB or (1, H, W) gray in uint8'
        )
    return image.expand(3, -1, -1)


def as_pillow(image: Image.Image | np.ndarray | Tensor) -> Image.Image:
    """An RGB PIL image of the same kinds of image as :func:`as_tensor` takes."""
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, np.ndarray):
        return Image.fromarray(bgr_to_rgb(image))
    return to_pil_image(as_tensor(image))


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
    """Loads ``img_path``, or takes ``img`` where there is one, in RGB.

    ``img`` may be of every kind that :func:`as_tensor` takes: data sets that hold their images,
    such as CIFAR-10, give PIL images, and inference APIs of OpenMMLab give BGR arrays.

    Added keys: ``img`` (PIL.Image), ``ori_shape`` and ``img_shape`` (H, W).

    Args:
        ignore_broken (bool): Warn of an unreadable file and take another image in its place.
        as_tensor (bool): ``img`` is a (3, H, W) uint8 tensor of the same values, decoded faster
            where the file is a JPEG. For :class:`DINOMultiCrop` with a backend other than Pillow.
    """

    def __init__(self, ignore_broken: bool = False, as_tensor: bool = False) -> None:
        self.ignore_broken, self.as_tensor = ignore_broken, as_tensor

    def transform(self, results: dict) -> dict | None:
        if 'img' in results:
            image = (as_tensor if self.as_tensor else as_pillow)(results['img'])
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
