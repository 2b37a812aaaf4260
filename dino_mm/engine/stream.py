"""Batches of a stream that goes on where it was interrupted."""

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from dino_mm.datasets.shard_order import Place, start_of_pass
from dino_mm.datasets.sharded_images import PLACE
from dino_mm.utils.wrappers import set_epoch_of

#: Where the message hub, and so a checkpoint, keeps the places of all workers.
KEY = 'stream'
#: Batches between two notes there. A resumed run reads up to so many again, without decoding them.
EVERY = 50


class PlacedCollate:
    """Makes a batch, and beside it the place of its worker after it."""

    def __init__(self, collate: Callable[[Sequence[dict]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: Sequence[dict]) -> tuple[Any, dict]:
        places = [sample.pop(PLACE) for sample in samples]
        return self.collate(samples), places[-1]


class PlacedBatches:
    """Iterates over a data loader of :class:`dino_mm.datasets.ShardedImages`.

    The workers are asked in turn and each batch has as many images as any other. So the places of
    all workers of all processes, noted every :data:`EVERY` batches, and the number of batches since
    say exactly where a run was, whenever it was interrupted: no image is lost or repeated.

    Args:
        runner (Runner): Of the run.
        loader (DataLoader): Of the stream.
    """

    def __init__(self, runner: Runner, loader: DataLoader) -> None:
        self.runner, self.loader = runner, loader
        self.workers = max(loader.num_workers, 1)
        loader.dataset.divide(runner.world_size, self.workers)
        loader.collate_fn = PlacedCollate(loader.collate_fn)
        self.done = 0
        self.batches = None

    def skip_iter(self, done: int) -> None:
        """Called by MMEngine's loop before the first batch of a resumed run."""
        self.done = done

    def __next__(self) -> Any:
        if self.batches is None:
            self._begin()
        elif self.done % EVERY == 0:
            self._note()
        batch, place = next(self.batches)
        self.places[place.pop('worker')] = place
        self.done += 1
        return batch

    def _setting(self) -> dict:
        """What has to be the same if a run is to go on at its place."""
        dataset = self.loader.dataset
        return dict(
            seed=self.seed,
            processes=self.runner.world_size,
            workers=self.workers,
            batch_size=self.loader.batch_size,
            buffer_size=dataset.buffer_size,
            open_shards=dataset.open_shards,
            shards=dataset.shards.digest,
        )

    def _note(self) -> None:
        places = all_gather_object(list(self.places))
        note = dict(done=self.done, setting=self._setting(), places=places)
        self.runner.message_hub.update_info(KEY, note)

    def _begin(self) -> None:
        runner, dataset = self.runner, self.loader.dataset
        self.seed = all_gather_object(runner.seed)[0]  # with diff_rank_seed each has its own
        note = runner.message_hub.runtime_info.get(KEY) if self.done else None
        if not self.done:
            self.places = [start_of_pass() for _ in range(self.workers)]
        elif note and note['setting'] == self._setting():
            self.places = [dict(place) for place in note['places'][runner.rank]]
            for batch in range(note['done'], self.done):
                self.places[batch % self.workers]['skip'] += self.loader.batch_size
        else:
            self.places = self._next_pass(note)
        self._note()
        dataset.begin(self.seed, runner.rank, [*self.places], first=self.done % self.workers)
        set_epoch_of(
            dataset, 0, self.seed
        )  # what is drawn for an image depends on its number alone
        self.batches = iter(self.loader)

    def _next_pass(self, note: dict | None) -> list[Place]:
        """Places of a run that cannot go on at its place: the next pass begins."""
        runner, setting = self.runner, self._setting()
        before = note['setting'] if note else {}
        changed = ', '.join(
            f'{key} ({before[key]} before, {value} now)' if key in before else key
            for key, value in setting.items()
            if before.get(key) != value
        )
        runner.logger.warning(
            f'The place in the shards cannot be taken up, since {changed} changed: a new pass over '
            'all shards begins, and what the interrupted pass had not reached is left out of it'
        )
        passes = [place['passes'] for places in note['places'] for place in places] if note else [0]
        # No worker has given more images than all together, so their numbers are new ones.
        given = self.done * before.get('batch_size', 0) * before.get('processes', 0)
        return [start_of_pass(max(passes) + 1, given) for _ in range(self.workers)]
