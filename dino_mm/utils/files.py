"""Files that are whole or not there, in plain types, and digests of what they depend on."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn


def plain(value: Any) -> Any:
    """A value in types that ``torch.load(weights_only=True)`` reads.

    Mappings and sequences are converted item by item, scalars and arrays of NumPy and PyTorch
    become numbers and lists, and anything else its text.
    """
    if hasattr(value, 'tolist'):  # first: NumPy's float64 is a float
        return plain(value.tolist())
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (Sequence, set, frozenset)):
        return [plain(item) for item in value]
    return str(value)


@contextmanager
def replaced(path: str | os.PathLike) -> Iterator[Path]:
    """A file beside ``path`` to write to, which takes its place when all went well.

    It is on the disk before it takes that place, so that a machine that stops leaves the old file
    or the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f'.{path.stem}.{os.getpid()}{path.suffix}')
    try:
        yield scratch
        with open(scratch, 'rb') as written:
            os.fsync(written.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def save_atomically(content: dict, path: str | os.PathLike) -> None:
    """``torch.save`` that leaves no half-written file under ``path`` when interrupted."""
    with replaced(path) as scratch:
        torch.save(content, scratch)


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
