"""Files with any number of channels, as satellites, microscopes and scanners make them."""

import io
import os

import numpy as np
from PIL import Image

ARRAY_EXTENSIONS = ('.npy', '.npz')
TIFF_EXTENSIONS = ('.tif', '.tiff')


def source_of(path: str, data: bytes | None) -> str | io.BytesIO:
    """What a decoder is to open: the file itself, or its contents where they are in memory."""
    return path if data is None else io.BytesIO(data)


def read_array(path: str, data: bytes | None = None) -> np.ndarray:
    """The array of a NumPy file, the first one of an archive; ``data`` are its contents.

    Raises:
        ValueError: The file holds Python objects, or is no NumPy file.
    """
    found = np.load(source_of(path, data), allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    with found:
        return found[found.files[0]]


def read_bands(path: str, page: int = 0, data: bytes | None = None) -> np.ndarray:
    """All values of a file as they are stored, (H, W) or with channels first or last.

    TIFF files are read by tifffile where it is installed, since Pillow knows few kinds with more
    than three channels.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension in ARRAY_EXTENSIONS:
        return read_array(path, data)
    if extension in TIFF_EXTENSIONS:
        try:
            import tifffile
        except ImportError:
            pass  # Pillow reads the simple ones
        else:
            return _read_tiff(tifffile, source_of(path, data), page)
    with Image.open(source_of(path, data)) as image:
        image.seek(page)
        return np.asarray(image)


def _read_tiff(tifffile, source: str | io.BytesIO, page: int) -> np.ndarray:
    with tifffile.TiffFile(source) as file:
        series = file.series[0]
        if 'S' in series.axes or series.ndim == 2 or len(file.pages) == 1:
            return file.pages[page].asarray()  # channels lie within a page
        return series.asarray()  # a page for each channel


def channels_first(values: np.ndarray, channels: int, name: str) -> np.ndarray:
    """(C, H, W) of (H, W), (H, W, C) or (C, H, W).

    Raises:
        ValueError: Another number of channels, or no image.
    """
    if values.ndim == 2:
        values = values[None]
    elif values.ndim != 3:
        raise ValueError(
            f'{name} holds an array of shape {values.shape}: an image has (H, W), (H, W, C) or '
            '(C, H, W)'
        )
    if values.shape[-1] == channels:
        return np.moveaxis(values, -1, 0)
    if values.shape[0] == channels:
        return values
    found = min(values.shape[0], values.shape[-1])
    raise ValueError(
        f'{name} has {found} channels, not {channels}: set LoadImage.channels={found}, '
        f'model.backbone.in_channels={found}, and mean and std of model.data_preprocessor to '
        f'{found} values each'
    )
