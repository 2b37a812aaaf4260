"""Where the Runner is."""

import math

from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner

from dino_mm.engine.optimizers.optim_wrapper import accumulation_of
from dino_mm.utils.progress import Progress


def epoch_length(runner: Runner) -> int:
    """Batches that one process sees in an epoch."""
    loader = runner.train_dataloader
    if isinstance(loader.sampler, InfiniteSampler):  # which belongs to all processes
        return math.ceil(len(loader.dataset) / (loader.batch_size * runner.world_size))
    return len(loader)


def progress_of(runner: Runner) -> Progress:
    """The Runner's progress; the present batch is the one that hooks are called for."""
    return Progress(
        runner.iter,
        runner.max_iters,
        epoch_length(runner),
        accumulation_of(runner.optim_wrapper),
    )
