"""Weighted nearest-neighbour classification."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    ks: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    chunk_size: int = 512,
) -> dict[str, float]:
    r"""Accuracy of a weighted vote of the k most similar bank features (paper section 4.1).

    Neighbour i with cosine similarity :math:`s_i` votes with weight :math:`\exp(s_i / \tau)`.

    Args:
        bank (Tensor): (N, D) features; normalised here.
        bank_labels (Tensor): (N,) classes.
        queries (Tensor): (M, D) features; normalised here.
        query_labels (Tensor): (M,) classes.
        ks (Sequence[int]): Numbers of neighbours, clipped to N; all from one search.
        temperature (float): Temperature tau.
        chunk_size (int): Queries at a time, bounds memory at ``chunk_size * N`` similarities.

    Returns:
        dict: ``k<k>_top1`` and ``k<k>_top5`` in percent.

    Source: ``eval_knn.knn_classifier`` of the reference.
    """
    if len(bank) == 0 or len(queries) == 0:
        raise ValueError(f'k-NN needs features: {len(bank)} in the bank, {len(queries)} queries')
    bank, queries = F.normalize(bank.float(), dim=1), F.normalize(queries.float(), dim=1)
    num_classes = int(max(bank_labels.max(), query_labels.max())) + 1
    hits = {f'k{k}_top{n}': 0 for k in ks for n in (1, 5)}
    for chunk, labels in zip(
        queries.split(chunk_size), query_labels.split(chunk_size), strict=True
    ):
        similarity, index = (chunk @ bank.T).topk(min(max(ks), len(bank)), dim=1)  # (m, k)
        weights = (similarity / temperature).exp()
        classes = bank_labels[index]
        for k in ks:
            votes = chunk.new_zeros(len(chunk), num_classes)
            votes.scatter_add_(1, classes[:, :k], weights[:, :k])
            # As the reference sorts: among classes without votes the first ones come first.
            best = votes.sort(dim=1, descending=True, stable=True).indices[:, :5]
            correct = best == labels[:, None]
            hits[f'k{k}_top1'] += int(correct[:, :1].sum())
            hits[f'k{k}_top5'] += int(correct.sum())
    return {key: 100.0 * count / len(queries) for key, count in hits.items()}
