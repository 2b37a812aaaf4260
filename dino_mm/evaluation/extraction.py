"""Work on many images or files, which all processes share."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dino_mm.utils.files import fingerprint, save_atomically

from .functional import require_finite

#: Number of successive files that one process looks at.
BLOCK_SIZE = 512


class Loaded(Dataset):
    """Data set of what ``load`` makes of each item."""

    def __init__(self, items: Sequence[Any], load: Callable[[Any], Any]) -> None:
        self.items, self.load = items, load

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.load(self.items[index])


def batches(
    items: Sequence[Any],
    load: Callable[[Any], Any],
    title: str,
    batch_size: int = 1,
    num_workers: int = 0,
) -> Iterator[Any]:
    """This process's share of the items, loaded and collated, under a progress bar."""
    share = items[get_rank() :: get_world_size()]
    loader = DataLoader(Loaded(share, load), batch_size=batch_size, num_workers=num_workers)
    yield from tqdm(loader, title, mininterval=1, disable=not is_main_process())


def gather(share: list, total: int) -> list:
    """Results of all items, in their order, from each process's :func:`batches`."""
    merged: list = [None] * total
    for rank, part in enumerate(all_gather_object(share)):
        merged[rank :: get_world_size()] = part
    return merged


def by_blocks(total: int, look: Callable[[range], Any]) -> list:
    """What ``look`` finds in each block of successive items.

    The processes share the blocks, and every process gets the results of all blocks. If only the
    first process read the times of a million files on a network drive, this would take minutes,
    and the other processes would exceed the time limit of the operation in which they wait. The
    result does not depend on the number of processes.

    Args:
        total (int): Number of items.
        look (Callable): Takes the indices of a block.
    """
    starts = range(0, total, BLOCK_SIZE)
    share = [
        look(range(start, min(start + BLOCK_SIZE, total)))
        for start in starts[get_rank() :: get_world_size()]
    ]
    return gather(share, len(starts))


def shared_fingerprint(*settings: object, files: Sequence[str | os.PathLike]) -> str:
    """A digest of settings and of names, sizes and times of files, which the processes share."""
    digests = by_blocks(
        len(files), lambda block: fingerprint(files=files[block.start : block.stop])
    )
    return fingerprint(*settings, digests)


def require_files(paths: Sequence[str | os.PathLike], what: str) -> None:
    """Refuses missing files before a long run instead of in the middle of it.

    Raises:
        FileNotFoundError: Files are missing. The message says how many and names the first.
    """
    blocks = by_blocks(
        len(paths), lambda block: [paths[i] for i in block if not os.path.isfile(paths[i])]
    )
    missing = sum(blocks, [])
    if missing:
        raise FileNotFoundError(f'{len(missing)} of {len(paths)} {what} are missing: {missing[0]}')


def cached_features(
    cache: Path, key: str, images: Sequence[object], compute: Callable[[], list[Tensor]]
) -> Tensor:
    """Reads features (N, D) from a file with the same key, or computes and writes them.

    Args:
        cache (Path): File of the features.
        key (str): :func:`shared_fingerprint` of all that the features depend on.
        images (Sequence): Names of the N images, for messages.
        compute (Callable): Computes the N features (D,).

    Raises:
        ValueError: Features are not finite.
    """
    stored = [None]
    if is_main_process() and cache.is_file():
        content = torch.load(cache, weights_only=True)
        if content['key'] == key:
            stored = [content['features']]
    broadcast_object_list(stored)  # one decision for all processes
    if stored[0] is not None:
        require_finite(stored[0], f'features in {cache}', lambda index: images[index])
        return stored[0]
    features = compute()
    features = torch.stack(features) if features else torch.empty(0, 0)
    require_finite(features, 'features', lambda index: images[index])
    if is_main_process():
        save_atomically(dict(key=key, features=features), cache)
    return features
