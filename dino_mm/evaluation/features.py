"""Features of a labeled data set: in chunks, kept on disk, shared over processes."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.dist import broadcast_object_list, get_rank, get_world_size, is_main_process
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dino_mm.utils.files import fingerprint, save_atomically

#: Images to a file of the cache: what an interruption costs at most.
CHUNK_SIZE = 512
#: Of their names: other files in the folder are let be.
SUFFIX = '.features.pt'


@dataclass
class Chunk:
    """Successive samples of a data set.

    Attributes:
        start: Place of the first one.
        features: (n, ...) what was computed.
        labels: (n,) classes.
    """

    start: int
    features: Tensor
    labels: Tensor

    @property
    def index(self) -> Tensor:
        """Places in the data set (n,)."""
        return torch.arange(self.start, self.start + len(self.labels))


def _list_images(dataset: Dataset) -> Iterator[tuple[str | None, int | None]]:
    """Path and label of each sample; None where a data set holds its images itself."""
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from _list_images(part)
        return
    for index in range(len(dataset)):
        # without decoding: some data sets add the image to what BaseDataset tells
        info = BaseDataset.get_data_info(dataset, index)
        yield info.get('img_path'), info.get('gt_label')


def features_key(dataset: Dataset, *settings: object) -> str:
    """What features depend on: settings, and the list of images with sizes and times of files."""
    key = [None]
    if is_main_process():
        listed = list(_list_images(dataset))
        files = [path for path, _ in listed if path is not None]
        key = [fingerprint(*settings, len(listed), [label for _, label in listed], files=files)]
    broadcast_object_list(key)
    return key[0]


def extract_features(
    dataset: Dataset,
    embed: Callable[[dict], Tensor],
    key: str,
    cache: str | os.PathLike,
    title: str,
    batch_size: int = 64,
    num_workers: int = 0,
    collate: Callable = pseudo_collate,
    chunk_size: int = CHUNK_SIZE,
    rank: int | None = None,
    world_size: int | None = None,
) -> Iterator[Chunk]:
    """This process's share of all chunks, stored ones first.

    Every chunk is written as soon as it is complete, so that an interrupted run goes on where it
    stopped. What lies in the folder under another key is removed, with a message.

    Args:
        dataset (Dataset): Its items hold ``inputs`` and ``data_samples`` with ``gt_label``.
        embed (Callable): Features (B, ...) of a collated batch.
        key (str): See :func:`features_key`.
        cache (str): Folder of the cache.
        title (str): Of the progress bar.
        batch_size (int): Images at a time.
        num_workers (int): Processes that read images.
        collate (Callable): Makes a batch of items.
        chunk_size (int): Images to a file.
        rank (int, optional): Which share; by default this process's.
        world_size (int, optional): Number of shares; by default the number of processes.
    """
    rank = get_rank() if rank is None else rank
    world_size = get_world_size() if world_size is None else world_size
    cache, stem = Path(cache), fingerprint(key, chunk_size)[:16]
    chunks = [
        range(start, min(start + chunk_size, len(dataset)))
        for start in range(0, len(dataset), chunk_size)
    ][rank::world_size]
    paths = {chunk.start: cache / f'{stem}_{chunk.start:09d}{SUFFIX}' for chunk in chunks}
    if is_main_process():
        _remove_stale(cache, stem)
    stored, missing = [], []
    for chunk in chunks:
        (stored if paths[chunk.start].is_file() else missing).append(chunk)
    if stored:
        print_log(
            f'{title}: {sum(map(len, stored))} images from the features in {cache}', 'current'
        )
    for chunk in stored:
        content = torch.load(paths[chunk.start], weights_only=True)
        yield Chunk(chunk.start, content['features'], content['labels'])

    batches = [
        chunk[i : i + batch_size] for chunk in missing for i in range(0, len(chunk), batch_size)
    ]
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=num_workers, collate_fn=collate)
    total = sum(map(len, missing))
    bar = tqdm(total=total, desc=title, mininterval=1, disable=not (total and is_main_process()))
    answers = iter(loader)
    for chunk in missing:
        features, labels = [], []
        for _ in range(0, len(chunk), batch_size):
            batch = next(answers)
            features.append(embed(batch).cpu())
            labels += [int(sample.gt_label) for sample in batch['data_samples']]
            bar.update(len(features[-1]))
        content = dict(features=torch.cat(features), labels=torch.tensor(labels))
        save_atomically(content, paths[chunk.start])
        yield Chunk(chunk.start, **content)
    bar.close()


def _remove_stale(cache: Path, stem: str) -> None:
    stale = [path for path in cache.glob(f'*{SUFFIX}') if not path.name.startswith(stem)]
    if stale:
        print_log(
            f'the features in {cache} are of other weights, settings or images: they are computed '
            'anew',
            'current',
            30,
        )
    for path in stale:
        path.unlink()
