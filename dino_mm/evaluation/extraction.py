"""Passing images through a backbone: shared over processes, shown by a bar, kept on disk."""

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

from dino_mm.utils.files import save_atomically


class Loaded(Dataset):
    """Items as ``load`` makes them."""

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


def cached_features(path: Path, key: str, compute: Callable[[], list[Tensor]]) -> Tensor:
    """Features (N, D) from a file written under the same key, else computed and written.

    Args:
        path (Path): Cache file.
        key (str): :func:`fingerprint` of all that the features depend on.
        compute (Callable): Gives N features (D,).
    """
    stored = [None]
    if is_main_process() and path.is_file():
        content = torch.load(path, weights_only=True)
        if content['key'] == key:
            stored = [content['features']]
    broadcast_object_list(stored)  # one decision for all processes
    if stored[0] is not None:
        return stored[0]
    features = compute()
    features = torch.stack(features) if features else torch.empty(0, 0)
    if is_main_process():
        save_atomically(dict(key=key, features=features), path)
    return features


def require_files(paths: Sequence[str | os.PathLike], what: str) -> None:
    """Fails before a long run rather than within it.

    Raises:
        FileNotFoundError: Names the first file that is missing and their number.
    """
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(f'{len(missing)} of {len(paths)} {what} are missing: {missing[0]}')
