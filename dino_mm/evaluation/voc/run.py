"""Objects in the attention of the class token, on PASCAL VOC 2012 (paper figure 4)."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from dino_mm.datasets.transforms import read_image
from dino_mm.evaluation.backbone import FrozenBackbone
from dino_mm.evaluation.command import base_parser, load_frozen_backbone
from dino_mm.evaluation.extraction import batches, gather, require_files
from dino_mm.evaluation.functional import attention_mask, head_jaccards, require_finite
from dino_mm.evaluation.report import report
from dino_mm.utils.launch import start_processes

#: Label of border pixels and of objects that are too hard to mark. They belong to no object.
VOID = 255


def load_pair(paths: tuple[Path, Path], side: int) -> tuple[str, Tensor, Tensor]:
    """Path of an image, and image and mask resized to a square: uint8 (3, S, S) and (S, S).

    Raises:
        ValueError: They differ in size.
    """
    image = read_image(str(paths[0]))
    with Image.open(paths[1]) as mask:
        if mask.size != image.size:
            raise ValueError(f'{paths[0]} is {image.size} but its mask {paths[1]} {mask.size}')
        if mask.mode not in ('P', 'L'):
            raise ValueError(f'{paths[1]} is {mask.mode}: expected a palette or gray-level PNG')
        mask = np.array(mask.resize((side, side), Image.Resampling.NEAREST))
    image = image.resize((side, side), Image.Resampling.BILINEAR)
    return str(paths[0]), pil_to_tensor(image), torch.from_numpy(mask)


@torch.no_grad()
def image_jaccards(
    backbone: FrozenBackbone, names: Sequence[str], images: Tensor, masks: Tensor, mass: float
) -> list[Tensor]:
    """:func:`head_jaccards` (heads, K) of each image; K is zero where a mask holds no object.

    Args:
        backbone (FrozenBackbone): A vision transformer.
        names (Sequence[str]): Names of the B images, for messages.
        images (Tensor): (B, 3, S, S) uint8.
        masks (Tensor): (B, S, S) ids, 0 for background and 255 for void.
        mass (float): See :func:`attention_mask`.

    Raises:
        ValueError: Attention is not finite.
    """
    patch = backbone.patch_size
    attention = backbone.class_attention(images)  # (B, heads, h, w)
    require_finite(attention, 'attention maps', lambda index: names[index])
    kept = attention_mask(attention.flatten(2), mass).view_as(attention)
    kept = kept.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    results = []
    for heads, mask in zip(kept, masks.to(kept.device), strict=True):
        numbers = [n for n in mask.unique().tolist() if n not in (0, VOID)]
        objects = [mask == n for n in numbers]
        objects = torch.stack(objects) if objects else mask.new_zeros(0, *mask.shape)
        results.append(head_jaccards(heads, objects).cpu())
    return results


def evaluate(
    backbone: FrozenBackbone,
    data_root: str,
    split: str = 'val',
    mask_dir: str = 'SegmentationClass',
    image_size: int = 480,
    mass: float = 0.6,
    batch_size: int = 4,
    num_workers: int = 2,
) -> dict:
    """Jaccard similarity of thresholded attention with objects.

    Args:
        backbone (FrozenBackbone): A vision transformer.
        data_root (str): ``VOCdevkit/VOC2012``: ``JPEGImages``, ``SegmentationClass`` and
            ``ImageSets/Segmentation/SPLIT.txt``.
        split (str): Which list of images.
        mask_dir (str): With ``SegmentationClass``, all pixels of a class in an image are one
            object; with ``SegmentationObject``, each object counts by itself.
        image_size (int): Side of the squares that images are resized to, rounded down to whole
            patches.
        mass (float): Share of the attention to keep.
        batch_size (int): Images at a time.
        num_workers (int): Processes that read images.

    Returns:
        dict: ``jaccard`` (the best head for each object, averaged over an image's objects and
        then over images), ``single_heads`` (the same with one head for all objects), ``images``
        and ``without_object`` (images that do not count).
    """
    root = Path(data_root)
    listed = root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
    if not listed.is_file():
        raise FileNotFoundError(
            f'{listed} does not exist: the data root is the folder VOCdevkit/VOC2012'
        )
    names = listed.read_text().split()
    pairs = [(root / 'JPEGImages' / f'{n}.jpg', root / mask_dir / f'{n}.png') for n in names]
    if not pairs:
        raise ValueError(f'{listed} names no images')
    require_files([path for pair in pairs for path in pair], 'images and masks')
    side = image_size // backbone.patch_size * backbone.patch_size
    if side == 0:
        raise ValueError(f'--image-size {image_size} is below one patch ({backbone.patch_size})')
    share: list[Tensor] = []
    load = partial(load_pair, side=side)
    for names, images, masks in batches(pairs, load, f'VOC {split}', batch_size, num_workers):
        share += image_jaccards(backbone, names, images, masks, mass)
    jaccards = [values for values in gather(share, len(pairs)) if values.shape[1]]
    if not jaccards:
        raise ValueError(f'no mask of {listed} holds an object: check {root / mask_dir}')
    return dict(
        jaccard=float(np.mean([values.amax(dim=0).mean() for values in jaccards])),
        single_heads=torch.stack([values.mean(dim=1) for values in jaccards]).mean(0).tolist(),
        images=len(jaccards),
        without_object=len(pairs) - len(jaccards),
    )


def table(scores: dict) -> list[dict]:
    """Rows of the table, in percent."""
    rows = [dict(head='best for each object', Jaccard=100 * scores['jaccard'])]
    rows += [
        dict(head=f'head {head} for all', Jaccard=100 * value)
        for head, value in enumerate(scores['single_heads'])
    ]
    return [row | dict(images=scores['images']) for row in rows]


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = base_parser(
        'Jaccard similarity of attention and objects on VOC 2012.',
        'work_dirs/attention_voc',
    )
    parser.add_argument('--split', default='val', help='list of images')
    parser.add_argument(
        '--mask-dir',
        default='SegmentationClass',
        help='SegmentationObject counts objects of one class separately',
    )
    parser.add_argument('--image-size', type=int, default=480, help='edge in pixels')
    parser.add_argument('--mass', type=float, default=0.6, help='share of the attention to keep')
    parser.add_argument('--batch-size', type=int, default=4, help='images at a time')
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_args(arguments)
    start_processes(args.launcher)
    backbone = load_frozen_backbone(args)
    settings = dict(
        split=args.split, mask_dir=args.mask_dir, image_size=args.image_size, mass=args.mass
    )
    scores = evaluate(
        backbone,
        args.data_root,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        **settings,
    )
    result = dict(backbone=backbone.source, settings=settings, scores=scores)
    path = Path(args.work_dir) / 'attention_voc.json'
    report(f'Objects in attention: {backbone.name}', table(scores), result, path)
    return result
