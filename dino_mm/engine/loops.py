"""Loops that resume in the middle of an epoch, and over data without a length."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from dino_mm.datasets import ShardedImages
from dino_mm.registry import LOOPS
from dino_mm.utils.checks import check_number

from .stream import PlacedBatches


def skip_batches(loader: DataLoader, count: int) -> DataLoader:
    """A loader of what is left of an epoch after ``count`` batches, without reading those."""
    return DataLoader(
        loader.dataset,
        batch_sampler=list(islice(loader.batch_sampler, count, None)),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
    )


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """Epoch-based training whose checkpoints may be taken at any iteration.

    A run resumed from the middle of an epoch goes on with the batches it had not seen; MMEngine's
    own loop would start the epoch again.
    """

    def __init__(self, runner, dataloader, max_epochs: int, **kwargs) -> None:
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        if isinstance(self.dataloader.sampler, InfiniteSampler):
            raise ValueError(
                'an epoch of train_dataloader.sampler.type=InfiniteSampler never ends: take '
                "DefaultSampler, or count iterations by train_cfg=dict(type='IterBasedTrainLoop', "
                'max_iters=...)'
            )
        if len(self.dataloader) == 0:
            raise ValueError(
                f'not one full batch: {len(self.dataloader.dataset)} images over '
                f'{runner.world_size} processes of train_dataloader.batch_size='
                f'{self.dataloader.batch_size}. Lower the batch size or add images'
            )

    def shorten(self, max_iters: int) -> None:
        """Ends the run earlier, in the middle of an epoch if need be."""
        self._max_iters = min(self._max_iters, max_iters)
        self._max_epochs = math.ceil(self._max_iters / len(self.dataloader))

    def run(self):
        # What a resumed run goes on with is known here, but was not when the loop was built.
        hub, sampler = self.runner.message_hub, self.dataloader.sampler
        length = len(self.dataloader)
        before = hub.runtime_info.get('epoch_length', length)
        if before != length:
            raise ValueError(
                f'the run to resume had {before} iterations an epoch, this one has {length}: resume '
                'with the same images, batch size and number of processes, or start a new run from '
                'its weights by load_from'
            )
        hub.update_info('epoch_length', length)
        if not self.runner._randomness_cfg.get('diff_rank_seed') and hasattr(sampler, 'seed'):
            sampler.seed = self.runner.seed
        return super().run()

    def run_epoch(self) -> None:
        done = self._iter - self._epoch * len(self.dataloader)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        loader = skip_batches(self.dataloader, done) if done else self.dataloader
        for index, batch in enumerate(loader, start=done):
            self.run_iter(index, batch)
            if self._iter >= self._max_iters:
                break  # of a run that was shortened
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


class DeclaredLength:
    """A data loader whose length is declared, since its data has none.

    Args:
        loader (DataLoader): What is iterated over.
        length (int): Batches that count as one epoch.
    """

    def __init__(self, loader: DataLoader, length: int) -> None:
        self.loader, self.length = loader, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ('loader', 'length'):
            super().__setattr__(name, value)
        else:  # such as the start of workers, which InterruptHook sets
            setattr(self.loader, name, value)


@LOOPS.register_module()
class StreamTrainLoop(IterBasedTrainLoop):
    """MMEngine's ``IterBasedTrainLoop`` for an ``IterableDataset`` without a length.

    MMEngine asks every data set for its length, at the latest for its learning-rate schedulers.
    Set ``train_dataloader.sampler=None``, since a stream chooses the order itself. A resumed run on
    :class:`dino_mm.datasets.ShardedImages` goes on at the place where it was interrupted; on any
    other stream it reads and leaves out what was trained on before.

    Args:
        runner (Runner): The Runner.
        dataloader (dict | DataLoader): Config of the data loader, or the loader.
        max_iters (int): Iterations in all.
        epoch_length (int): Iterations that count as one epoch, for schedules given in epochs.
        kwargs: Those of MMEngine's loop, such as ``val_interval``.
    """

    def __init__(
        self, runner, dataloader, max_iters: int, epoch_length: int | None = None, **kwargs
    ) -> None:
        epoch_length = max_iters if epoch_length is None else epoch_length
        check_number('train_cfg.epoch_length', epoch_length, whole=True, at_least=1)
        if isinstance(dataloader, dict):
            diff_rank_seed = runner._randomness_cfg.get('diff_rank_seed', False)
            dataloader = runner.build_dataloader(
                dataloader, seed=runner.seed, diff_rank_seed=diff_rank_seed
            )
        super().__init__(runner, DeclaredLength(dataloader, epoch_length), max_iters, **kwargs)
        if isinstance(dataloader.dataset, ShardedImages):
            self.dataloader_iterator = PlacedBatches(runner, dataloader)

    def shorten(self, max_iters: int) -> None:
        """Ends the run earlier."""
        self._max_iters = min(self._max_iters, max_iters)
