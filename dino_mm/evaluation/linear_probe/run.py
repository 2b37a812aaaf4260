"""k-NN and linear classification of frozen features, from few or all labels (paper section 4.1)."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from mmengine.registry import DefaultScope
from torch import Tensor

from dino_mm.datasets import KNNDataset
from dino_mm.evaluation.command import base_parser
from dino_mm.evaluation.features import FeatureFiles, features_key
from dino_mm.evaluation.report import report
from dino_mm.registry import DATASETS
from dino_mm.utils.launch import start_processes

from .labeled import images_config
from .probe import Sweep, probe_fractions
from .subjects import Subject, build_subjects


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = base_parser(
        'k-NN and linear classification of frozen features on {train,val}/CLASS/*.',
        'work_dirs/linear_probe',
        "the images of --config's k-NN evaluation",
    )
    default = Sweep()
    parser.add_argument(
        '--baselines',
        action='store_true',
        help='also the untrained backbone (needs --config or --arch) and raw pixels',
    )
    parser.add_argument(
        '--fractions',
        type=float,
        nargs='+',
        default=[1.0],
        help='fractions of the labels, as in 0.01 0.1 1',
    )
    parser.add_argument(
        '--layers', type=int, nargs='+', default=default.layers, help='how many last layers to use'
    )
    parser.add_argument(
        '--lrs', type=float, nargs='+', default=default.lrs, help='learning rates, for 256 images'
    )
    parser.add_argument(
        '--epochs', type=int, default=default.epochs, help='passes over the features'
    )
    parser.add_argument(
        '--head-batch-size', type=int, default=default.head_batch_size, help='features at a time'
    )
    parser.add_argument(
        '--held-out', type=float, default=default.held_out, help='share of train on which to choose'
    )
    parser.add_argument('--image-size', type=int, default=224, help='edge in pixels')
    parser.add_argument('--pixels', type=int, default=32, help='edge of raw pixel features')
    parser.add_argument('--batch-size', type=int, default=64, help='images at a time')
    return parser.parse_args(arguments)


@torch.no_grad()
def embed_batch(subject: Subject, batch: dict) -> Tensor:
    """Features (B, P, C) of a collated batch."""
    return subject.embed(torch.stack(batch['inputs']).to(get_device())).float()


def write_features(
    subject: Subject, images: KNNDataset, dataset: dict, args: argparse.Namespace
) -> FeatureFiles:
    """Writes the features of all images to files; every process writes its share."""
    folder = Path(args.work_dir) / 'features' / subject.kind
    files = FeatureFiles(images, features_key(images, subject.key, dataset), folder)
    files.write(
        partial(embed_batch, subject),
        f'{subject.kind} features',
        args.batch_size,
        args.num_workers,
    )
    return files


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """All processes compute features. The first one trains, tests and returns the rows."""
    args = parse_args(arguments)
    sweep = Sweep(
        layers=tuple(args.layers),
        lrs=tuple(args.lrs),
        epochs=args.epochs,
        head_batch_size=args.head_batch_size,
        held_out=args.held_out,
        seed=args.seed,
    )
    dataset = images_config(args.data_root, args.config, args.image_size)
    start_processes(args.launcher)
    with DefaultScope.overwrite_default_scope('dino_mm'):
        images = DATASETS.build(dataset)
    subjects = build_subjects(args)
    written = [write_features(subject, images, dataset, args) for subject in subjects]
    barrier()
    if not is_main_process():
        return []
    rows = []
    for subject, files in zip(subjects, written, strict=True):
        rows += probe_fractions(subject, files, args.fractions, sweep, args.work_dir)
    result = dict(
        subjects={subject.kind: subject.source for subject in subjects},
        data=args.data_root or args.config,
        settings=asdict(sweep),
        rows=rows,
    )
    title = f'Accuracy in percent: {args.checkpoint} on {result["data"]}'
    report(title, rows, result, Path(args.work_dir) / 'linear_probe.json')
    return rows
