"""Subsets of labeled samples in which every class has its share."""

import torch
from torch import Tensor

from .checks import check_number


def class_order(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Place (N,) of each sample in a random order of its class, and the size (N,) of that class."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    order = shuffled[labels[shuffled].argsort(stable=True)]  # class by class
    _, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
    starts = counts.cumsum(0) - counts
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order)) - starts[inverse[order]]
    return place, counts[inverse]


def balanced_subset(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Mask (N,) of the given fraction of each class, at least one sample.

    Smaller fractions of a seed are parts of larger ones.

    Args:
        labels (Tensor): (N,) classes.
        fraction (float): Above 0, up to 1.
        seed (int): Of the choice.
    """
    check_number('the fraction of labeled images', fraction, above=0, at_most=1)
    place, count = class_order(labels, seed)
    return place < (fraction * count).round().clamp(min=1)


def held_out_part(labels: Tensor, share: float, seed: int) -> Tensor:
    """Mask (N,) of the given share of each class, at least one sample where it has two.

    Taken from the other end of the order that :func:`balanced_subset` begins with.
    """
    place, count = class_order(labels, seed)
    held = (share * count).round().clamp(min=1) * (count > 1)
    return place >= count - held
