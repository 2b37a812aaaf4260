"""Schedules as functions of the step; hooks only apply them."""

import math


def cosine_schedule(step: int, total: int, start: float, end: float) -> float:
    r"""Half a cosine from ``start`` towards ``end`` (``cosine_scheduler`` of the reference).

    .. math:: end + (start - end) (1 + \cos(\pi\, step / total)) / 2
    """
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * step / total))


def linear_warmup(epoch: int, start: float, end: float, epochs: int) -> float:
    """``linspace(start, end, epochs)[epoch]``, then ``end`` (``teacher_temp_schedule``)."""
    if epoch >= epochs:
        return end
    return start + (end - start) * epoch / max(epochs - 1, 1)
