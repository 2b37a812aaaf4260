"""A log line every few seconds, and what evaluations cost."""

import time

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import LoggerHook

from dino_mm.engine.tracking import track_text
from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number

from .utils import leave_out_of_timing


@HOOKS.register_module()
class TimedLoggerHook(LoggerHook):
    """MMEngine's ``LoggerHook`` that logs training and validation by the clock.

    The first line follows the first iteration, the last one the last. In between they come about
    every ``seconds``, and more and more rarely as the run goes on: never before another 5 % of its
    time so far has gone by, and about every ``max_seconds`` at the latest. At each line the
    processes of a run agree on the iteration of the next one, by the slowest of them, so that all
    log at the same iteration and none has to be asked in between.

    The time left is that of all iterations so far, with evaluations and pictures, per iteration.
    Each evaluation is logged with its duration (``seconds``) and the percentage of the time of the
    run that evaluations have taken (``percent_of_run``).

    Args:
        seconds (float): Time between lines at the start.
        max_seconds (float): Time between lines in a long run.
        interval (int, optional): Also log every so many iterations of an epoch or a validation.
        kwargs: Of ``LoggerHook``.
    """

    #: Share of the time so far that goes by between two lines.
    SHARE = 0.05
    #: How many times more iterations than between the two lines before lie between two lines at
    #: most: the first iterations are slow.
    GROWTH = 4

    def __init__(
        self,
        seconds: float = 5.0,
        max_seconds: float = 60.0,
        interval: int | None = None,
        **kwargs,
    ) -> None:
        check_number('TimedLoggerHook.seconds', seconds, above=0)
        check_number('TimedLoggerHook.max_seconds', max_seconds, at_least=seconds)
        self.by_iterations = interval is not None
        super().__init__(interval=interval if self.by_iterations else 1, **kwargs)
        self.seconds, self.max_seconds = seconds, max_seconds
        self.started: float | None = None  # the first iteration of training
        self.evaluating = 0.0  # seconds since then

    def before_train(self, runner) -> None:
        #: Iterations (counted from 0) of the latest and of the next line.
        self.latest, self.next = -1, runner.iter
        self.first = runner.iter
        self.started, self.evaluating = None, 0.0

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.started is None:  # an evaluation before training does not count
            self.started = self.logged_at = time.monotonic()

    def is_due(self, runner, batch_idx: int) -> bool:
        """Whether this iteration has a line; the same before and after it is written."""
        if self.by_iterations and self.every_n_inner_iters(batch_idx, self.interval):
            return True
        by_time = runner.iter >= self.next or runner.iter == self.latest
        return by_time or self.is_last_train_iter(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not self.is_due(runner, batch_idx):
            return
        step, now = runner.iter + 1, time.monotonic()
        each = (now - self.started) / (step - self.first)
        runner.message_hub.update_info('eta', each * (runner.max_iters - step))
        tag, line = runner.log_processor.get_log_after_iter(runner, batch_idx, 'train')
        runner.logger.info(line)
        runner.visualizer.add_scalars(tag, step=step, file_path=self.json_log_path)
        verdict = runner.message_hub.runtime_info.get('verdict')
        if verdict:
            track_text(runner.visualizer, 'verdict', verdict, step)
        self._plan(runner, now)

    def before_val(self, runner) -> None:
        self.val_started = self.val_logged_at = time.monotonic()

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.by_iterations:
            super().after_val_iter(runner, batch_idx, data_batch, outputs)
        elif time.monotonic() - self.val_logged_at > self.seconds:
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, 'val')
            runner.logger.info(line)
            self.val_logged_at = time.monotonic()

    def after_val_epoch(self, runner, metrics=None) -> None:
        now = time.monotonic()
        hub = runner.message_hub
        hub.update_scalar('val/seconds', now - self.val_started)
        if self.started is not None:
            self.evaluating += now - self.val_started
            hub.update_scalar('val/percent_of_run', 100 * self.evaluating / (now - self.started))
        super().after_val_epoch(runner, metrics)

    def after_val(self, runner) -> None:
        leave_out_of_timing(runner)
        if self.started is not None:  # else the next line would come too early
            self.logged_at += time.monotonic() - self.val_started

    def _plan(self, runner, now: float) -> None:
        """Sets the iteration of the next line from the time of the iterations since the latest."""
        iterations = runner.iter - self.latest if self.latest >= 0 else 1
        spent = torch.tensor([(now - self.logged_at) / iterations, now - self.started])
        all_reduce(spent, 'max')
        per_iteration, so_far = spent.tolist()
        wanted = min(max(self.seconds, self.SHARE * so_far), self.max_seconds)
        count = max(int(wanted / max(per_iteration, 1e-9)), 1)
        self.latest, self.logged_at = runner.iter, now
        self.next = runner.iter + min(count, self.GROWTH * iterations)
