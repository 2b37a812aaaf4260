"""Shards of tiny images, written as other tools write them."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def image_bytes(value: int, kind: str = 'JPEG', size: tuple[int, int] = (40, 36)) -> bytes:
    """An image file whose content depends on a number."""
    rng = np.random.default_rng(value)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """A tar file of the given members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_tars(folder: Path, counts: tuple[int, ...]) -> Path:
    """Tar files of so many images each, every image with a text beside it."""
    number = 0
    for shard, count in enumerate(counts):
        members = {}
        for _ in range(count):
            members[f'{number:04d}.jpg'] = image_bytes(number)
            members[f'{number:04d}.txt'] = b'a caption'
            number += 1
        write_tar(folder / f'train-{shard:03d}.tar', members)
    return folder


def write_parquet(path: Path, images: list[bytes], rows: int = 1000, **columns: list) -> Path:
    """A Parquet file as ``datasets`` writes it, with so many rows in a group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    column = [dict(bytes=data, path=f'{number}.jpg') for number, data in enumerate(images)]
    pq.write_table(pa.table(dict(image=column, **columns)), path, row_group_size=rows)
    return path
