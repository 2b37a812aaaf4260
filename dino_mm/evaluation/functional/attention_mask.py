"""Masks from attention maps, compared with objects."""

import torch
from torch import Tensor


def attention_mask(attention: Tensor, mass: float = 0.6) -> Tensor:
    """The strongest cells of each map that together hold a share of its sum.

    Cells are sorted from weak to strong. Those after the running sum exceeds ``1 - mass`` are kept.

    Args:
        attention (Tensor): (..., N), not negative.
        mass (float): Share to keep, in (0, 1].

    Returns:
        Tensor: (..., N) bool.

    Source: paper section 4.2.2; ``visualize_attention.py`` of the reference.
    """
    if not 0 < mass <= 1:
        raise ValueError(f'mass of the attention to keep must be in (0, 1], got {mass}')
    values, order = attention.sort(dim=-1)
    running = (values / values.sum(dim=-1, keepdim=True)).cumsum(dim=-1)
    return torch.zeros_like(running, dtype=torch.bool).scatter(-1, order, running > 1 - mass)


def head_jaccards(masks: Tensor, objects: Tensor) -> Tensor:
    """Jaccard similarity of every head's mask with every object.

    Args:
        masks (Tensor): (heads, H, W) bool.
        objects (Tensor): (K, H, W) bool.

    Returns:
        Tensor: (heads, K). The paper's score of an image takes the best head for each object and
        averages over objects (``.amax(0).mean()``; https://github.com/facebookresearch/dino/issues/54).
    """
    if masks.shape[1:] != objects.shape[1:]:
        raise ValueError(f'masks of {tuple(masks.shape[1:])}, objects {tuple(objects.shape[1:])}')
    masks, objects = masks.flatten(1).double(), objects.flatten(1).double()
    intersection = masks @ objects.T
    union = masks.sum(dim=1)[:, None] + objects.sum(dim=1) - intersection
    return intersection / union.clamp(min=1)
