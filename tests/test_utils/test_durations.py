"""Spans of time in words."""

import pytest

from dino_mm.utils.durations import format_duration


@pytest.mark.parametrize(
    'seconds, text',
    [
        (0, '0 s'),
        (0.4, '0 s'),
        (59.4, '59 s'),
        (59.6, '1 min 0 s'),
        (754, '12 min 34 s'),
        (3599.4, '59 min 59 s'),
        (3599.6, '1 h 0 min'),
        (9000, '2 h 30 min'),
        (48 * 3600 - 1, '47 h 59 min'),
        (48 * 3600, '2 d 0 h'),
        (6.5 * 86400, '6 d 12 h'),
    ],
)
def test_two_largest_units(seconds, text) -> None:
    assert format_duration(seconds) == text
