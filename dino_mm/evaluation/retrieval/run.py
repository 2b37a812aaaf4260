"""Image retrieval on revisited Oxford and Paris (paper section 4.2.1, table 3)."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from dino_mm.datasets.transforms import read_image
from dino_mm.evaluation.backbone import FrozenBackbone
from dino_mm.evaluation.command import base_parser, load_frozen_backbone
from dino_mm.evaluation.extraction import (
    batches,
    cached_features,
    gather,
    require_files,
    shared_fingerprint,
)
from dino_mm.evaluation.functional import (
    multi_scale_descriptor,
    rank_similarities,
    retrieval_scores,
)
from dino_mm.evaluation.report import report
from dino_mm.utils.launch import start_processes

from .revisited import DATASETS, image_path, read_ground_truth

SCALES = (1.0, 2**-0.5, 0.5)
KS = (1, 5, 10)

#: A file and the box (left, top, right, bottom) to use, or None for the whole image.
Region = tuple[Path, Sequence[float] | None]


def load_region(region: Region, image_size: int) -> Tensor:
    """Crops to the box and shrinks the longer side to ``image_size``: uint8 (3, H, W).

    Raises:
        ValueError: The box lies outside of the image.
    """
    path, box = region
    image = read_image(str(path))
    if box is not None:
        left, top, right, bottom = (round(side) for side in box)
        inside = max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            raise ValueError(f'query {path} is {image.size}, its box {box} lies outside of it')
        image = image.crop(inside)
    image.thumbnail((image_size, image_size), Image.Resampling.LANCZOS)
    return pil_to_tensor(image)


@torch.no_grad()
def describe(
    backbone: FrozenBackbone,
    regions: Sequence[Region],
    title: str,
    image_size: int,
    scales: Sequence[float],
    num_workers: int,
) -> list[Tensor]:
    """Normalized descriptors (D,) of all regions, one image at a time because sizes differ."""
    load = partial(load_region, image_size=image_size)
    share = [
        multi_scale_descriptor(backbone.normalize(image), backbone.descriptor, scales)[0].cpu()
        for image in batches(regions, load, title, num_workers=num_workers)
    ]
    return gather(share, len(regions))


def evaluate(
    backbone: FrozenBackbone,
    data_root: str,
    dataset: str = 'roxford5k',
    image_size: int = 224,
    scales: Sequence[float] = (1.0,),
    crop_queries: bool = True,
    work_dir: str = 'work_dirs/image_retrieval',
    num_workers: int = 2,
) -> dict:
    """Scores of :func:`retrieval_scores` on image files.

    Args:
        backbone (FrozenBackbone): Its class token describes an image.
        data_root (str): Holds ``DATASET/gnd_DATASET.pkl`` and ``DATASET/jpg/*.jpg``.
        dataset (str): ``'roxford5k'`` or ``'rparis6k'``.
        image_size (int): Longer side in pixels; smaller images stay as they are.
        scales (Sequence[float]): See :func:`multi_scale_descriptor`.
        crop_queries (bool): Use only the box of each query, as the benchmark demands. The
            reference's script uses the whole image.
        work_dir (str): Folder in which features are stored and reused.
        num_workers (int): Processes that read images.
    """
    truth = read_ground_truth(Path(data_root) / dataset / f'gnd_{dataset}.pkl')
    boxes = [entry['bbx'] if crop_queries else None for entry in truth.truths]
    query_paths = [image_path(data_root, dataset, name) for name in truth.queries]
    regions = dict(
        database=[(image_path(data_root, dataset, name), None) for name in truth.database],
        queries=list(zip(query_paths, boxes, strict=True)),
    )
    features = {}
    for name, part in regions.items():
        paths = [path for path, _ in part]
        require_files(paths, f'images of the {name}')
        key = shared_fingerprint(
            backbone.fingerprint, image_size, tuple(scales), [box for _, box in part], files=paths
        )
        title = f'{dataset} {name}'
        compute = partial(
            describe, backbone, part, title, image_size, scales, num_workers=num_workers
        )
        cache = Path(work_dir) / 'features' / f'{dataset}_{name}.pt'
        features[name] = cached_features(cache, key, paths, compute)
    similarities = rank_similarities(features['database'], features['queries'])
    return retrieval_scores(similarities, truth.truths, KS)


def table(scores: dict[str, dict]) -> list[dict]:
    """Rows of the table, in percent."""
    return [
        dict(protocol=protocol, mAP=100 * score['map'])
        | {f'mP@{k}': 100 * value for k, value in zip(KS, score['mp'], strict=True)}
        | dict(queries=sum(ap is not None for ap in score['aps']))
        for protocol, score in scores.items()
    ]


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = base_parser(
        'Image retrieval on revisited Oxford or Paris.', 'work_dirs/image_retrieval'
    )
    parser.add_argument('--dataset', choices=DATASETS, default=DATASETS[0])
    parser.add_argument('--image-size', type=int, default=224, help='longer side in pixels')
    parser.add_argument('--multi-scale', action='store_true', help='scales 1, 1/sqrt(2) and 1/2')
    parser.add_argument(
        '--whole-queries',
        action='store_true',
        help='use whole query images, as the published script does and the benchmark forbids',
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_args(arguments)
    start_processes(args.launcher)
    backbone = load_frozen_backbone(args)
    settings = dict(
        dataset=args.dataset,
        image_size=args.image_size,
        scales=SCALES if args.multi_scale else (1.0,),
        crop_queries=not args.whole_queries,
    )
    scores = evaluate(
        backbone, args.data_root, work_dir=args.work_dir, num_workers=args.num_workers, **settings
    )
    result = dict(backbone=backbone.source, settings=settings, scores=scores)
    path = Path(args.work_dir) / f'{args.dataset}.json'
    report(f'{args.dataset}: {backbone.name}', table(scores), result, path)
    return result
