"""Which images a stream of shards gives, in which order, and how many it holds."""

from itertools import count, islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from dino_mm.datasets import ShardedImages
from dino_mm.datasets.shard_order import blocks, part_of_pass, start_of_pass
from dino_mm.datasets.shards import StoredImage
from dino_mm.utils.wrappers import set_epoch_of

from ..shard_files import image_bytes, write_parquet, write_tar, write_tars

pytest.importorskip('datasets')

COUNTS = (3, 5, 2, 4, 6)  # images of each shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tars(tmp_path / 'shards', COUNTS)


def stream(folder: Path, rank: int = 0, ranks: int = 1, workers: int = 1, **options):
    """A stream of names, with the places of its workers."""
    dataset = ShardedImages(str(folder), **(dict(buffer_size=4, open_shards=2) | options))
    dataset.divide(ranks, workers)
    dataset.begin(7, rank, [start_of_pass() for _ in range(workers)])
    return dataset


def names(dataset: ShardedImages, number: int) -> list[str]:
    return [Path(item['img_path']).name for item in islice(dataset, number)]


def test_each_image_comes_once_in_a_pass(folder) -> None:
    order = names(stream(folder), 60)
    passes = [order[:20], order[20:40], order[40:]]
    assert all(sorted(part) == [f'{i:04d}.jpg' for i in range(20)] for part in passes)
    assert len({tuple(part) for part in passes}) == 3


def test_the_seed_alone_decides_the_order(folder) -> None:
    first, other = stream(folder), stream(folder)
    expected = names(first, 30)
    assert names(other, 30) == expected == names(first, 30)
    other.begin(8, 0, [start_of_pass()])
    assert names(other, 30) != expected


def test_a_block_mixes_the_shards_that_are_open(tmp_path) -> None:
    folder = write_tars(tmp_path, (10, 10, 10, 10))
    for width in (1, 2, 4):
        order = names(stream(folder, buffer_size=8, open_shards=width), 8)
        assert order != sorted(order)
        assert len({int(name[:4]) // 10 for name in order}) == width


def test_ranks_and_workers_have_parts_that_make_a_pass(folder) -> None:
    """Two processes with two workers each, which PyTorch asks in turn."""
    seen = []
    for rank in (0, 1):
        loader = DataLoader(
            stream(folder, rank, ranks=2, workers=2), batch_size=1, num_workers=2, collate_fn=list
        )
        for (item,) in islice(loader, 40):
            if item['stream_place']['passes'] == 0:
                seen.append(Path(item['img_path']).name)
    assert sorted(seen) == [f'{i:04d}.jpg' for i in range(20)]
    parts = [part_of_pass(5, 3, part, 4, seed=7) for part in range(4)]
    assert sorted(sum(parts, [])) == [0, 1, 2, 3, 4] and all(parts)
    assert part_of_pass(50, 0, 1, 5, seed=7) != part_of_pass(50, 1, 1, 5, seed=7)


def test_crops_are_new_in_each_pass_and_do_not_depend_on_what_came_before(folder) -> None:
    crop = dict(type='DINOMultiCrop', global_size=16, num_local=0)
    pipeline = [dict(type='dino_mm.LoadImage'), dict(crop, type='dino_mm.DINOMultiCrop')]
    dataset = stream(folder, pipeline=pipeline)
    set_epoch_of(dataset, 0, seed=7)
    items = list(islice(dataset, 40))
    views = [item['inputs'][0] for item in items]
    assert len({view.numpy().tobytes() for view in views}) == 40
    for taken in (1, 3, 4, 17, 25):
        place = {k: v for k, v in items[taken - 1]['stream_place'].items() if k != 'worker'}
        dataset.begin(7, 0, [place])
        for ours, theirs in zip(islice(dataset, 40 - taken), views[taken:], strict=True):
            torch.testing.assert_close(ours['inputs'][0], theirs, rtol=0, atol=0)


class Endless:
    """Shards without an end; counts what is read."""

    def __init__(self, number: int) -> None:
        self.number, self.reads = number, 0

    def __len__(self) -> int:
        return self.number

    def read(self, index: int, start: int = 0):
        for place in count(start):
            self.reads += 1
            yield StoredImage(f'{index}/{place}', b'')


def test_no_more_than_a_block_is_read_ahead() -> None:
    """However many images there are, none is counted or listed before it is read."""
    shards = Endless(1000)
    endless = blocks(shards, 0, 10, 0, start_of_pass(), size=50, width=4)
    for number in range(1, 5):
        block, place = next(endless)
        assert len(block) == 50 and shards.reads == 50 * number
        assert len(place['open']) <= 4  # numbers of open shards, not of images


def test_a_broken_image_gives_its_place_to_the_next_one(tmp_path) -> None:
    members = {f'{i}.jpg': image_bytes(i) for i in range(4)} | {'2.jpg': b'no image'}
    write_tar(tmp_path / 'x.tar', members)
    load = dict(type='dino_mm.LoadImage', ignore_broken=True)
    dataset = stream(tmp_path, pipeline=[load])
    with pytest.warns(UserWarning, match=r'x\.tar/2\.jpg'):
        items = list(islice(dataset, 4))
    assert [item['stream_place']['skip'] for item in items] == [1, 2, 3, 4]
    assert {Path(item['img_path']).name for item in items} == {'0.jpg', '1.jpg', '3.jpg'}
    with pytest.raises(OSError, match=r'x\.tar/2\.jpg'):
        list(islice(stream(tmp_path, pipeline=[dict(type='dino_mm.LoadImage')]), 4))
    write_tar(tmp_path / 'x.tar', {'0.jpg': b'no image'})
    with pytest.raises(OSError, match='none of 1 images'), pytest.warns(UserWarning):
        next(iter(dataset))


def test_fewer_shards_than_workers_are_refused_with_what_fits(folder) -> None:
    with pytest.raises(ValueError, match='5 tar files are fewer than 2 processes with 3 .*=2,'):
        stream(folder, ranks=2, workers=3)
    with pytest.raises(ValueError, match='at most 5 processes'):
        stream(folder, ranks=6)


def test_row_groups_serve_more_workers_than_there_are_files(tmp_path) -> None:
    path = write_parquet(tmp_path / 'x.parquet', [image_bytes(i) for i in range(6)], rows=2)
    parts = [stream(path, rank, ranks=3, open_shards=4) for rank in range(3)]
    assert sorted(sum((names(part, 2) for part in parts), [])) == [f'{i}.jpg' for i in range(6)]
    with pytest.raises(ValueError, match='3 row groups of Parquet files are fewer than 4'):
        stream(path, ranks=4)


@pytest.mark.parametrize('option', ['buffer_size', 'open_shards'])
def test_options_out_of_range_are_refused(folder, option) -> None:
    with pytest.raises(ValueError, match=f'ShardedImages.{option} must be'):
        ShardedImages(str(folder), **{option: 0})
