"""Log lines of pretraining in plain words."""

from typing import Any

from mmengine.dist import get_world_size
from mmengine.runner import LogProcessor

from dino_mm.registry import LOG_PROCESSORS
from dino_mm.utils.durations import format_duration


@LOG_PROCESSORS.register_module()
class PlainLogProcessor(LogProcessor):
    """Writes how far training is, how long it will take, how fast it is, and whether it learns.

    Trackers and the JSON log get all scalars as from MMEngine's; what a line of text leaves out is
    there. After an evaluation a line has its metrics and what it cost. Lines of tests are MMEngine's.
    """

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        if mode == 'train':
            line = plain_line(runner, tag)
        elif mode == 'val':
            line = f'evaluating: batch {batch_idx + 1} of {len(runner.val_dataloader)}'
        return tag, line

    def get_log_after_epoch(
        self, runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        tag, line = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        timed = mode == 'val' and 'seconds' in tag  # by TimedLoggerHook
        return (tag, plain_evaluation(runner, tag)) if timed else (tag, line)


def plain_line(runner, tag: dict[str, Any]) -> str:
    """One line of training.

    Args:
        runner (Runner): In training.
        tag (dict): Scalars of this log, as from ``LogProcessor``; ``iter`` counts from 1.
    """
    parts = []
    if 'epoch' in tag:
        parts.append(f'epoch {tag["epoch"]}/{runner.max_epochs}')
    done = tag['iter']
    parts.append(f'step {done}/{runner.max_iters} ({100 * done / runner.max_iters:.0f} %)')
    if 'eta' in runner.message_hub.runtime_info:
        parts.append(f'{format_duration(runner.message_hub.get_info("eta"))} left')
    batch = getattr(runner.train_dataloader, 'batch_size', None)
    if batch and tag.get('time'):
        waiting = 100 * tag['data_time'] / tag['time']
        images = batch * get_world_size() / tag['time']
        speed = f'{images:,.0f}' if images >= 100 else f'{images:.3g}'
        parts.append(f'{speed} images/s ({waiting:.0f} % waiting for data)')
    if 'memory' in tag:
        parts.append(f'{tag["memory"] / 1024:.1f} GB of GPU memory')
    parts.append(f'loss {tag["loss"]:.3f}')
    if 'verdict' in runner.message_hub.runtime_info:
        parts.append(runner.message_hub.get_info('verdict'))
    return '  '.join(parts)


#: Values of an evaluation that are no metrics.
TIMING = ('time', 'data_time', 'seconds', 'percent_of_run')


def plain_evaluation(runner, tag: dict[str, Any]) -> str:
    """One line about an evaluation.

    Args:
        runner (Runner): After validation.
        tag (dict): Metrics, and ``seconds`` that it took; during training also ``percent_of_run``.
    """
    metrics = [f'{name} {value:.4g}' for name, value in tag.items() if name not in TIMING]
    cost = format_duration(tag['seconds'])
    if 'percent_of_run' in tag:
        cost += f', {tag["percent_of_run"]:.0f} % of the run is evaluation'
    return '  '.join([f'evaluated at step {runner.iter}', *metrics, f'({cost})'])
