"""Random draws of images inside of wrappers."""

import copy
import pickle

import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from dino_mm.datasets import TorchvisionDataset
from dino_mm.engine.loops import skip_batches
from dino_mm.utils.wrappers import parts_of, set_epoch_of


def images() -> TorchvisionDataset:
    """The same three images each time."""
    return TorchvisionDataset(
        'FakeData',
        dict(size=3, image_size=(3, 24, 24)),
        pipeline=[
            dict(type='dino_mm.LoadImage'),
            dict(type='dino_mm.DINOMultiCrop', global_size=16, num_local=0),
        ],
    )


WRAPPERS = dict(
    repeated=lambda: RepeatDataset(images(), 3),
    joined=lambda: ConcatDataset([images(), images()]),
    chosen=lambda: Subset(images(), [2, 0, 2, 2]),
    nested=lambda: torch.utils.data.ConcatDataset([RepeatDataset(images(), 2), images()]),
)


def views(loader: DataLoader) -> list[Tensor]:
    return [item['inputs'][0] for batch in loader for item in batch]


def load(dataset: Dataset, epoch: int, workers: int = 0, skip: int = 0) -> list[Tensor]:
    """First views of an epoch's images, without the first ``skip`` batches of two."""
    set_epoch_of(dataset, epoch, seed=5)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=list)
    return views(skip_batches(loader, skip) if skip else loader)


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_each_appearance_of_an_image_is_drawn_anew_but_alike_when_resumed(wrapper) -> None:
    dataset = WRAPPERS[wrapper]()
    first = load(dataset, epoch=0)
    assert len(first) == len(dataset)
    assert len({view.numpy().tobytes() for view in first}) == len(first)
    later = load(dataset, epoch=1)
    assert not any(map(torch.equal, first, later))
    again = WRAPPERS[wrapper]()  # what a resumed run builds
    assert equal(load(again, epoch=1), later)
    assert equal(load(again, epoch=1, skip=1), later[2:])


def test_the_number_of_workers_does_not_matter() -> None:
    dataset = WRAPPERS['nested']()
    assert equal(load(dataset, 4, workers=2), load(dataset, 4))


def test_copies_and_what_spawned_workers_receive_draw_alike() -> None:
    dataset = WRAPPERS['repeated']()
    expected = load(dataset, 2)
    for twin in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert equal(views(DataLoader(twin, batch_size=2, collate_fn=list)), expected)


def test_without_a_wrapper_the_sample_decides() -> None:
    dataset = images()
    expected = load(dataset, 0)
    assert equal([dataset[i]['inputs'][0] for i in range(3)], expected)
    # A published recipe that is joined with nothing, too.
    assert equal(load(ConcatDataset([images()]), 0), expected)


def test_parts_are_no_wrappers() -> None:
    inner = [images(), images(), images()]
    joined = torch.utils.data.ConcatDataset([RepeatDataset(inner[0], 2), inner[1]])
    assert list(parts_of(Subset(joined, [0]))) == inner[:2]
    assert list(parts_of(inner[2])) == inner[2:]
