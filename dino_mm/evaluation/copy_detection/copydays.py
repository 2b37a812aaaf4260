"""Folders of INRIA Copydays."""

import os
from collections.abc import Sequence
from pathlib import Path

ORIGINAL = 'original'
BLOCKS = (
    ORIGINAL,
    'strong',
    *(f'jpegqual/{quality}' for quality in (3, 5, 8, 10, 15, 20, 30, 50, 75)),
    *(f'crops/{percent}' for percent in (10, 15, 20, 30, 40, 50, 60, 70, 80)),
)


def block_files(data_root: str | os.PathLike, block: str) -> list[Path]:
    """Images of a block, sorted by name; an empty list if the block is missing."""
    return sorted((Path(data_root) / block).glob('*.jpg'))


def positives_by_name(queries: Sequence[Path], originals: Sequence[Path]) -> list[list[int]]:
    """Originals of each query: those whose name starts with the same four characters.

    Raises:
        ValueError: A query has no original, or there are no originals.
    """
    if not originals:
        raise ValueError(f'no {ORIGINAL}/*.jpg to search among')
    numbers: dict[str, list[int]] = {}
    for number, path in enumerate(originals):
        numbers.setdefault(path.name[:4], []).append(number)
    for path in queries:
        if path.name[:4] not in numbers:
            raise ValueError(f'{path} has no original: no {ORIGINAL}/{path.name[:4]}*.jpg')
    return [numbers[path.name[:4]] for path in queries]
