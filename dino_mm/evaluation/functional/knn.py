"""Weighted nearest-neighbor classification."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from torch import Tensor
from tqdm import tqdm

from .finite import only_here, require_finite


def merge_neighbors(
    similarities: Sequence[Tensor], classes: Sequence[Tensor], k: int
) -> tuple[Tensor, Tensor]:
    """The k most similar of several searches: lists of (M, k_i) to (M, k), in descending order."""
    similarity, merged = torch.cat(list(similarities), dim=1), torch.cat(list(classes), dim=1)
    similarity, index = similarity.topk(min(k, similarity.shape[1]), dim=1)
    return similarity, merged.gather(1, index)


def nearest_neighbors(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, k: int, chunk_size: int = 16384
) -> tuple[Tensor, Tensor]:
    """Cosine similarities and classes of the k most similar bank features.

    Args:
        bank (Tensor): (N, D) features, on any device; normalized here.
        bank_labels (Tensor): (N,) classes.
        queries (Tensor): (M, D) normalized features; their device does the computation.
        k (int): Number of neighbors, clipped to N.
        chunk_size (int): Bank features at a time, bounds memory at ``M * chunk_size``.

    Returns:
        tuple: (M, k) similarities in descending order and (M, k) classes.
    """
    best = queries.new_empty(len(queries), 0)
    classes = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    for start in range(0, len(bank), chunk_size):
        part = F.normalize(bank[start : start + chunk_size].to(queries), dim=1)
        labels = bank_labels[start : start + chunk_size].to(queries.device)
        similarity, index = (queries @ part.T).topk(min(k, len(part)), dim=1)
        best, classes = merge_neighbors([best, similarity], [classes, labels[index]], k)
    return best, classes


def count_hits(
    similarity: Tensor,
    classes: Tensor,
    labels: Tensor,
    ks: Sequence[int],
    temperature: float,
    num_classes: int,
) -> dict[str, int]:
    r"""How many queries the weighted vote of their k nearest neighbors gets right.

    Neighbor i with cosine similarity :math:`s_i` votes with weight :math:`\exp(s_i / \tau)`.

    Args:
        similarity (Tensor): (M, K) similarities in descending order.
        classes (Tensor): (M, K) classes of the neighbors.
        labels (Tensor): (M,) classes of the queries.
        ks (Sequence[int]): Numbers of neighbors that vote, clipped to K.
        temperature (float): Temperature tau.
        num_classes (int): Number of classes.

    Returns:
        dict: ``k<k>_top1`` and ``k<k>_top5``.
    """
    # Weights are relative to the nearest neighbor, because small temperatures would overflow.
    weights = ((similarity - similarity[:, :1]) / temperature).exp()
    hits = {}
    for k in ks:
        votes = similarity.new_zeros(len(labels), num_classes)
        votes.scatter_add_(1, classes[:, :k], weights[:, :k])
        # As in the reference, the first ones of classes without votes come first.
        best = votes.sort(dim=1, descending=True, stable=True).indices[:, :5]
        correct = best == labels[:, None]
        hits[f'k{k}_top1'] = int(correct[:, :1].sum())
        hits[f'k{k}_top5'] = int(correct.sum())
    return hits


@torch.no_grad()
def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    ks: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    chunk_size: int = 1024,
    device: torch.device | str | None = None,
    gather: Callable[[Any], list] = only_here,
) -> dict[str, float]:
    """Accuracy of a weighted vote of the k most similar bank features (paper section 4.1).

    Neither all similarities nor a second copy of the bank are ever in memory. Processes may share
    the work: each keeps its part of the bank, all processes see the queries chunk by chunk, and
    the nearest neighbors in all parts are merged. Every process gets the whole result.

    Args:
        bank (Tensor): (N, D) features; normalized here.
        bank_labels (Tensor): (N,) classes.
        queries (Tensor): (M, D) features; normalized here.
        query_labels (Tensor): (M,) classes.
        ks (Sequence[int]): Numbers of neighbors, clipped to N; all from one search.
        temperature (float): Temperature of the vote.
        chunk_size (int): Queries of each process at a time.
        device (torch.device, optional): Where to compute; by default the device of the bank.
        gather (Callable): Lists what the processes pass, such as
            :func:`mmengine.dist.all_gather_object`, where each holds a part; by default this
            process holds all.

    Returns:
        dict: ``k<k>_top1`` and ``k<k>_top5`` in percent.

    Raises:
        ValueError: An empty bank, no query, or features that are not finite.

    Source: ``eval_knn.knn_classifier`` of the reference.
    """
    classes_here = max(
        (int(part.max()) + 1 for part in (bank_labels, query_labels) if len(part)), default=0
    )
    sizes = gather((len(bank), len(queries), classes_here))
    num_bank, num_queries = (sum(size[i] for size in sizes) for i in (0, 1))
    if num_bank == 0 or num_queries == 0:
        raise ValueError(f'k-NN needs features: {num_bank} in the bank, {num_queries} queries')
    require_finite(bank, 'features of the bank', gather=gather)
    require_finite(queries, 'features of the queries', gather=gather)
    longest, num_classes = (max(size[i] for size in sizes) for i in (1, 2))
    device = bank.device if device is None else device
    hits = {f'k{k}_top{n}': 0 for k in ks for n in (1, 5)}
    starts = range(0, longest, chunk_size)
    for start in tqdm(starts, 'k-NN', delay=5, disable=not is_main_process()):
        part = slice(start, start + chunk_size)
        chunk, labels = (
            # Slices are cloned because pickling a slice writes the whole tensor.
            torch.cat([x for x in gather(own[part].cpu().clone()) if len(x)]).to(device)
            for own in (queries, query_labels)
        )
        chunk = F.normalize(chunk.float(), dim=1)
        found = nearest_neighbors(bank, bank_labels, chunk, max(ks))
        similarity, classes = zip(*gather(tuple(part.cpu() for part in found)), strict=True)
        similarity, classes = merge_neighbors(similarity, classes, max(ks))
        counts = count_hits(
            similarity.to(device), classes.to(device), labels, ks, temperature, num_classes
        )
        hits = {key: hits[key] + count for key, count in counts.items()}
    return {key: 100.0 * count / num_queries for key, count in hits.items()}
