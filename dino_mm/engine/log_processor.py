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
    there. Lines of validation and test are MMEngine's.
    """

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        return (tag, plain_line(runner, tag)) if mode == 'train' else (tag, line)


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
        parts.append(f'{images:.3g} images/s ({waiting:.0f} % waiting for data)')
    if 'memory' in tag:
        parts.append(f'{tag["memory"] / 1024:.1f} GB of GPU memory')
    parts.append(f'loss {tag["loss"]:.3f}')
    if 'verdict' in runner.message_hub.runtime_info:
        parts.append(runner.message_hub.get_info('verdict'))
    return '  '.join(parts)
