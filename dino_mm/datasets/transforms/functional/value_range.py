"""Values of any type as the 8 bits that crops are made of."""

import warnings

import numpy as np

#: Largest value of 12 bits, which cameras and scanners put into 16.
TWELVE_BITS = 4095


def to_uint8(
    values: np.ndarray, value_range: tuple[float, float] | None = None, name: str = 'image'
) -> np.ndarray:
    """Scales values to 0 ... 255.

    Without a range 8-bit values stay as they are and 16-bit ones are divided by 257. What fills
    neither is refused, since it would become black.

    Args:
        values (np.ndarray): Of any shape and type.
        value_range (tuple, optional): What becomes 0 and what becomes 255. Values outside are cut
            off, and those that are no number become 0.
        name (str): Of the image, for messages.

    Raises:
        ValueError: Without a range: values with a fraction, a sign, or more than 16 bits, or of
            16 bits that use 12 at most.
    """
    if value_range is not None:
        low, high = value_range
        scaled = (np.nan_to_num(values.astype(np.float64), nan=low) - low) * (255 / (high - low))
        levels = scaled.round().clip(0, 255).astype(np.uint8)
        if levels.size and levels.min() == levels.max():
            warnings.warn(
                f'{name}: every value becomes {levels.flat[0]} by value_range={value_range} of '
                f'LoadImage; the values of the file are {values.min():g} to {values.max():g}',
                stacklevel=2,
            )
        return levels
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    low, high = values.min(initial=0), values.max(initial=0)
    kind = f'values of type {values.dtype} from {low:g} to {high:g}'
    if values.dtype.kind == 'f' or not 0 <= low <= high <= 65535:
        raise ValueError(f'{name} has {kind}: {_range_wanted(values)}')
    if 0 < high <= TWELVE_BITS:
        raise ValueError(
            f'{name} has {kind}, which would be nearly black as 16-bit values: '
            f'{_range_wanted(values)}, or (0, 65535) if it is meant to be dark'
        )
    return (values / 257.0).astype(np.uint8)


def _range_wanted(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)] if values.dtype.kind == 'f' else values
    low, high = (finite.min(), finite.max()) if finite.size else (0, 1)
    if low >= 0 and values.dtype.kind != 'f' and high <= TWELVE_BITS:
        low, high = 0, TWELVE_BITS
    elif low >= 0 and high <= 1:
        low, high = 0, 1
    return (
        f'say what is black and what is white by LoadImage.value_range, such as ({low:g}, {high:g})'
    )
