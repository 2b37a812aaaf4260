"""A check that features are finite."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Features that are checked at a time, which bounds memory.
CHUNK_SIZE = 4096


def only_here(value: Any) -> list:
    """What is gathered if only one process works."""
    return [value]


def _number(index: int) -> str:
    return f'number {index}'


def require_finite(
    features: Tensor,
    what: str,
    name_of: Callable[[int], object] = _number,
    gather: Callable[[Any], list] = only_here,
) -> None:
    """Refuses features that are not finite, because an accuracy made of them would mean nothing.

    Args:
        features (Tensor): (N, ...), one for each image.
        what (str): What they are, in the plural, for the message.
        name_of (Callable): Name of the image at an index, for the message.
        gather (Callable): Lists what the processes pass, such as
            :func:`mmengine.dist.all_gather_object`, where each holds a part of the features: all
            processes then fail together. By default this process holds all.

    Raises:
        ValueError: Some features are not finite. The message says how many and names the first.
    """
    parts = [part for part in features.split(CHUNK_SIZE) if len(part)]
    finite = [part.flatten(1).isfinite().all(dim=1) for part in parts]
    bad = torch.cat(finite).logical_not().nonzero()[:, 0].tolist() if finite else []
    found = gather((len(bad), len(features), str(name_of(bad[0])) if bad else None))
    count, total = (sum(part[i] for part in found) for i in (0, 1))
    if count:
        first = next(name for _, _, name in found if name is not None)
        raise ValueError(
            f'{count} of {total} {what} are not finite (NaN or infinite), the first is {first}. '
            'Compute features in float32, without --amp or fp16. If they still are not finite, '
            'the weights in the checkpoint are not: take an earlier checkpoint'
        )
