"""Passing images through a backbone: shared over processes, shown by a bar, kept on disk."""

import hashlib
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
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm


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


def fingerprint(*parts: Any, files: Sequence[str | os.PathLike] = ()) -> str:
    """A digest of settings and of the names, sizes and times of files."""
    digest = hashlib.sha256(repr(parts).encode())
    for file in files:
        stat = os.stat(file)
        digest.update(f'{file} {stat.st_size} {stat.st_mtime_ns}\n'.encode())
    return digest.hexdigest()


def weights_fingerprint(module: nn.Module) -> str:
    """A digest of a module's weights."""
    digest = hashlib.sha256()
    for key, value in module.state_dict().items():
        digest.update(key.encode())
        digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_features(content: dict, path: Path) -> None:
    """Writes a file of a cache in one step."""
    # the command lines build on this package
    from dino_mm.apis.export import save_atomically

    save_atomically(content, path)


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
        save_features(dict(key=key, features=features), path)
    return features


def require_files(paths: Sequence[str | os.PathLike], what: str) -> None:
    """Fails before a long run rather than within it.

    Raises:
        FileNotFoundError: Names the first file that is missing and their number.
    """
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(f'{len(missing)} of {len(paths)} {what} are missing: {missing[0]}')
