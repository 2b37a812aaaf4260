"""k-NN and the best linear classifier of stored features."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine.device import get_device
from torch import Tensor

from dino_mm.evaluation.features import FeatureFiles
from dino_mm.evaluation.functional import fit_linear_heads, knn_accuracy, linear_accuracy
from dino_mm.evaluation.report import write_json
from dino_mm.utils.files import fingerprint
from dino_mm.utils.subsets import balanced_subset, held_out_part

from .subjects import Subject

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
    subject: Subject,
    files: FeatureFiles,
    fractions: Sequence[float],
    sweep: Sweep,
    work_dir: str | os.PathLike,
) -> list[dict]:
    """A row of :func:`probe` for each fraction of the labels.

    Finished rows are stored in the work dir and reused as long as features and settings are the
    same.
    """
    features, labels = files.read_all()
    num_train = files.dataset.cumulative_sizes[0]
    key = fingerprint(files.key, subject.choices, asdict(sweep))
    rows = []
    for fraction in fractions:
        path = Path(work_dir) / 'rows' / f'{subject.kind}_{fraction:g}.json'
        stored = json.loads(path.read_text()) if path.is_file() else {}
        if stored.get('key') != key:
            row = probe(subject, features, labels, num_train, fraction, sweep)
            stored = dict(key=key, row=row)
            write_json(stored, path)
        rows.append(stored['row'])
    return rows
