"""Features of a labeled data set in files, which all processes write together."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dino_mm.utils.files import fingerprint, save_atomically

from .extraction import by_blocks
from .functional import require_finite

#: Images per file. An interrupted run repeats no more than these.
CHUNK_SIZE = 512
#: End of the names of files with features. Other files in the folder are not touched.
SUFFIX = '.features.pt'


@dataclass
class Chunk:
    """Features of successive images of a data set.

    Attributes:
        start: Place of the first image in the data set.
        features: (n, ...).
        labels: (n,) classes.
    """

    start: int
    features: Tensor
    labels: Tensor

    @property
    def index(self) -> Tensor:
        """Places in the data set (n,)."""
        return torch.arange(self.start, self.start + len(self.labels))


def _image(dataset: Dataset, index: int) -> tuple[str | None, int | None]:
    """Path and label of an image; the path is None if the data set has no files."""
    while hasattr(dataset, 'datasets'):
        part = bisect_right(dataset.cumulative_sizes, index)
        index -= dataset.cumulative_sizes[part - 1] if part else 0
        dataset = dataset.datasets[part]
    # The image is not decoded: some data sets add it in their own get_data_info.
    info = BaseDataset.get_data_info(dataset, index)
    return info.get('img_path'), info.get('gt_label')


def features_key(dataset: Dataset, *settings: object) -> str:
    """A digest of settings and of the list of images with the sizes and times of their files."""

    def look(block: range) -> str:
        listed = [_image(dataset, index) for index in block]
        files = [path for path, _ in listed if path is not None]
        return fingerprint([label for _, label in listed], files=files)

    return fingerprint(*settings, len(dataset), by_blocks(len(dataset), look))


@dataclass
class FeatureFiles:
    """Files that hold the features of a data set, each those of some successive images.

    Attributes:
        dataset: Its items hold ``inputs`` and ``data_samples`` with ``gt_label``.
        key: See :func:`features_key`.
        folder: Where the files are. Files with another key are removed from it.
        chunk_size: Images per file.
    """

    dataset: Dataset
    key: str
    folder: Path
    chunk_size: int = CHUNK_SIZE

    def chunks(self) -> list[range]:
        """The images of every file."""
        total, size = len(self.dataset), self.chunk_size
        return [range(start, min(start + size, total)) for start in range(0, total, size)]

    def share(self) -> list[range]:
        """The images of this process's files."""
        return self.chunks()[get_rank() :: get_world_size()]

    def write(
        self,
        embed: Callable[[dict], Tensor],
        title: str,
        batch_size: int = 64,
        num_workers: int = 0,
        collate: Callable = pseudo_collate,
    ) -> None:
        """Computes the part of this process's share that is in no file yet.

        Every file is written as soon as it is complete, so that an interrupted run continues where
        it stopped.

        Args:
            embed (Callable): Computes the features (B, ...) of a collated batch.
            title (str): Title of the progress bar.
            batch_size (int): Images at a time.
            num_workers (int): Processes that read images.
            collate (Callable): Makes a batch of items.

        Raises:
            ValueError: Features are not finite.
        """
        if is_main_process():
            self._remove_others()
        share = self.share()
        missing = [chunk for chunk in share if not self._path(chunk).is_file()]
        total = sum(map(len, missing))
        if len(missing) < len(share):
            stored = sum(map(len, share)) - total
            print_log(
                f'{title}: features of {stored} images are read from {self.folder}', 'current'
            )
        indices = [
            chunk[i : i + batch_size] for chunk in missing for i in range(0, len(chunk), batch_size)
        ]
        loader = DataLoader(
            self.dataset, batch_sampler=indices, num_workers=num_workers, collate_fn=collate
        )
        batches = iter(loader)
        bar = tqdm(
            total=total, desc=title, mininterval=1, disable=not (total and is_main_process())
        )
        for chunk in missing:
            features, labels = [], []
            for _ in range(0, len(chunk), batch_size):
                batch = next(batches)
                features.append(embed(batch).cpu())
                labels += [int(sample.gt_label) for sample in batch['data_samples']]
                bar.update(len(features[-1]))
            content = dict(features=torch.cat(features), labels=torch.tensor(labels))
            self._require_finite(chunk, content['features'], title)
            save_atomically(content, self._path(chunk))
        bar.close()

    def read(self, chunks: Sequence[range]) -> Iterator[Chunk]:
        """Features from the files of some chunks.

        Raises:
            FileNotFoundError: Another process wrote a file to a folder that this one does not see.
            ValueError: Features are not finite.
        """
        for chunk in chunks:
            path = self._path(chunk)
            if not path.is_file():
                raise FileNotFoundError(
                    f'{path} does not exist, although another process wrote it: processes on '
                    'several machines need a --work-dir that all of them see'
                )
            content = torch.load(path, weights_only=True)
            self._require_finite(chunk, content['features'], f'features in {path}')
            yield Chunk(chunk.start, content['features'], content['labels'])

    def read_all(self) -> tuple[Tensor, Tensor]:
        """Features (N, ...) and labels (N,) of all images, in one tensor each."""
        total = len(self.dataset)
        features, labels = torch.empty(0), torch.empty(total, dtype=torch.long)
        for chunk in self.read(self.chunks()):
            if not len(features):
                features = torch.empty(total, *chunk.features.shape[1:])
            features[chunk.index], labels[chunk.index] = chunk.features, chunk.labels
        return features, labels

    def _path(self, chunk: range) -> Path:
        return self.folder / f'{self._stem}_{chunk.start:09d}{SUFFIX}'

    @property
    def _stem(self) -> str:
        return fingerprint(self.key, self.chunk_size)[:16]

    def _require_finite(self, chunk: range, features: Tensor, what: str) -> None:
        def name(index: int) -> object:
            path, _ = _image(self.dataset, chunk[index])
            return path or chunk[index]

        require_finite(features, what, name)

    def _remove_others(self) -> None:
        files = self.folder.glob(f'*{SUFFIX}')
        others = [path for path in files if not path.name.startswith(self._stem)]
        if others:
            print_log(
                f'the features in {self.folder} belong to other weights, settings or images: they '
                'are computed anew',
                'current',
                30,
            )
        for path in others:
            path.unlink()
