"""k-NN and linear classification of frozen features, from few or all labels (paper section 4.1)."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from mmengine.registry import DefaultScope
from torch import Tensor

from dino_mm.datasets import KNNDataset
from dino_mm.evaluation.command import base_parser, start_processes
from dino_mm.evaluation.features import FeatureFiles, features_key
from dino_mm.evaluation.functional import fit_linear_heads, knn_accuracy, linear_accuracy
from dino_mm.evaluation.report import report, write_json
from dino_mm.registry import DATASETS
from dino_mm.utils.files import fingerprint
from dino_mm.utils.subsets import balanced_subset, held_out_part

from .labeled import images_config
from .subjects import Subject, build_subjects

KS = (10, 20, 100, 200)


@dataclass
class Sweep:
    """Settings of the linear classifiers, and what is tried.

    Attributes:
        layers: How many last layers give their class tokens to be concatenated (ViT only).
        lrs: Learning rates for 256 images.
        epochs: Passes over the features.
        head_batch_size: Features at a time.
        held_out: Share of the training images on which learning rate and features are chosen.
        seed: Seed of subsets, weights and order.
    """

    layers: tuple[int, ...] = (1, 4)
    lrs: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
    epochs: int = 100
    head_batch_size: int = 256
    held_out: float = 0.1
    seed: int = 0


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


def probe(
    subject: Subject,
    features: Tensor,
    labels: Tensor,
    num_train: int,
    fraction: float,
    sweep: Sweep,
) -> dict:
    """k-NN and the best linear head from a fraction of the training labels.

    Learning rate and features are chosen on held-out training images. The chosen head is then
    trained again, on all images of the fraction, and tested.

    Args:
        subject (Subject): What the features were computed with.
        features (Tensor): (N, P, C), the training images first.
        labels (Tensor): (N,) classes.
        num_train (int): Number of training images.
        fraction (float): Fraction of the labels of each class to use.
        sweep (Sweep): Settings.

    Returns:
        dict: A row of the table. Accuracies are in percent, on the images after the training
        images.

    Raises:
        ValueError: No images are left to test on, or to choose on.
    """
    train_labels, test, test_labels = labels[:num_train], features[num_train:], labels[num_train:]
    used = balanced_subset(train_labels, fraction, sweep.seed)
    held = held_out_part(train_labels, sweep.held_out, sweep.seed)
    device, part, train = get_device(), subject.knn_part, features[:num_train]
    knn = knn_accuracy(
        train[used, part], train_labels[used], test[:, part], test_labels, ks=KS, device=device
    )
    if not held.any():
        raise ValueError(
            'no training image is left to choose the learning rate on: every class has only '
            'one image'
        )
    classes, title = int(labels.max()) + 1, f'{subject.kind} {fraction:g}'

    def fit(chosen: Tensor, choices: dict, lrs: Sequence[float], title: str | None) -> dict:
        return fit_linear_heads(
            train,
            train_labels,
            classes,
            choices,
            lrs,
            sweep.epochs,
            sweep.head_batch_size,
            sweep.seed,
            device,
            title,
            chosen.nonzero()[:, 0],
        )

    best = (-1.0, '', 0.0)
    heads = fit(used & ~held, subject.choices, sweep.lrs, title)
    for name, head in heads.items():
        accuracy, index = linear_accuracy(head, train[held], train_labels[held]).max(dim=0)
        best = max(best, (float(accuracy), name, sweep.lrs[int(index)]), key=lambda item: item[0])
    accuracy, name, lr = best
    head = fit(used, {name: subject.choices[name]}, [lr], None)[name]
    top1, top5 = (float(linear_accuracy(head, test, test_labels, n)) for n in (1, 5))
    return dict(
        features=subject.kind,
        labels=f'{100 * fraction:g} %',
        images=int(used.sum()),
        **{f'{k}-NN': knn[f'k{k}_top1'] for k in KS},
        **{'linear top-1': top1, 'top-5': top5, 'held out': accuracy},
        chosen=name,
        lr=f'{lr:g}',
    )


def probe_fractions(
    subject: Subject, files: FeatureFiles, args: argparse.Namespace, sweep: Sweep
) -> list[dict]:
    """A row of :func:`probe` for each fraction of the labels.

    Finished rows are stored in the work dir and reused as long as features and settings are the
    same.
    """
    features, labels = files.read_all()
    num_train = files.dataset.cumulative_sizes[0]
    key = fingerprint(files.key, subject.choices, asdict(sweep))
    rows = []
    for fraction in args.fractions:
        path = Path(args.work_dir) / 'rows' / f'{subject.kind}_{fraction:g}.json'
        stored = json.loads(path.read_text()) if path.is_file() else {}
        if stored.get('key') != key:
            row = probe(subject, features, labels, num_train, fraction, sweep)
            stored = dict(key=key, row=row)
            write_json(stored, path)
        rows.append(stored['row'])
    return rows


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
        rows += probe_fractions(subject, files, args, sweep)
    result = dict(
        subjects={subject.kind: subject.source for subject in subjects},
        data=args.data_root or args.config,
        settings=asdict(sweep),
        rows=rows,
    )
    title = f'Accuracy in percent: {args.checkpoint} on {result["data"]}'
    report(title, rows, result, Path(args.work_dir) / 'linear_probe.json')
    return rows
