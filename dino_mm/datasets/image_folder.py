"""Unlabeled images in folders, at any depth, or from lists."""

import os
from collections import Counter
from collections.abc import Sequence

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from PIL import Image

from dino_mm.registry import DATASETS
from dino_mm.utils.checks import check_number

from .list_file import read_list
from .scan import IMAGE_EXTENSIONS, Scan, scan_folder

#: Endings of files that list images.
LIST_EXTENSIONS = ('.txt', '.csv', '.tsv', '.lst')
#: Those of files that may hold several images.
PAGED_EXTENSIONS = ('.tif', '.tiff', '.gif', '.apng', '.webp')
#: What to do with shards.
SHARDS = (
    'Shards are read by ShardedImages: python tools/train.py configs/dino_vit-s16_shards_8xb64.py '
    '--cfg-options train_dataloader.dataset.data_root=FOLDER'
)
#: How many of the first images of a list have to exist.
CHECKED = 16


def find_images(
    data_root: str | Sequence[str],
    ann_file: str = '',
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
) -> Scan:
    """The images of folders and lists, in the order they are given.

    Args:
        data_root (str | Sequence[str]): Folders, and files that list images.
        ann_file (str): A list of images with paths relative to ``data_root``, instead of all.
        extensions (Sequence[str]): File name endings that count, in lower case.

    Raises:
        TypeError: ``data_root`` is no text.
        FileNotFoundError: A folder or file does not exist, or there is no image.
        ValueError: A list cannot be read.
    """
    roots = [data_root] if isinstance(data_root, (str, os.PathLike)) else data_root
    if not isinstance(roots, (list, tuple)) or not all(
        isinstance(root, (str, os.PathLike)) for root in roots
    ):
        raise TypeError(
            f'data_root must be a folder, a list file or several of them, got {data_root!r}: on a '
            'command line put a name that reads as a number in quotes twice, as in '
            """data_root="'2024'\""""
        )
    if ann_file and len(roots) != 1:
        raise ValueError('ann_file goes with one data_root: name list files as data_root instead')
    files, passed_over = [], Counter()
    for root in map(os.fspath, roots):
        if ann_file:
            files += _listed(ann_file, root, extensions)
        elif root.lower().endswith(LIST_EXTENSIONS) and os.path.isfile(root):
            files += _listed(root, os.path.dirname(root), extensions)
        elif os.path.isdir(root):
            scan = scan_folder(root, extensions)
            files += scan.files
            passed_over.update(scan.passed_over)
        else:
            raise FileNotFoundError(
                f'image folder {root!r} does not exist: set data_root in the config or by '
                '--cfg-options train_dataloader.dataset.data_root=FOLDER'
                + (' (a comma separates several folders)' if len(roots) > 1 else '')
            )
    found = Scan(files, passed_over)
    if not files:
        others = found.describe_passed_over()
        raise FileNotFoundError(
            f'no image in {ann_file or data_root!r}: looked for {", ".join(extensions)}'
            + (f', and found {others}' if others else '')
            + (f'. {SHARDS}' if {'.tar', '.parquet'} & found.passed_over.keys() else '')
        )
    return found


def _listed(file: str, folder: str, extensions: Sequence[str]) -> list[str]:
    """Paths of a list file, relative ones from ``folder``."""
    items = read_list(file, extensions)
    for item in items[:CHECKED]:
        if not os.path.isfile(os.path.join(folder, item.path)):
            raise FileNotFoundError(
                f'{file}, line {item.line}: {os.path.join(folder, item.path)} does not exist. '
                'Paths are relative to data_root'
            )
    return [os.path.join(folder, item.path) for item in items]


@DATASETS.register_module()
class UnlabelledImageFolder(BaseDataset):
    """Every image below folders, sorted by path; hidden files and folders are left out.

    Args:
        data_root (str | list[str]): The folder, or several. A file named ``.txt``, ``.csv``,
            ``.tsv`` or ``.lst`` counts as a list of images with paths relative to its own folder.
        ann_file (str): Text or CSV file with one path per line, relative to ``data_root``, instead
            of all images (see :func:`~dino_mm.datasets.list_file.read_list`). What follows the
            path, such as a label, is not read.
        extensions (Sequence[str]): File name endings that count, in either case.
        most (int, optional): Use so many images at most, spread evenly.
        pages (bool): Every page of a TIFF and every frame of an animation counts as an image,
            instead of the first alone. All such files are opened at the start.
        pipeline (list): Transforms.

    Raises:
        TypeError: ``data_root`` is no text.
        FileNotFoundError: No such folder, or no image in it.
    """

    def __init__(
        self,
        data_root: str | list[str],
        ann_file: str = '',
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        most: int | None = None,
        pages: bool = False,
        pipeline: list | tuple = (),
        **kwargs,
    ) -> None:
        if isinstance(extensions, str) or not all(ext.startswith('.') for ext in extensions):
            raise ValueError(
                'UnlabelledImageFolder.extensions must be file name endings such as '
                f"('.jpg', '.png'), got {extensions!r}"
            )
        self.extensions = tuple(extension.lower() for extension in extensions)
        if most is not None:
            check_number('UnlabelledImageFolder.most', most, whole=True, at_least=1)
        self.roots, self.most, self.pages = data_root, most, pages
        one = data_root if isinstance(data_root, str) else ''
        super().__init__(data_root=one, ann_file=ann_file, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        found = find_images(self.roots, self.ann_file, self.extensions)
        if found.passed_over:
            print_log(
                f'{len(found.files):,} images in {self.roots}; passed over: '
                f'{found.describe_passed_over()}',
                'current',
            )
        files = found.files
        if self.most is not None and self.most < len(files):
            files = [files[i * len(files) // self.most] for i in range(self.most)]
        if not self.pages:
            return [dict(img_path=path) for path in files]
        return [
            dict(img_path=path, page=page) for path in files for page in range(count_pages(path))
        ]


def count_pages(path: str) -> int:
    """Pages or frames of a file; 1 of a kind that holds one image."""
    if not path.lower().endswith(PAGED_EXTENSIONS):
        return 1
    try:
        with Image.open(path) as image:
            return getattr(image, 'n_frames', 1)
    except OSError:
        return 1  # a broken file is named when it is read
