"""Lists of a few labeled images per class, as mmpretrain's ``ann_file`` reads them."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from dino_mm.datasets.scan import IMAGE_EXTENSIONS
from dino_mm.utils.subsets import balanced_subset


def labeled_files(train: str | os.PathLike) -> list[tuple[str, int]]:
    """Paths below a folder of class folders, and their classes in the order of names.

    Raises:
        FileNotFoundError: There is no class folder, or one holds no image.
    """
    train = Path(train)
    folders = sorted(path for path in train.glob('*') if path.is_dir())
    if not folders:
        raise FileNotFoundError(f'{train} has no class folders: give the folder that holds them')
    files = []
    for label, folder in enumerate(folders):
        names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in IMAGE_EXTENSIONS)
        if not names:
            raise FileNotFoundError(f'{folder} holds no image')
        files += [(f'{folder.name}/{name}', label) for name in names]
    return files


def by_names(files: Sequence[tuple[str, int]], names: Sequence[str]) -> list[tuple[str, int]]:
    """The files of a list of file names, such as SimCLR's ``1percent.txt``.

    Raises:
        ValueError: A name is not among the files.
    """
    places = {Path(path).name: (path, label) for path, label in files}
    missing = [name for name in names if name not in places]
    if missing:
        raise ValueError(f'{len(missing)} of {len(names)} listed images are missing: {missing[0]}')
    return [places[name] for name in names]


def by_fraction(
    files: Sequence[tuple[str, int]], fraction: float, seed: int
) -> list[tuple[str, int]]:
    """The given fraction of each class, at least one image; see :func:`balanced_subset`."""
    chosen = balanced_subset(torch.tensor([label for _, label in files]), fraction, seed)
    return [file for file, taken in zip(files, chosen.tolist(), strict=True) if taken]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: writes a list of labeled images."""
    parser = argparse.ArgumentParser(description='Write a list of a few labeled images.')
    parser.add_argument('train', help='folder of class folders')
    parser.add_argument('out', help='list to write, as in data/imagenet/meta/train_1percent.txt')
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument('--names', help='published list of file names to take')
    chosen.add_argument('--fraction', type=float, help='of each class to draw, as in 0.01')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    args = parser.parse_args(arguments)
    files = labeled_files(args.train)
    if args.names:
        subset = by_names(files, Path(args.names).read_text().split())
    else:
        subset = by_fraction(files, args.fraction, args.seed)
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(''.join(f'{path} {label}\n' for path, label in subset))
    print(f'{out}: {len(subset)} of {len(files)} images')
