"""Schedules as functions of the step; hooks and schedulers only apply them."""

import math


def cosine_schedule(step: int, total: int, start: float, end: float, warmup: int = 0) -> float:
    r"""Linear warm-up from 0 to ``start``, then half a cosine toward ``end``.

    .. math:: end + (start - end) (1 + \cos(\pi\, (step - warmup) / (total - warmup))) / 2

    Args:
        step (int): From 0 to ``total - 1``.
        total (int): Number of steps.
        start (float): Value after warm-up.
        end (float): Value approached at the end.
        warmup (int): Steps of ``linspace(0, start, warmup)``.

    Source: ``utils.cosine_scheduler`` of the reference.
    """
    if step < warmup:
        return start * step / max(warmup - 1, 1)
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def linear_warmup(epoch: int, start: float, end: float, epochs: int) -> float:
    """``linspace(start, end, epochs)[epoch]``, then ``end`` (``teacher_temp_schedule``)."""
    if epoch >= epochs:
        return end
    return start + (end - start) * epoch / max(epochs - 1, 1)
