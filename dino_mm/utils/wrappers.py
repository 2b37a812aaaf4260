"""What is inside a wrapper."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn
from torch.utils.data import Dataset


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside wrappers, of distribution and of test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def inside(dataset: Dataset) -> list[Dataset]:
    """The data sets right inside a wrapper such as ConcatDataset or RepeatDataset; else none."""
    inner = getattr(dataset, 'datasets', None) or getattr(dataset, 'dataset', None)
    if inner is None:
        return []
    return list(inner) if isinstance(inner, Sequence) else [inner]


def parts_of(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets inside wrappers of any depth that are no wrappers themselves."""
    inner = inside(dataset)
    for part in inner:
        yield from parts_of(part)
    if not inner:
        yield dataset


def transforms_of(dataset: Dataset) -> Iterator[Any]:
    """The transforms of a data set and of all data sets inside it."""
    pipeline = getattr(dataset, 'pipeline', None) or ()
    yield from getattr(pipeline, 'transforms', pipeline)
    for part in inside(dataset):
        yield from transforms_of(part)


class PlacedItems:
    """Items of a wrapper, whose place in it the transforms are told by their ``place``.

    Within its own data set an image has the same index each time that a wrapper repeats it. What
    loads a batch asks a data set for ``__getitems__`` first, if there is one.
    """

    def __init__(self, dataset: Dataset, transforms: list[Any]) -> None:
        self.dataset, self.transforms = dataset, transforms

    def __call__(self, indices: list[int]) -> list[Any]:
        return [self._item(index) for index in indices]

    def _item(self, index: int) -> Any:
        self._tell(index)
        try:
            return self.dataset[index]
        finally:
            self._tell(None)

    def _tell(self, place: int | None) -> None:
        for transform in self.transforms:
            transform.place = place


def set_epoch_of(dataset: Dataset, epoch: int, seed: int) -> None:
    """Tells seed and epoch to the transforms of a data set that have ``set_epoch``.

    Inside of wrappers they are also told the place of each item in the outermost one, so that an
    image that appears several times in an epoch is changed in as many ways.

    Args:
        dataset (Dataset): Of the data loader; wrappers of any depth.
        epoch (int): The epoch that begins.
        seed (int): Seed of the run.
    """
    told = [transform for transform in transforms_of(dataset) if hasattr(transform, 'set_epoch')]
    for transform in told:
        transform.set_epoch(epoch, seed)
    if told and inside(dataset):
        dataset.__getitems__ = PlacedItems(dataset, told)
