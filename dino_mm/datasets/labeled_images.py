"""Labeled images of a folder or a list, divided into those that vote and those that are classified."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset

from dino_mm.registry import DATASETS
from dino_mm.utils.checks import check_number

from .list_file import read_list
from .scan import IMAGE_EXTENSIONS, scan_folder

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
        raise FileNotFoundError(f'labeled images {source!r}: no such folder or list')
    paths = [Path(path) for path in scan_folder(source).files]
    found = [
        (str(path), parts[0]) for path in paths if len(parts := path.relative_to(source).parts) > 1
    ]
    if len({label for _, label in found}) < 2:
        raise ValueError(
            f'labeled images {source!r}: it should hold a folder for each class, at least two, or be '
            'a list of paths and labels'
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
        raise ValueError(
            f'labeled images {source!r}: no image for comparison of class {min(missing)!r}'
        )
    return tuple(parts)


@DATASETS.register_module()
class LabeledImages(BaseDataset):
    """One part of the labeled images in a folder or a list, for a :class:`KNNDataset`.

    Args:
        data_root (str): A folder that holds a folder for each class, or ``train`` and ``val`` (or
            ``test``) of that kind; or a text or CSV file with a path and a label in each line.
        part (str): ``'bank'``, whose labels vote, or ``'queries'``, which are classified. Without
            folders of these names every second image of a class belongs to the bank.
        most (int, optional): Use so many images at most, spread evenly.
        pipeline (list): Transforms.

    Raises:
        FileNotFoundError: No such folder or list.
        ValueError: No labels, or a class of the queries has no image in the bank.
    """

    def __init__(
        self,
        data_root: str,
        part: str,
        most: int | None = None,
        pipeline: list | tuple = (),
        **kwargs,
    ) -> None:
        if part not in ('bank', 'queries'):
            raise ValueError(f"LabeledImages.part must be 'bank' or 'queries', got {part!r}")
        check_number('LabeledImages.most', most, whole=True, optional=True, at_least=1)
        self.part, self.most = part, most
        super().__init__(data_root=data_root, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        bank, queries = bank_and_queries(self.data_root)
        names = sorted({label for _, label in bank})
        number = {name: index for index, name in enumerate(names)}
        self._metainfo['classes'] = tuple(names)
        images = bank if self.part == 'bank' else queries
        images = spread(images, self.most or len(images))
        return [dict(img_path=path, gt_label=number[label]) for path, label in images]
