"""Holds the evaluations against recordings of the published code."""

import json
from collections.abc import Callable

import numpy as np
import torch

from dino_mm.evaluation.functional import (
    average_precision,
    boundary_accuracy,
    knn_accuracy,
    propagate_labels,
    region_similarity,
    retrieval_scores,
    sequence_statistics,
)

#: Largest difference allowed per quantity, and whether it is relative.
TOLERANCES = {
    'k-NN top-1': (1e-9, False),
    'k-NN top-5': (1e-9, False),
    'retrieval mAP': (1e-6, False),
    'retrieval AP per query': (1e-6, False),
    'retrieval mP@k': (1e-6, False),
    'propagated labels': (1e-5, False),
    'J': (1e-6, False),
    'F': (1e-6, False),
    'J and F statistics': (1e-6, False),
    'copy detection AP': (1e-6, False),
}

Entries = dict[str, np.ndarray]


def _worst(ours, theirs) -> float:
    """Largest absolute difference; NaN (a query without positives) only equals itself."""
    ours, theirs = (np.asarray(values, dtype=np.float64) for values in (ours, theirs))
    if ours.shape != theirs.shape:
        raise ValueError(f'shapes differ: {ours.shape} here, {theirs.shape} recorded')
    if (np.isnan(ours) != np.isnan(theirs)).any():
        return float('nan')
    return float(np.nan_to_num(np.abs(ours - theirs)).max(initial=0.0))


def check_knn(entries: Entries) -> dict[str, float]:
    """Weighted k-NN; the reference's top-5 means something from k = 5 on."""
    ks = sorted(int(key.removeprefix('top1_k')) for key in entries if key.startswith('top1_k'))
    names = ('train_features', 'train_labels', 'test_features', 'test_labels')
    tensors = [torch.from_numpy(entries[name]) for name in names]
    ours = knn_accuracy(*tensors, ks=ks, temperature=float(entries['temperature']))
    worst = {}
    for n, smallest in ((1, 1), (5, 5)):
        wanted = [k for k in ks if k >= smallest]
        worst[f'k-NN top-{n}'] = _worst(
            [ours[f'k{k}_top{n}'] for k in wanted],
            [float(entries[f'top{n}_k{k}']) for k in wanted],
        )
    return worst


def check_retrieval(entries: Entries) -> dict[str, float]:
    """mAP, AP and mP@k of both protocols."""
    ours = retrieval_scores(entries['similarities'], json.loads(str(entries['ground_truth'])))
    theirs = json.loads(str(entries['result']))
    names = {'retrieval mAP': 'map', 'retrieval AP per query': 'aps', 'retrieval mP@k': 'mp'}
    return {
        quantity: max(_worst(ours[p][key], theirs[p][key]) for p in theirs)
        for quantity, key in names.items()
    }


def check_label_propagation(entries: Entries) -> dict[str, float]:
    """One step of label propagation."""
    ours = propagate_labels(
        torch.from_numpy(entries['target_features']),
        torch.from_numpy(entries['context_features']).transpose(1, 2),
        torch.from_numpy(entries['context_labels']),
        neighborhood=int(entries['size_mask_neighborhood']),
        topk=int(entries['topk']),
    )
    return {'propagated labels': _worst(ours, entries['propagated'])}


def check_davis_jf(entries: Entries) -> dict[str, float]:
    """J and F of each frame and their statistics."""
    truth, predicted = entries['annotation'], entries['segmentation']
    boundary = [boundary_accuracy(*pair) for pair in zip(truth, predicted, strict=True)]
    values = dict(J=region_similarity(truth, predicted), F=np.array(boundary))
    theirs = json.loads(str(entries['statistics']))
    ours = {metric: sequence_statistics(series) for metric, series in values.items()}
    pairs = [
        (ours[metric][key], theirs[metric][key]) for metric in theirs for key in theirs[metric]
    ]
    return {metric: _worst(series, entries[metric]) for metric, series in values.items()} | {
        'J and F statistics': _worst(*zip(*pairs, strict=True))
    }


def check_copy_detection(entries: list[dict]) -> dict[str, float]:
    """Average precision from ranks."""
    ours = [average_precision(entry['ranks'], entry['n']) for entry in entries]
    return {'copy detection AP': _worst(ours, [entry['ap'] for entry in entries])}


#: What recordings of each kind hold, and what checks them.
KINDS: list[tuple[set[str], Callable]] = [
    ({'train_features', 'train_labels', 'test_features', 'test_labels'}, check_knn),
    ({'similarities', 'ground_truth', 'result'}, check_retrieval),
    ({'context_features', 'context_labels', 'target_features'}, check_label_propagation),
    ({'annotation', 'segmentation', 'statistics'}, check_davis_jf),
    ({'ranks', 'n', 'ap'}, check_copy_detection),
]


def _read(path: str) -> tuple[Entries | list[dict], set[str]]:
    """Content of a recording and the names in it, whatever the file is called."""
    with open(path, 'rb') as file:
        packed = file.read(2) == b'PK'
    if packed:
        with np.load(path, allow_pickle=False) as file:
            entries = {key: file[key] for key in file.files}
        return entries, set(entries)
    try:
        with open(path) as file:
            content = json.load(file)
    except ValueError as error:
        raise ValueError(f'{path} is neither an .npz nor a JSON recording: {error}') from error
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return [], set()
    return content, set.intersection(*(set(entry) for entry in content))


def find_check(path: str) -> Callable[[], dict[str, float]] | None:
    """What would check a recording, by its entries; None for other kinds, such as trajectories."""
    content, names = _read(path)
    for needed, check in KINDS:
        if needed <= names:
            return lambda: check(content)
    return None


def check_evaluation(path: str) -> dict[str, float]:
    """Largest difference per quantity of :data:`TOLERANCES` between ours and a recording.

    Args:
        path (str): ``.npz`` or JSON recording of k-NN, retrieval, label propagation, J and F, or
            copy detection; its entries tell which.

    Raises:
        ValueError: It holds none of these.
    """
    check = find_check(path)
    if check is None:
        kinds = '; '.join(', '.join(sorted(needed)) for needed, _ in KINDS)
        raise ValueError(f'{path} is no recording of an evaluation: none of the entries {kinds}')
    return check()
