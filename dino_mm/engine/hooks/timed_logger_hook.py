"""A log line every few seconds."""

import time

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import LoggerHook

from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number


@HOOKS.register_module()
class TimedLoggerHook(LoggerHook):
    """MMEngine's ``LoggerHook`` that logs training and validation by the clock.

    The first line follows the first iteration, the last one the last. In between they come every ``seconds``, and more and more
    rarely as the run goes on: never before another 5 % of its time so far has gone by, and at
    least every ``max_seconds``. How many iterations that is, the processes of a run agree on at
    each log, so that all log at the same one.

    Args:
        seconds (float): Time between lines at the start.
        max_seconds (float): Time between lines in a long run.
        interval (int, optional): Also log every so many iterations of an epoch or a validation.
        kwargs: Of ``LoggerHook``.
    """

    #: Share of the time so far that goes by between two lines.
    SHARE = 0.05

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

    def before_train(self, runner) -> None:
        #: Iterations (counted from 0) of the latest and of the next line.
        self.latest, self.next = -1, runner.iter
        self.started: float | None = None

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
        tag, line = runner.log_processor.get_log_after_iter(runner, batch_idx, 'train')
        runner.logger.info(line)
        runner.visualizer.add_scalars(tag, step=runner.iter + 1, file_path=self.json_log_path)
        self._plan(runner)

    def before_val_epoch(self, runner) -> None:
        self.validated_at = time.monotonic()

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.by_iterations:
            super().after_val_iter(runner, batch_idx, data_batch, outputs)
        elif time.monotonic() - self.validated_at > self.seconds:
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, 'val')
            runner.logger.info(line)
            self.validated_at = time.monotonic()

    def _plan(self, runner) -> None:
        """Sets the iteration of the next line from the time of the iterations since the latest."""
        now = time.monotonic()
        iterations = max(runner.iter - self.latest, 1) if self.latest >= 0 else 1
        spent = torch.tensor([(now - self.logged_at) / iterations, now - self.started])
        all_reduce(spent, 'max')
        per_iteration, so_far = spent.tolist()
        wanted = min(max(self.seconds, self.SHARE * so_far), self.max_seconds)
        # The first iterations are slow, so the number between two lines grows step by step.
        count = max(int(wanted / max(per_iteration, 1e-9)), 1)
        self.latest, self.logged_at = runner.iter, now
        self.next = runner.iter + min(count, 4 * iterations)
