"""What every schedule is a function of."""

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from dino_mm.engine.progress import progress_of
from dino_mm.engine.schedulers import WarmupCosineLR
from dino_mm.registry import HOOKS
from dino_mm.utils.wrappers import set_epoch_of, unwrap


def seed_of(seed: int, iteration: int, rank: int) -> int:
    """What the networks draw in one iteration (stochastic depth, dropout) follows from this alone,
    so that a resumed run draws the same and no state of random numbers has to be kept."""
    sequence = np.random.SeedSequence((seed, iteration, rank))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)  # fits into 63 bits


@HOOKS.register_module(name=['ProgressHook', 'SetEpochHook'])
class ProgressHook(Hook):
    """Tells model, learning rate, data pipeline and random numbers where the run is.

    At the start all lengths that schedules declare are checked against the length of the run. A
    resumed run follows its config: the learning rate becomes what the present schedule says for
    the present step.

    In an epoch loop random draws of the pipeline depend on seed, epoch and image. In a loop that
    counts iterations they come from the workers' own seeds; a run resumed there with MMEngine's
    ``InfiniteSampler`` goes on with the right images, but not with the crops that an uninterrupted
    run would have drawn. Those of :class:`dino_mm.datasets.ShardedImages` depend on seed and place.

    Raises:
        ValueError: A warm-up or a freeze is longer than the run; the message names its key.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        progress, model = progress_of(runner), unwrap(runner.model)
        schedulers = [s for s in runner.param_schedulers or () if isinstance(s, WarmupCosineLR)]
        lengths = [s.warmup for s in schedulers] + model.lengths()
        lengths += [hook.length for hook in runner.hooks if hasattr(hook, 'length')]
        for length in lengths:
            progress.check(length)
        for scheduler in schedulers:
            scheduler.follow(progress)

    def before_train_epoch(self, runner) -> None:
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            set_epoch_of(runner.train_dataloader.dataset, runner.epoch, runner.seed)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        torch.manual_seed(seed_of(runner.seed, runner.iter, runner.rank))
        unwrap(runner.model).set_progress(progress_of(runner))
