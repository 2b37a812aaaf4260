"""Shards: files that hold many images each, read one after another by Hugging Face ``datasets``."""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .scan import IMAGE_EXTENSIONS

#: Builders of ``datasets`` by the ending of a shard.
KINDS = {'.tar': 'webdataset', '.parquet': 'parquet'}


class StoredImage(NamedTuple):
    """An image as it is stored.

    Attributes:
        name: Shard and place in it, ending like the image file.
        data: Contents of the image file.
    """

    name: str
    data: bytes


def find_shards(data_root: str | Sequence[str]) -> list[str]:
    """Shards of folders at any depth, of patterns such as ``'data/train-*.tar'``, and single ones.

    Args:
        data_root (str | Sequence[str]): One or several of them.

    Returns:
        list[str]: Paths, sorted for each item of ``data_root``.

    Raises:
        TypeError: ``data_root`` is no text.
        FileNotFoundError: An item leads to no shard.
        ValueError: Shards of both kinds, or one shard named twice.
    """
    roots = [data_root] if isinstance(data_root, (str, os.PathLike)) else data_root
    if not isinstance(roots, (list, tuple)) or not all(
        isinstance(root, (str, os.PathLike)) for root in roots
    ):
        raise TypeError(
            'data_root of ShardedImages must be a folder, a pattern of file names or a list of '
            f'shards, got {data_root!r}'
        )
    paths = []
    for root in map(os.fspath, roots):
        if os.path.isdir(root):
            found = glob.glob(os.path.join(glob.escape(root), '**', '*'), recursive=True)
        else:
            found = [root] if os.path.isfile(root) else glob.glob(root, recursive=True)
        named = sorted(path for path in found if os.path.splitext(path)[1].lower() in KINDS)
        shards = [path for path in named if os.path.isfile(path)]
        if not shards:
            raise FileNotFoundError(
                f'no shard found in {root!r}: looked for {" and ".join(KINDS)} files. Set '
                'train_dataloader.dataset.data_root to a folder of them, or to a pattern such as '
                "'data/train-*.tar'"
            )
        paths += shards
    kinds = {os.path.splitext(path)[1].lower() for path in paths}
    if len(kinds) > 1:
        raise ValueError(
            f'data_root={data_root!r} holds shards of several kinds ({", ".join(sorted(kinds))}): '
            "choose one by a pattern such as 'data/*.tar'"
        )
    path, count = Counter(paths).most_common(1)[0]
    if count > 1:
        raise ValueError(f'data_root={data_root!r} names {path} {count} times')
    return paths


