"""Runs on shards that are interrupted and resumed, with several workers and processes."""

import os
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from torch.utils.data import DataLoader

from dino_mm.datasets import ShardedImages
from dino_mm.engine import stream
from dino_mm.engine.hooks.interrupt_hook import start_worker
from dino_mm.engine.stream import PlacedBatches

from ..shard_files import write_tars

pytest.importorskip('datasets')

COUNTS = (6, 9, 7, 8, 6, 7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tars(tmp_path / 'shards', COUNTS)


@pytest.fixture(autouse=True)
def notes_every_third_batch(monkeypatch) -> None:
    monkeypatch.setattr(stream, 'EVERY', 3)


class Names:
    """Batches of image names, and what of them a checkpoint would keep."""

    def __init__(self, folder: Path, workers=0, batch=2, rank=0, ranks=1, buffer=5) -> None:
        self.warned = []
        self.runner = SimpleNamespace(
            rank=rank,
            world_size=ranks,
            seed=3,
            message_hub=MessageHub('names'),
            logger=SimpleNamespace(warning=self.warned.append),
        )
        dataset = ShardedImages(str(folder), buffer_size=buffer, open_shards=2)
        loader = DataLoader(dataset, batch, num_workers=workers, collate_fn=self.collate)
        self.batches = PlacedBatches(self.runner, loader)

    @staticmethod
    def collate(samples: list[dict]) -> list[str]:
        return [Path(sample['img_path']).name for sample in samples]

    def take(self, number: int) -> list[str]:
        return sum((next(self.batches) for _ in range(number)), [])

    def go_on(self, other: 'Names', done: int) -> 'Names':
        """Resumes ``other``, of which ``done`` batches were trained on."""
        state = other.runner.message_hub.state_dict()
        self.runner.message_hub.load_state_dict(state)
        self.batches.skip_iter(done)
        return self


@pytest.mark.parametrize('workers', [0, 3])
def test_a_resumed_stream_goes_on_with_the_next_image(folder, workers) -> None:
    expected = Names(folder, workers).take(40)  # nearly two passes
    for done in (1, 3, 7, 20, 32):
        first = Names(folder, workers)
        assert first.take(done) == expected[: 2 * done]
        # Once more, before there is another note.
        second = Names(folder, workers).go_on(first, done)
        assert second.take(1) == expected[2 * done : 2 * done + 2]
        third = Names(folder, workers).go_on(second, done + 1)
        assert third.take(40 - done - 1) == expected[2 * done + 2 :]
        assert not third.warned


@pytest.mark.parametrize(
    'change, options',
    [
        ('batch_size (2 before, 1 now)', dict(workers=2, batch=1)),
        ('workers (2 before, 1 now)', dict(workers=1)),
        ('buffer_size (5 before, 6 now)', dict(workers=2, buffer=6)),
        ('shards', dict(workers=2)),
    ],
)
def test_where_a_place_has_no_meaning_a_new_pass_begins(folder, change, options) -> None:
    first = Names(folder, workers=2)
    first.take(4)
    if change == 'shards':
        (folder / 'train-000.tar').unlink()
    second = Names(folder, **options).go_on(first, 4)
    second.take(2)
    assert [place['passes'] for place in second.batches.places] == [1] * options['workers']
    (warning,) = second.warned
    assert f'since {change} ' in warning and 'a new pass' in warning


def in_a_process(rank: int, folder: str, out: str) -> None:
    """Eight batches, of which six are noted, in the second block; and more when resumed."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{out}/meeting', rank=rank, world_size=2
    )
    stream.EVERY = 3
    whole = Names(folder, batch=1, rank=rank, ranks=2)
    whole.take(8)
    # Only the first process saves checkpoints.
    state = [whole.runner.message_hub.state_dict()]
    torch.distributed.broadcast_object_list(state, src=0)
    resumed = Names(folder, batch=1, rank=rank, ranks=2)
    resumed.runner.message_hub.load_state_dict(state[0])
    resumed.batches.skip_iter(8)
    expected, found = whole.take(20), resumed.take(20)
    again = Names(folder, batch=1, rank=rank, ranks=2)
    seen = []
    for _ in range(30):  # more than any three shards have
        names = again.take(1)
        seen += names if again.batches.places[0]['passes'] == 0 else []
    torch.save((expected, found, seen), f'{out}/{rank}.pth')
    torch.distributed.destroy_process_group()


def test_two_processes_share_a_pass_and_resume(folder, tmp_path) -> None:
    torch.multiprocessing.start_processes(
        in_a_process, (str(folder), str(tmp_path)), nprocs=2, start_method='fork'
    )
    seen = []
    for rank in (0, 1):
        expected, found, own = torch.load(tmp_path / f'{rank}.pth')
        assert found == expected
        seen += own
    assert sorted(seen) == [f'{i:04d}.jpg' for i in range(sum(COUNTS))]


def changes(folder: Path, workers: int) -> dict:
    """What makes the toy run one on shards."""
    crop = dict(type='DINOMultiCrop', global_size=32, local_size=16, num_local=2)
    return {
        'train_dataloader.sampler': None,
        'train_dataloader.num_workers': workers,
        'train_dataloader.dataset': dict(
            _delete_=True,
            type='ShardedImages',
            data_root=str(folder),
            buffer_size=10,
            pipeline=[dict(type='LoadImage'), crop],
        ),
        'train_cfg': dict(_delete_=True, type='StreamTrainLoop', max_iters=8),
        'log_processor': dict(by_epoch=False),
        'default_hooks.interrupt': dict(type='InterruptHook'),
        'default_hooks.checkpoint': dict(type='CheckpointHook', interval=100, by_epoch=False),
    }


class Interrupt(Hook):
    """Sends the process a signal as one iteration begins or ends."""

    priority = 'LOWEST'

    def __init__(self, iteration: int, at_its_end: bool) -> None:
        self.iteration, self.at_its_end = iteration, at_its_end

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration and not self.at_its_end:
            os.kill(os.getpid(), signal.SIGINT)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.iteration and self.at_its_end:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize('workers, iteration, at_its_end', [(0, 4, False), (2, 4, True)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    make_runner, folder, tmp_path, workers, iteration, at_its_end
) -> None:
    whole = make_runner(work_dir=str(tmp_path / 'whole'), **changes(folder, workers))
    whole.train()
    runner = make_runner(**changes(folder, workers))
    runner.register_hook(Interrupt(iteration, at_its_end))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit):
            runner.train()
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    resumed = make_runner(resume=True, **changes(folder, workers))
    resumed.train()
    assert resumed.iter == 8
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)


def test_workers_of_a_stream_leave_signals_to_the_trainer(make_runner, folder) -> None:
    runner = make_runner(**changes(folder, 0))
    runner.train()
    start = runner.train_dataloader.loader.worker_init_fn  # of what is iterated over
    assert isinstance(start, partial) and start.func is start_worker


def test_fewer_shards_than_workers_are_told_before_training(make_runner, folder) -> None:
    runner = make_runner(**changes(folder, 7))
    with pytest.raises(ValueError, match=r'6 tar files .*train_dataloader\.num_workers=6'):
        runner.train()


def test_errors_of_workers_name_the_shard(make_runner, folder) -> None:
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(OSError, match=r'shard .*train-00\d\.tar is broken'):
        make_runner(**changes(folder, 1)).train()
