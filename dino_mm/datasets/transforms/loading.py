"""Images of any common kind as RGB or with channels of their own, from files or from memory.

In memory a PIL image or a tensor is RGB, and a NumPy array is BGR, as OpenCV and mmcv read it and as
the inference APIs of mmseg, mmpretrain and mmdet hand it over.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from dino_mm.registry import TRANSFORMS
from dino_mm.utils.checks import check_number, check_numbers

from .functional.bands import (
    ARRAY_EXTENSIONS,
    TIFF_EXTENSIONS,
    channels_first,
    read_array,
    read_bands,
    source_of,
)
from .functional.value_range import to_uint8

#: Pillow's own limit, beyond which it raises an error.
MAX_PIXELS = 178_956_970
#: What the contents of a JPEG file begin with.
JPEG_MARK = b'\xff\xd8'
JPEG_EXTENSIONS = ('.jpg', '.jpeg', '.jpe', '.jfif')
ValueRange = tuple[float, float] | None


def to_rgb(
    image: Image.Image, value_range: ValueRange = None, name: str = 'the image'
) -> Image.Image:
    """Converts gray, palette, CMYK, alpha and 16-bit images to 8-bit RGB.

    Alpha is dropped. Pillow would clip 16-bit values at 255; here they are scaled.

    Args:
        image (Image.Image): Any.
        value_range (tuple, optional): Of gray images of more than 8 bits, see
            :func:`~dino_mm.datasets.transforms.functional.to_uint8`.
        name (str): Of the image, for messages.

    Raises:
        ValueError: Values whose range is unknown.
    """
    if image.mode == 'RGB':
        return image
    if image.mode.startswith('I') or image.mode == 'F':
        return Image.fromarray(to_uint8(np.asarray(image), value_range, name)).convert('RGB')
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


def read_image(
    path: str,
    value_range: ValueRange = None,
    max_pixels: int = MAX_PIXELS,
    page: int = 0,
    data: bytes | None = None,
) -> Image.Image:
    """Decodes a file to an RGB image.

    Args:
        path (str): The file.
        value_range (tuple, optional): As in :func:`to_rgb`.
        max_pixels (int): Files that say they have more are not decoded.
        page (int): Of a TIFF, or frame of an animation.
        data (bytes, optional): Contents of the file, which then only has this name.

    Raises:
        OSError: Missing, unreadable, too large or truncated file; the message names it.
        ValueError: As :func:`to_rgb`.
    """
    with _naming(path):
        if path.lower().endswith(ARRAY_EXTENSIONS):
            image = read_array(path, data)
        else:
            with _opened(path, max_pixels, data) as image:
                image.seek(page)
                image.load()  # Pillow opens lazily: let a truncated file fail here
    if isinstance(image, np.ndarray):
        return Image.fromarray(_array_as_rgb(image, value_range, path))
    return to_rgb(image, value_range, path)


def _array_as_rgb(values: np.ndarray, value_range: ValueRange, name: str) -> np.ndarray:
    """(H, W, 3) uint8 of an array out of a file, gray or RGB."""
    gray = values.ndim == 2 or 1 in (values.shape[0], values.shape[-1])
    levels = to_uint8(channels_first(values, 1 if gray else 3, name), value_range, name)
    return np.moveaxis(np.broadcast_to(levels, (3, *levels.shape[1:])), 0, -1).copy()


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Makes whatever a decoder raises an error that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'image {path} does not exist: check data_root, or scan the folder again'
        ) from error
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        raise OSError(
            f'cannot read image {path} ({error}): remove or replace the file, or set '
            'ignore_broken=True of LoadImage'
        ) from error


@contextlib.contextmanager
def _opened(path: str, max_pixels: int, data: bytes | None = None) -> Iterator[Image.Image]:
    """A file with its header read, within a limit of its own instead of Pillow's global one."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(source_of(path, data)) as image:
            check_pixels(image.size, max_pixels)
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = before


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Refuses to decode what would not fit into memory.

    Raises:
        ValueError: More pixels than allowed.
    """
    if size[0] * size[1] > max_pixels:
        raise ValueError(
            f'its {size[0]} x {size[1]} pixels are more than max_pixels={max_pixels} of LoadImage'
        )


def read_tensor(
    path: str,
    value_range: ValueRange = None,
    max_pixels: int = MAX_PIXELS,
    page: int = 0,
    data: bytes | None = None,
) -> Tensor:
    """Decodes a file to a (3, H, W) uint8 RGB tensor: torchvision where it can, else Pillow.

    The same arguments, values and errors as of :func:`read_image`.
    """
    named_so = path.lower().endswith(JPEG_EXTENSIONS)
    if named_so if data is None else data[:2] == JPEG_MARK:
        with _naming(path), _opened(path, max_pixels, data) as image:  # the header alone
            rgb = image.mode in ('RGB', 'L')  # CMYK is converted by Pillow in a way of its own
        with contextlib.suppress(RuntimeError):  # no JPEG by its contents, or a broken one
            if rgb:
                stored = read_file(path) if data is None else _as_bytes_tensor(data)
                return decode_jpeg(stored, ImageReadMode.UNCHANGED).expand(3, -1, -1)
    return pil_to_tensor(read_image(path, value_range, max_pixels, page, data))


def _as_bytes_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)  # copied, since bytes are constant


def read_channels(
    path: str,
    channels: int,
    value_range: ValueRange = None,
    max_pixels: int = MAX_PIXELS,
    page: int = 0,
    data: bytes | None = None,
) -> Tensor:
    """Decodes a file with channels of its own to a (C, H, W) uint8 tensor.

    Args:
        path (str): TIFF, PNG, NumPy file, or whatever Pillow reads.
        channels (int): C.
        value_range, max_pixels, page, data: As in :func:`read_image`.

    Raises:
        OSError: As :func:`read_image`.
        ValueError: Another number of channels, or values whose range is unknown.
    """
    with _naming(path):
        if not path.lower().endswith((*ARRAY_EXTENSIONS, *TIFF_EXTENSIONS)):
            with _opened(path, max_pixels, data):
                pass
        values = read_bands(path, page, data)
        if values.ndim > 1:
            check_pixels(sorted(values.shape)[-2:], max_pixels)
    levels = to_uint8(channels_first(values, channels, path), value_range, path)
    return torch.from_numpy(np.array(levels, order='C'))


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Loads ``img_path``, or takes ``img`` where there is one, in RGB.

    Where there are ``img_bytes``, they are the contents of the file, and ``img_path`` is its name.

    ``img`` may be of every kind that :func:`as_tensor` takes: data sets that hold their images,
    such as CIFAR-10, give PIL images, and inference APIs of OpenMMLab give BGR arrays.

    Added keys: ``img`` (PIL.Image), ``ori_shape`` and ``img_shape`` (H, W).

    Args:
        ignore_broken (bool): Warn of an unreadable file and take another image in its place.
        as_tensor (bool): ``img`` is a (3, H, W) uint8 tensor of the same values, decoded faster
            where the file is a JPEG. For :class:`DINOMultiCrop` with a backend other than Pillow.
        channels (int): Channels of the files, where they are not gray or RGB: ``img`` is a (C, H,
            W) uint8 tensor. Set ``model.backbone.in_channels`` and mean and standard deviation of
            ``model.data_preprocessor`` to match.
        value_range (tuple, optional): What is black and what is white, for images of more than 8
            bits: (0, 1) for fractions, (0, 4095) for 12 bits, (-1000, 1000) for a part of the
            Hounsfield scale.
        max_pixels (int): Larger images count as broken and are not decoded.

    Raises:
        ValueError: Wrong options; or, of an image, values whose range is unknown, or another
            number of channels.
    """

    def __init__(
        self,
        ignore_broken: bool = False,
        as_tensor: bool = False,
        channels: int = 3,
        value_range: tuple[float, float] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_number('LoadImage.channels', channels, whole=True, at_least=1)
        check_number('LoadImage.max_pixels', max_pixels, whole=True, at_least=1)
        if value_range is not None:
            check_numbers('LoadImage.value_range', value_range, 2, rising=True)
            if value_range[0] == value_range[1]:
                raise ValueError(f'LoadImage.value_range={value_range} is empty')
        self.ignore_broken, self.channels = ignore_broken, channels
        self.as_tensor = as_tensor or channels != 3
        self.options = dict(value_range=value_range, max_pixels=max_pixels)

    def transform(self, results: dict) -> dict | None:
        if 'img' in results:
            image = (as_tensor if self.as_tensor else as_pillow)(results['img'])
        else:
            try:
                image = self._read(
                    os.fspath(results['img_path']),
                    page=results.get('page', 0),
                    data=results.pop('img_bytes', None),
                )
            except OSError as error:
                if not self.ignore_broken:
                    raise
                warnings.warn(str(error), stacklevel=1)
                return None
        results['img'] = image
        shape = tuple(image.shape[1:]) if self.as_tensor else image.size[::-1]
        results['ori_shape'] = results['img_shape'] = shape
        return results

    def _read(self, path: str, **where) -> Image.Image | Tensor:
        if self.channels != 3:
            return read_channels(path, self.channels, **where, **self.options)
        return (read_tensor if self.as_tensor else read_image)(path, **where, **self.options)
