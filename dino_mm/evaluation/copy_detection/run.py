"""Copy detection on Copydays (paper section 4.2.1, table 4)."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from dino_mm.datasets import UnlabelledImageFolder
from dino_mm.datasets.transforms import read_image
from dino_mm.evaluation.backbone import FrozenBackbone
from dino_mm.evaluation.command import base_parser, load_frozen_backbone
from dino_mm.evaluation.extraction import batches, cached_features, gather, shared_fingerprint
from dino_mm.evaluation.functional import (
    copy_descriptor,
    copy_detection_aps,
    learn_whitening,
    rank_similarities,
    whiten,
)
from dino_mm.evaluation.report import report
from dino_mm.utils.launch import start_processes

from .copydays import BLOCKS, ORIGINAL, block_files, positives_by_name


def load_square(path: Path, image_size: int) -> Tensor:
    """Reads an image and resizes it to a square: uint8 (3, S, S)."""
    image = read_image(str(path)).resize((image_size, image_size), Image.Resampling.BICUBIC)
    return pil_to_tensor(image)


@torch.no_grad()
def describe(
    backbone: FrozenBackbone,
    paths: Sequence[Path],
    title: str,
    image_size: int,
    batch_size: int,
    num_workers: int,
) -> list[Tensor]:
    """:func:`copy_descriptor` (2 * C,) of all images."""
    load = partial(load_square, image_size=image_size)
    share: list[Tensor] = []
    for images in batches(paths, load, title, batch_size, num_workers):
        tokens = backbone.tokens(backbone.normalize(images))
        # A row is cloned because pickling it would write all of its batch.
        share += [x.clone() for x in copy_descriptor(tokens, backbone.num_patches(images)).cpu()]
    return gather(share, len(paths))


def folder_images(folder: str) -> list[Path]:
    """Images at any depth of a folder."""
    found = UnlabelledImageFolder(folder, lazy_init=True).load_data_list()
    return [Path(item['img_path']) for item in found]


def evaluate(
    backbone: FrozenBackbone,
    data_root: str,
    distractors: str | None = None,
    whitening: str | None = None,
    image_size: int = 320,
    batch_size: int = 16,
    work_dir: str = 'work_dirs/copy_detection',
    num_workers: int = 2,
) -> dict[str, list[float]]:
    """Average precision of every query, block by block.

    Args:
        backbone (FrozenBackbone): A vision transformer.
        data_root (str): Holds ``original/*.jpg`` and any of ``strong``, ``jpegqual/QUALITY`` and
            ``crops/PERCENT``. Blocks that are missing are left out.
        distractors (str, optional): Folder of images that are added to the originals.
        whitening (str, optional): Folder of images to learn the whitening from; the paper uses
            other images than the distractors. None for no whitening.
        image_size (int): Side of the squares that images are resized to, in pixels.
        batch_size (int): Images at a time.
        work_dir (str): Folder in which features are stored and reused.
        num_workers (int): Processes that read images.

    Returns:
        dict: Average precisions of each block, as fractions.
    """
    blocks = {block: block_files(data_root, block) for block in BLOCKS}
    blocks = {block: paths for block, paths in blocks.items() if paths}
    if ORIGINAL not in blocks or len(blocks) == 1:
        raise FileNotFoundError(
            f'{data_root} is not a Copydays folder, which has {ORIGINAL}/*.jpg and copies such as '
            'strong/*.jpg'
        )
    positives = {
        block: positives_by_name(paths, blocks[ORIGINAL]) for block, paths in blocks.items()
    }

    def features(name: str, paths: Sequence[Path]) -> Tensor:
        key = shared_fingerprint(backbone.fingerprint, image_size, files=paths)
        compute = partial(describe, backbone, paths, name, image_size, batch_size, num_workers)
        cache = Path(work_dir) / 'features' / f'{name.replace("/", "_")}.pt'
        return cached_features(cache, key, paths, compute)

    found = {block: features(block, paths) for block, paths in blocks.items()}
    database = found[ORIGINAL]
    if distractors:
        hiding = features('distractors', folder_images(distractors))
        database = torch.cat([database, hiding])
    if whitening:
        spectrum = learn_whitening(
            hiding if whitening == distractors else features('whitening', folder_images(whitening))
        )
        database = whiten(database, *spectrum)
        found = {block: whiten(part, *spectrum) for block, part in found.items()}
    return {
        block: copy_detection_aps(rank_similarities(database, part).T, positives[block])
        for block, part in found.items()
    }


def table(aps: dict[str, list[float]]) -> list[dict]:
    """Rows of the table in percent: every block, and the means over blocks of a kind."""
    rows = [
        {'block': block, 'mAP': 100 * float(np.mean(values)), 'queries': len(values)}
        for block, values in aps.items()
    ]
    for kind in ('jpegqual', 'crops'):
        members = [row for row in rows if row['block'].startswith(f'{kind}/')]
        if members:
            mean = float(np.mean([row['mAP'] for row in members]))
            total = sum(row['queries'] for row in members)
            rows.append({'block': f'mean of {kind}', 'mAP': mean, 'queries': total})
    return rows


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = base_parser('Copy detection on Copydays.', 'work_dirs/copy_detection')
    parser.add_argument('--distractors', help='folder of images that are added to the originals')
    parser.add_argument(
        '--whitening',
        help="folder of images to learn the whitening from, or 'none' (default: the distractors)",
    )
    parser.add_argument('--image-size', type=int, default=320, help='edge in pixels')
    parser.add_argument('--batch-size', type=int, default=16, help='images at a time')
    args = parser.parse_args(arguments)
    args.whitening = None if args.whitening == 'none' else args.whitening or args.distractors
    return args


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_args(arguments)
    start_processes(args.launcher)
    backbone = load_frozen_backbone(args)
    settings = dict(
        distractors=args.distractors, whitening=args.whitening, image_size=args.image_size
    )
    aps = evaluate(
        backbone,
        args.data_root,
        batch_size=args.batch_size,
        work_dir=args.work_dir,
        num_workers=args.num_workers,
        **settings,
    )
    rows = table(aps)
    result = dict(backbone=backbone.source, settings=settings, blocks=rows, aps=aps)
    path = Path(args.work_dir) / 'copydays.json'
    report(f'Copydays: {backbone.name}', rows, result, path)
    return result
