"""Suppression of overlapping boxes.

Boxes are x1 y1 x2 y2. ``offset`` 1 counts the last pixel as part of a box, which equals moving the
lower right corner by one.
"""

import torch
import torchvision.ops
from torch import Tensor

from .autograd import upcast

__all__ = ['nms', 'nms_match', 'softnms']


def _with_offset(boxes: Tensor, offset: int) -> Tensor:
    return boxes + boxes.new_tensor([0, 0, offset, offset])


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices (K,) of the kept boxes, best first. boxes (N, 4), scores (N,)."""
    boxes, scores = upcast(boxes, scores)
    return torchvision.ops.nms(_with_offset(boxes, offset), scores, iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lowers the score of boxes by their overlap with better ones (Soft-NMS, arXiv 1704.04503).

    Takes the best box again and again and multiplies the scores of the rest by a weight. With o
    the overlap of the two boxes, method 0 weighs by 0 and method 1 by 1 - o where o >= threshold,
    method 2 weighs all by exp(-o^2 / sigma). What falls below ``min_score`` goes.

    Args:
        boxes (Tensor): (N, 4).
        scores (Tensor): (N,).
        dets (Tensor): (N, 5), filled with the K kept boxes and their lowered scores.

    Returns:
        Tensor: Indices (K,) of the kept boxes in the order in which they were taken.
    """
    boxes, scores = upcast(boxes, scores)
    corners, scores = _with_offset(boxes, offset), scores.clone()
    rest = torch.arange(len(boxes), device=boxes.device)
    kept = []
    while len(rest):
        best = rest[scores[rest].argmax()]
        kept.append(best)
        rest = rest[rest != best]
        # Two boxes without area, 0 / 0, do not overlap.
        overlap = torchvision.ops.box_iou(corners[best, None], corners[rest])[0].nan_to_num(0.0)
        if method == 2:
            weight = torch.exp(-(overlap**2) / sigma)
        else:
            lowered = 1 - overlap if method == 1 else torch.zeros_like(overlap)
            weight = torch.where(overlap >= iou_threshold, lowered, 1.0)
        scores[rest] *= weight
        rest = rest[scores[rest] >= min_score]
    kept = torch.stack(kept) if kept else rest
    dets[: len(kept)] = torch.cat([boxes[kept], scores[kept, None]], dim=1)
    return kept


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of indices: a kept box, then those that it suppresses. dets (N, 5) with scores."""
    (dets,) = upcast(dets)
    overlaps = torchvision.ops.box_iou(dets[:, :4], dets[:, :4])  # (N, N)
    rest = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        suppressed = overlaps[best, rest] >= iou_threshold
        groups.append([int(best), *rest[suppressed].tolist()])
        rest = rest[~suppressed]
    return groups
