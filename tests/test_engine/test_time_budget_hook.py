"""A run that ends in time."""

import time

import pytest
from mmengine.hooks import Hook

from dino_mm.engine.progress import progress_of
from dino_mm.utils.schedules import cosine_schedule


class Slow(Hook):
    """An iteration takes so many seconds at least; remembers learning rates."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.rates = seconds, []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        time.sleep(self.seconds)


def test_a_run_that_would_take_too_long_is_shortened(make_runner, caplog) -> None:
    runner = make_runner(
        **{
            'train_cfg.max_epochs': 40,  # of three iterations
            'param_scheduler.warmup': '50%',
            'default_hooks.time_budget': dict(
                type='TimeBudgetHook', hours=4 / 3600, iterations=4, share=0.5
            ),
        }
    )
    slow = Slow(0.2)
    runner.register_hook(slow)
    start = time.monotonic()
    runner.train()
    assert 8 <= len(slow.rates) < 20  # of 120; 2 of 4 seconds are for iterations of 0.2 seconds
    assert time.monotonic() - start < 6
    total = runner.max_iters
    assert len(slow.rates) == total == runner.iter
    # From the iteration after the measurement on the schedule is that of the short run.
    base = runner.param_schedulers[0].base_values[0]
    wanted = [cosine_schedule(i, total, base, 1e-6, round(total / 2)) for i in range(total)]
    assert slow.rates[8:] == pytest.approx(wanted[8:])
    assert progress_of(runner).total_iterations == total
    assert runner.message_hub.get_info('time_budget_iterations') == total


def test_a_run_that_fits_stays_as_it_is(make_runner) -> None:
    runner = make_runner(
        **{'default_hooks.time_budget': dict(type='TimeBudgetHook', hours=1, iterations=1)}
    )
    runner.train()
    assert runner.iter == runner.max_iters == 6


def test_a_resumed_run_keeps_its_length(make_runner) -> None:
    budget = dict(type='TimeBudgetHook', hours=1, iterations=1)
    runner = make_runner(**{'default_hooks.time_budget': budget})
    runner.message_hub.update_info('time_budget_iterations', 4)
    runner.train()
    assert runner.iter == 4 and runner.max_epochs == 2


def test_a_loop_that_cannot_be_shortened_is_named(make_runner) -> None:
    runner = make_runner(
        **{
            'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=1),
            'default_hooks.time_budget': dict(type='TimeBudgetHook', hours=1),
        }
    )
    with pytest.raises(ValueError, match='train_cfg names a EpochBasedTrainLoop'):
        runner.train()
