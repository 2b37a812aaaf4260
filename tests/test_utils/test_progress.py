"""Lengths in any unit, and where a run is."""

import pytest

from dino_mm.utils.progress import Progress, parse_length


@pytest.mark.parametrize(
    ('value', 'unit', 'amount'),
    [
        (10, 'epochs', 10),
        (2.5, 'epochs', 2.5),
        ('10 epochs', 'epochs', 10),
        ('1ep', 'epochs', 1),
        ('500 steps', 'steps', 500),
        ('2000iters', 'iterations', 2000),
        ('5%', 'percent', 5),
        ('2.5 percent', 'percent', 2.5),
    ],
)
def test_lengths_are_read(value, unit, amount) -> None:
    length = parse_length('key', value)
    assert (length.unit, length.value) == (unit, amount)


@pytest.mark.parametrize('value', [-1, 'ten', '5', '5 hours', None, True, '-3 steps'])
def test_what_is_no_length_is_refused_by_key(value) -> None:
    with pytest.raises(ValueError, match='loss.warmup must be a number of epochs'):
        parse_length('loss.warmup', value)


@pytest.mark.parametrize(
    ('length', 'steps'), [(3, 15), ('20 iterations', 10), ('7 steps', 7), ('10%', 5), (0, 0)]
)
def test_lengths_in_optimizer_steps(length, steps) -> None:
    progress = Progress(0, total_iterations=100, epoch_length=10, accumulation=2)
    assert progress.steps(parse_length('key', length)) == steps


def test_where_a_run_is() -> None:
    progress = Progress(27, total_iterations=101, epoch_length=10, accumulation=2)
    assert (progress.step, progress.total_steps, progress.epoch) == (13, 51, 2)
    assert progress.position(parse_length('key', 4)) == (2, 4)  # from epoch to epoch
    assert progress.position(parse_length('key', '20 steps')) == (13, 20)


def test_a_length_beyond_the_run_is_refused_by_key() -> None:
    progress = Progress(0, total_iterations=100, epoch_length=10)
    progress.check(parse_length('warmup', 10))
    with pytest.raises(ValueError, match=r'warmup=11 epochs is longer than the whole run of 100'):
        progress.check(parse_length('warmup', 11))
