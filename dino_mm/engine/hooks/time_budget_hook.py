"""A run that ends in time."""

import time

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook

from dino_mm.engine.progress import progress_of
from dino_mm.engine.schedulers import WarmupCosineLR
from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number
from dino_mm.utils.durations import format_duration

#: Where the message hub, and so a checkpoint, keeps the iterations of a shortened run.
LENGTH = 'time_budget_iterations'


@HOOKS.register_module()
class TimeBudgetHook(Hook):
    """Measures the first iterations, says how long the run will take, and shortens it to fit.

    Every schedule is a function of the run's length, so a shortened run has its warm-up, its cosine
    and its end, at the same shares. It ends in the middle of an epoch if need be. A resumed run
    keeps the length that was found.

    Args:
        hours (float): Time that the run may take, evaluation and pictures included.
        iterations (int): How many are measured, after a few that start everything up.
        share (float): Share of the time that training gets.
    """

    priority = 'HIGHEST'  # before schedules look at the run's length
    #: Iterations that are not measured.
    START = 3

    def __init__(self, hours: float, iterations: int = 20, share: float = 0.9) -> None:
        check_number('TimeBudgetHook.hours', hours, above=0)
        check_number('TimeBudgetHook.iterations', iterations, whole=True, at_least=1)
        check_number('TimeBudgetHook.share', share, above=0, at_most=1)
        self.hours, self.iterations, self.share = hours, iterations, share

    def before_train(self, runner) -> None:
        if not hasattr(runner.train_loop, 'shorten'):
            raise ValueError(
                'TimeBudgetHook shortens a ResumableTrainLoop or a StreamTrainLoop, but train_cfg '
                f'names a {type(runner.train_loop).__name__}'
            )
        self.started = time.monotonic()
        self.measured_from: float | None = None
        known = runner.message_hub.runtime_info.get(LENGTH)
        if known is not None:
            runner.train_loop.shorten(known)
        self.first = runner.iter if known is None else None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.first is None:
            return
        done = runner.iter + 1 - self.first
        if done == self.START:
            outputs['loss'].item()  # waits until the device is done
            self.measured_from = time.monotonic()
        elif done == self.START + self.iterations:
            outputs['loss'].item()
            self._decide(runner)

    def _decide(self, runner) -> None:
        now = time.monotonic()
        measured = torch.tensor([now - self.measured_from, now - self.started])
        all_reduce(measured, 'max')  # all processes decide the same
        seconds, spent = measured.tolist()
        each = seconds / self.iterations
        wanted = runner.max_iters
        left = self.share * (3600 * self.hours - spent)
        affordable = max(runner.iter + 1 + int(left / each), runner.iter + 2)
        runner.train_loop.shorten(affordable)
        runner.message_hub.update_info(LENGTH, runner.max_iters)
        self.first = None
        will_take = (runner.max_iters - runner.iter) * each / self.share
        said = (
            f'Measured: {1000 * each:.3g} ms an iteration. The run will take about '
            f'{format_duration(will_take + spent)}'
        )
        if runner.max_iters < wanted:
            progress = progress_of(runner)
            for scheduler in runner.param_schedulers or ():
                if isinstance(scheduler, WarmupCosineLR):
                    progress.check(scheduler.warmup)
                    scheduler.follow(progress)
            said += (
                f': {wanted:,} iterations would not fit into {self.hours:g} h, so the schedule is '
                f'shortened to {runner.max_iters:,}'
            )
        runner.logger.info(f'{said}.')
