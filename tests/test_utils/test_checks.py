"""Ranges of numeric options."""

import math

import pytest

from dino_mm.utils.checks import check_number


@pytest.mark.parametrize(
    ('value', 'options'),
    [
        (1, dict(above=0)),
        (0, dict(at_least=0, at_most=1)),
        (0.5, dict(above=0, below=1)),
        (None, dict(optional=True, above=0)),
        (3, dict(whole=True, at_least=1)),
    ],
)
def test_values_in_range_pass(value, options) -> None:
    check_number('loss.key', value, **options)


@pytest.mark.parametrize(
    ('value', 'options', 'message'),
    [
        (0, dict(above=0), 'loss.key must be a number, above 0, got 0'),
        (2, dict(at_least=0, at_most=1), 'at least 0 and at most 1, got 2'),
        (1.5, dict(whole=True), 'loss.key must be a whole number, got 1.5'),
        ('1', {}, "must be a number, got '1'"),
        (True, {}, 'must be a number, got True'),
        (None, dict(above=0), 'must be a number, above 0, got None'),
        (math.nan, {}, 'must be a number, got nan'),
        (math.inf, dict(above=0, optional=True), 'must be None or a number, above 0, got inf'),
    ],
)
def test_others_are_refused_with_key_and_range(value, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_number('loss.key', value, **options)