def import_datasets():
    """The package ``datasets`` of Hugging Face, which is an optional requirement.

    Raises:
        ImportError: Naming the extra that installs it.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            'tar and Parquet shards are read by Hugging Face datasets, which is not installed: '
            'pip install -e ".[shards]"'
        ) from error
    datasets.disable_progress_bars()  # of looking at file names
    return datasets


class Shards:
    """The shards of a data set. Of each no more is in memory than what is being read.

    A Parquet file is one shard, or, after :meth:`split`, each of its row groups is.

    Args:
        paths (Sequence[str]): Files of one kind.
        image_key (str, optional): Which column of Parquet files, or which ending of file names in
            tar files (``'rgb.png'`` of ``0001.rgb.png``), has the image. By default the column that
            holds images, and every usual ending of image files.

    Raises:
        ImportError: ``datasets`` is not installed.
        OSError: The first Parquet file cannot be read.
        ValueError: It has no such column, or several that could be meant.
    """

    def __init__(self, paths: Sequence[str], image_key: str | None = None) -> None:
        datasets = import_datasets()
        self.paths = list(paths)
        self.kind = KINDS[os.path.splitext(self.paths[0])[1].lower()]
        image = datasets.Image(decode=False)  # {'bytes': ..., 'path': ...}
        if self.kind == 'parquet':
            self.keys = [image_key_of(self.paths[0], image_key)]
            features, options = datasets.Features({self.keys[0]: image}), dict(columns=self.keys)
        else:
            endings = [ending[1:] for ending in IMAGE_EXTENSIONS]
            self.keys = [image_key] if image_key else endings + [end.upper() for end in endings]
            features = datasets.Features(dict.fromkeys(self.keys, image))
            features['__key__'], options = datasets.Value('string'), {}
        self._source = datasets.load_dataset(
            self.kind,
            data_files=dict(train=[glob.escape(path) for path in self.paths]),
            split='train',
            streaming=True,
            features=features,
            **options,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def split(self) -> None:
        """Makes each row group of Parquet files a shard; tar files cannot be divided.

        Raises:
            OSError: A file cannot be read.
        """
        if self.kind == 'parquet':
            self.paths = [path for path in self.paths for _ in range(row_groups_of(path))]
            self._source = self._source.reshard()

    @property
    def digest(self) -> str:
        """What tells these shards from others, wherever they lie."""
        names = '\n'.join(map(os.path.basename, self.paths))
        return hashlib.sha256(names.encode()).hexdigest()[:16]

    def read(self, index: int, start: int = 0) -> Iterator[StoredImage]:
        """Images of one shard in the order in which they are stored.

        Args:
            index (int): Of the shard.
            start (int): Images to leave out; they are read, but not decoded.

        Raises:
            OSError: The shard is broken.
            ValueError: The shard is empty, or a sample has no image.
        """
        path = self.paths[index]
        samples = self._source.shard(num_shards=len(self), index=index)
        rows = (samples.skip(start) if start else samples).iter(batch_size=1)
        count = start
        while True:
            try:
                row = next(rows, None)
            except Exception as error:  # of whatever kind: each format has its own
                raise OSError(
                    f'shard {path} is broken after {count} samples ({error}): replace the file, or '
                    'move it away'
                ) from error
            if row is None:
                break
            yield self._image_of({key: value[0] for key, value in row.items()}, path, count)
            count += 1
        if count == 0:
            raise ValueError(f'shard {path} holds no sample: replace the file, or move it away')

    def _image_of(self, sample: dict, path: str, place: int) -> StoredImage:
        for key in self.keys:
            image = sample.get(key)
            if image is not None and image['bytes']:
                if self.kind == 'webdataset':
                    return StoredImage(f'{path}/{sample["__key__"]}.{key}', image['bytes'])
                name = image['path'] or ''
                return StoredImage(f'{path}/{place}{"/" if name else ""}{name}', image['bytes'])
        where = f'sample {sample.get("__key__", place)} of shard {path} has no image'
        if self.kind == 'parquet':
            raise ValueError(
                f'{where} in column {self.keys[0]!r}: set '
                'train_dataloader.dataset.image_key to another column, or leave such rows out'
            )
        named = self.keys[0] if len(self.keys) == 1 else f'one of {", ".join(IMAGE_EXTENSIONS)}'
        raise ValueError(
            f'{where}: no file of it ends in {named}. Set train_dataloader.dataset.image_key to the '
            'ending of its images, or leave such samples out'
        )


def row_groups_of(path: str) -> int:
    """Number of row groups of a Parquet file.

    Raises:
        OSError: It cannot be read.
    """
    return _parquet_file(path).num_row_groups


def image_key_of(path: str, wanted: str | None = None) -> str:
    """The column of a Parquet file that has the images.

    That is ``wanted``, or the only column of bytes, or of bytes with a file name as ``datasets``
    writes them, or of several the one of the name ``image``.

    Raises:
        OSError: The file cannot be read.
        ValueError: There is no such column, or there are several.
    """
    import pyarrow as pa

    schema = _parquet_file(path).schema_arrow
    key = 'set train_dataloader.dataset.image_key to the column of the images'
    if wanted is not None:
        if wanted not in schema.names:
            raise ValueError(
                f'{path} has no column {wanted!r}, only {", ".join(schema.names)}: {key}'
            )
        return wanted

    def may_hold_images(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return kind.get_field_index('bytes') >= 0
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    fitting = [field.name for field in schema if may_hold_images(field.type)]
    if 'image' in fitting:
        return 'image'
    if len(fitting) != 1:
        raise ValueError(
            f'{len(fitting)} columns of {path} may hold images, of {", ".join(schema.names)}: {key}'
        )
    return fitting[0]


def _parquet_file(path: str):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file
    except (OSError, pa.ArrowException) as error:
        raise OSError(
            f'shard {path} is broken ({error}): replace the file, or move it away'
        ) from error
