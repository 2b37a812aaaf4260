"""Ranges of numeric options, checked where the options are declared."""

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

#: Bounds by their argument of :func:`check_number`: the comparison, and how a message says it.
BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = dict(
    above=(operator.gt, 'above'),
    at_least=(operator.ge, 'at least'),
    below=(operator.lt, 'below'),
    at_most=(operator.le, 'at most'),
)


def check_number(
    key: str, value: Any, *, whole: bool = False, optional: bool = False, **bounds: float
) -> None:
    """Refuses a value of a config key that is no number, not finite, or out of its range.

    Args:
        key (str): The config key, as in ``'loss.center_momentum'``.
        value: What the config says.
        whole (bool): Only integers are allowed.
        optional (bool): ``None`` is allowed as well.
        bounds: Any of ``above``, ``at_least``, ``below``, ``at_most``.

    Raises:
        ValueError: Naming the key, the allowed range and the value.

    Example:
        >>> check_number('loss.center_momentum', 2, at_least=0, at_most=1)
        Traceback (most recent call last):
        ValueError: loss.center_momentum must be a number, at least 0 and at most 1, got 2
    """
    if optional and value is None:
        return
    kind = Integral if whole else Real
    fits = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    if fits and all(BOUNDS[name][0](value, bound) for name, bound in bounds.items()):
        return
    limits = ' and '.join(f'{BOUNDS[name][1]} {bound:g}' for name, bound in bounds.items())
    wanted = ('None or ' if optional else '') + ('a whole number' if whole else 'a number')
    raise ValueError(f'{key} must be {wanted}{", " if limits else ""}{limits}, got {value!r}')


def check_numbers(
    key: str,
    values: Any,
    count: int | None = None,
    *,
    rising: bool = False,
    whole: bool = False,
    **bounds: float,
) -> None:
    """Refuses a value of a config key that is no list or tuple of numbers in their range.

    Args:
        key (str): The config key.
        values: What the config says.
        count (int, optional): How many numbers there must be, by default at least one.
        rising (bool): No number may be below the one before it, as in a range.
        whole (bool): Only integers are allowed.
        bounds: As of :func:`check_number`, for each of them.

    Raises:
        ValueError: Naming the key, what is allowed, and the value.
    """
    if (
        not isinstance(values, Sequence)
        or isinstance(values, str)
        or len(values) != (count or max(len(values), 1))
    ):
        raise ValueError(f'{key} must hold {count or "one or more"} numbers, got {values!r}')
    for index, value in enumerate(values):
        check_number(f'{key}[{index}]', value, whole=whole, **bounds)
    if rising and list(values) != sorted(values):
        raise ValueError(f'{key} must begin with its lower end, got {values!r}')


def as_pair(key: str, value: Any) -> tuple[int, int]:
    """Height and width in pixels of an option that is one edge or (H, W).

    Raises:
        ValueError: Naming the key; it is neither.
    """
    pair = (value, value) if isinstance(value, Real) else value
    check_numbers(key, pair, 2, whole=True, at_least=1)
    return tuple(pair)
