"""What several hooks ask of the Runner."""

import time

from mmengine.hooks import IterTimerHook, LoggerHook
from mmengine.runner import Runner


def is_logged(runner: Runner, batch_idx: int) -> bool:
    """Whether scalars of this iteration may be asked for: where the logger writes, and at the end
    of each epoch. Without a logger always."""
    logger = next((hook for hook in runner.hooks if isinstance(hook, LoggerHook)), None)
    if logger is None:
        return True
    is_due = getattr(logger, 'is_due', None)  # of TimedLoggerHook
    if (
        is_due(runner, batch_idx)
        if is_due
        else logger.every_n_inner_iters(batch_idx, logger.interval)
    ):
        return True
    return logger.end_of_epoch(runner.train_dataloader, batch_idx) or logger.is_last_train_iter(
        runner
    )


def leave_out_of_timing(runner: Runner) -> None:
    """Lets the next iteration begin now: pictures and evaluations are no waiting for data."""
    for hook in runner.hooks:
        if isinstance(hook, IterTimerHook):
            hook.t = time.time()
