"""Labeled images as two lists, to be evaluated on during pretraining."""

import os
from collections.abc import Sequence
from pathlib import Path

from dino_mm.datasets.list_file import read_list
from dino_mm.datasets.scan import IMAGE_EXTENSIONS, scan_folder
from dino_mm.utils.files import replaced

#: Images that vote, and images that are classified, at most: an evaluation takes seconds.
MOST_BANK, MOST_QUERIES = 5000, 2000
#: Names of folders that hold the two parts, if there are such.
PARTS = (('train', 'val'), ('train', 'test'))


def labeled_images(source: str) -> list[tuple[str, str]]:
    """Paths and class names of a folder with class folders, or of a list or CSV file.

    Raises:
        FileNotFoundError: No such folder or file.
        ValueError: No labels.
    """
    if os.path.isfile(source):
        folder = os.path.dirname(source)
        found = [
            (os.path.join(folder, item.path), item.label)
            for item in read_list(source, IMAGE_EXTENSIONS)
        ]
        without = [path for path, label in found if label is None]
        if without:
            raise ValueError(f'{source} gives no label for {without[0]}: write it after the path')
        return found
    if not os.path.isdir(source):
        raise FileNotFoundError(f'--labels {source!r}: no such folder or list')
    paths = [Path(path) for path in scan_folder(source).files]
    found = [
        (str(path), parts[0]) for path in paths if len(parts := path.relative_to(source).parts) > 1
    ]
    if len({label for _, label in found}) < 2:
        raise ValueError(
            f'--labels {source}: it should hold a folder for each class, at least two, or be a list '
            'of paths and labels'
        )
    return found


def spread(items: Sequence, most: int) -> list:
    """At most so many items, spread evenly."""
    if len(items) <= most:
        return [*items]
    return [items[index * len(items) // most] for index in range(most)]


def bank_and_queries(source: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Images that vote and images that are classified.

    Folders ``train`` and ``val`` (or ``test``) are taken as such, otherwise every second image of a
    class votes.

    Raises:
        ValueError: A class of the queries has no image in the bank.
    """
    for bank, queries in PARTS:
        if os.path.isdir(os.path.join(source, bank)) and os.path.isdir(
            os.path.join(source, queries)
        ):
            parts = [labeled_images(os.path.join(source, part)) for part in (bank, queries)]
            break
    else:
        images = sorted(labeled_images(source), key=lambda item: (item[1], item[0]))
        parts = [images[::2], images[1::2]]
    missing = {label for _, label in parts[1]} - {label for _, label in parts[0]}
    if missing:
        raise ValueError(f'--labels {source}: no image for comparison of class {min(missing)!r}')
    return spread(parts[0], MOST_BANK), spread(parts[1], MOST_QUERIES)


def write_lists(source: str, folder: str) -> dict[str, str | list[str]]:
    """Writes ``labels_bank.txt`` and ``labels_queries.txt``, a path and a class number a line.

    Returns:
        dict: ``bank`` and ``queries``, the files; ``classes``, the names.
    """
    parts = dict(zip(('bank', 'queries'), bank_and_queries(source), strict=True))
    classes = sorted({label for _, label in parts['bank']})
    number = {name: index for index, name in enumerate(classes)}
    files = {}
    for name, items in parts.items():
        files[name] = os.path.abspath(os.path.join(folder, f'labels_{name}.txt'))
        lines = [f'{os.path.abspath(path)} {number[label]}\n' for path, label in items]
        with replaced(files[name]) as scratch:
            scratch.write_text(''.join(lines), encoding='utf-8')
    return files | dict(classes=classes)
