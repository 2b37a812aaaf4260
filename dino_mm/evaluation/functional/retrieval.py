"""Ranking of a database for each query."""

from collections.abc import Callable, Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from .finite import require_finite

#: Which database images are positives of a query, and which are left out of its ranking.
PROTOCOLS = {
    'medium': (('easy', 'hard'), ('junk',)),
    'hard': (('hard',), ('junk', 'easy')),
}


def average_precision(ranks: Sequence[int], num_positives: int) -> float:
    r"""Average precision of one query, by trapezoids under its precision-recall curve.

    .. math:: AP = \frac{1}{2P} \sum_{j=0}^{n-1} \left( \frac{j}{r_j} + \frac{j+1}{r_j+1} \right)

    where :math:`r_j` is the zero-based rank of the j-th positive found and :math:`j / r_j` is one
    at rank zero.

    Args:
        ranks (Sequence[int]): (n,) zero-based ranks of the positives that were found.
        num_positives (int): P, those that exist.

    Source: Holidays and Copydays evaluation; ``utils.compute_ap`` and
    ``eval_copy_detection.score_ap_from_ranks_1`` of the reference.
    """
    if num_positives < max(len(ranks), 1):
        raise ValueError(f'average precision: {len(ranks)} found of {num_positives} positives')
    ranks = np.sort(np.asarray(ranks, dtype=np.float64))
    found = np.arange(len(ranks))
    before = np.divide(found, ranks, out=np.ones_like(ranks), where=ranks > 0)
    after = (found + 1) / (ranks + 1)
    return float((before + after).sum() / (2 * num_positives))


def retrieval_scores(
    similarities: Tensor | np.ndarray,
    ground_truth: Sequence[dict[str, Sequence[int]]],
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, dict]:
    """Scores of the medium and hard protocols of revisited Oxford and Paris.

    Args:
        similarities (Tensor | np.ndarray): (database, queries), larger is closer.
        ground_truth (Sequence[dict]): Per query the database indices ``easy``, ``hard`` and
            ``junk``. Junk, and in the hard protocol easy images, leave no gap in the ranking.
        ks (Sequence[int]): Depths of mean precision; precision at k divides by the smaller of k
            and the rank of the last positive.

    Returns:
        dict: For ``medium`` and ``hard``: ``map``, ``mp`` (one per k) and ``aps`` (one per
        query, ``None`` where it has no positive; such queries do not count). Fractions, not
        percent; NaN where no query has a positive.

    Source: https://arxiv.org/abs/1803.11285; ``utils.compute_map`` of the reference.
    """
    similarities = np.asarray(similarities)
    if similarities.ndim != 2 or 0 in similarities.shape:
        raise ValueError(f'retrieval needs images and queries, not shape {similarities.shape}')
    size, queries = similarities.shape
    if len(ground_truth) != queries:
        raise ValueError(f'{queries} queries but ground truth of {len(ground_truth)}')
    order = np.argsort(-similarities, axis=0, kind='stable')
    scores = {}
    for protocol, (positive_keys, ignored_keys) in PROTOCOLS.items():
        aps, precisions = [], []
        for query, truth in enumerate(ground_truth):
            positives, ignored = (
                np.unique(np.concatenate([np.asarray(truth[key], dtype=int) for key in keys]))
                for keys in (positive_keys, ignored_keys)
            )
            if len(positives) == 0:
                aps.append(None)
                continue
            if positives.min() < 0 or positives.max() >= size:
                raise ValueError(f'query {query} names an image beyond the {size} of the database')
            ranking = order[:, query]
            ranking = ranking[~np.isin(ranking, ignored)]
            ranks = np.flatnonzero(np.isin(ranking, positives))
            aps.append(average_precision(ranks, len(positives)))
            depths = np.minimum(ks, ranks[-1] + 1)
            precisions.append((ranks < depths[:, None]).sum(axis=1) / depths)
        valid = [ap for ap in aps if ap is not None]
        scores[protocol] = dict(
            map=float(np.mean(valid)) if valid else float('nan'),
            mp=np.mean(precisions, axis=0).tolist() if valid else [float('nan')] * len(ks),
            aps=aps,
        )
    return scores


def multi_scale_descriptor(
    images: Tensor, embed: Callable[[Tensor], Tensor], scales: Sequence[float] = (1.0,)
) -> Tensor:
    """Mean descriptor over scaled copies of the images, then L2-normalized.

    Args:
        images (Tensor): (B, C, H, W), normalized.
        embed (Callable): Images to descriptors (B, D).
        scales (Sequence[float]): Factors of H and W; the published ones are 1, 1/sqrt(2), 1/2.

    Returns:
        Tensor: (B, D).

    Source: ``utils.multi_scale`` of the reference.
    """
    total = 0
    for scale in scales:
        scaled = images
        if scale != 1:
            scaled = F.interpolate(images, scale_factor=scale, mode='bilinear', align_corners=False)
        total = total + embed(scaled)
    return F.normalize(total / len(scales), dim=1)


def rank_similarities(database: Tensor, queries: Tensor) -> Tensor:
    """Cosine similarities (database, queries) of features (N, D) and (Q, D).

    Raises:
        ValueError: No images, no queries, or features that are not finite.
    """
    for name, features in (('database', database), ('queries', queries)):
        if len(features) == 0:
            raise ValueError(f'the {name} are empty')
        require_finite(features, f'features of the {name}')
    return F.normalize(database.float(), dim=1) @ F.normalize(queries.float(), dim=1).T
