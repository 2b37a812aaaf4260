"""Images of tar and Parquet shards as a stream."""

from collections.abc import Iterator, Sequence
from itertools import islice

from mmengine.dataset import Compose
from mmengine.logging import print_log
from torch.utils.data import IterableDataset, get_worker_info

from dino_mm.registry import DATASETS
from dino_mm.utils.checks import check_number

from .shard_order import Place, Turns, blocks, start_of_pass
from .shards import Shards, StoredImage, find_shards

#: Key of a sample that says where the stream is after it.
PLACE = 'stream_place'
#: Shards at most that images to look at are taken from.
PREVIEWED = 8


@DATASETS.register_module()
class ShardedImages(IterableDataset):
    """Images of tar archives in the layout of WebDataset, or of Parquet files, without an end.

    Neither a list of the images nor any other index of them is kept in memory. In each pass the
    shards are shuffled and divided among all data workers of all processes. Each worker reads some
    of its shards in turn and shuffles blocks of images. For
    :class:`dino_mm.engine.StreamTrainLoop`, which keeps the place of each worker in checkpoints,
    with ``train_dataloader.sampler=None``.

    Labels and whatever else a sample has are not read. Items enter the pipeline with
    ``img_bytes``, ``img_path`` (shard and name in it) and ``sample_idx`` (a number that no other
    item of the run has, so that its crops are drawn anew in each pass but alike in a resumed run).

    Args:
        data_root (str | Sequence[str]): A folder of shards, a pattern such as
            ``'data/train-*.tar'``, a single shard, or a list of these.
        image_key (str, optional): Column of Parquet files, or ending of file names in tar files,
            that has the image; needed only where several could be meant.
        buffer_size (int): Images of a block. A worker has their files, not decoded, in memory.
        open_shards (int): Shards that a worker reads at a time; more mix better where a shard holds
            images of one kind.
        pipeline (list): Transforms.

    Raises:
        FileNotFoundError: No shard was found.
        ImportError: Hugging Face ``datasets`` is not installed.
        OSError: A shard, or an image, cannot be read.
        ValueError: Wrong options; fewer shards than data workers; a sample without an image.
    """

    def __init__(
        self,
        data_root: str | Sequence[str],
        image_key: str | None = None,
        buffer_size: int = 1000,
        open_shards: int = 4,
        pipeline: list | tuple = (),
    ) -> None:
        check_number('ShardedImages.buffer_size', buffer_size, whole=True, at_least=1)
        check_number('ShardedImages.open_shards', open_shards, whole=True, at_least=1)
        self.buffer_size, self.open_shards = buffer_size, open_shards
        self.metainfo: dict = {}  # MMEngine asks for it
        self.pipeline = Compose(list(pipeline))
        paths = find_shards(data_root)
        self.shards = Shards(paths, image_key)
        number = f'{len(paths):,} shards, the first is' if len(paths) > 1 else 'one shard,'
        print_log(f'Found {number} {paths[0]}.', 'current')
        self.seed = self.rank = 0
        self.world_size = self.workers = 1
        self.places: list[Place] | None = None
        self.first = 0

    def divide(self, world_size: int, workers: int) -> None:
        """Makes at least as many shards as there are data workers in all.

        Args:
            world_size (int): Processes.
            workers (int): Data workers of each, at least 1.

        Raises:
            ValueError: There are fewer, and they cannot be divided.
        """
        self.world_size, self.workers = world_size, workers
        if len(self.shards) < world_size * workers:
            self.shards.split()
        count = len(self.shards)
        if count < world_size * workers:
            kind = 'row groups of Parquet files' if self.shards.kind == 'parquet' else 'tar files'
            fitting = count // world_size
            mend = (
                f'set train_dataloader.num_workers={fitting}'
                if fitting
                else f'train with at most {count} processes'
            )
            raise ValueError(
                f'{count} {kind} are fewer than {world_size} processes with {workers} data workers '
                f'each, of which every one needs its own: {mend}, or divide the images into more '
                'shards'
            )

    def begin(self, seed: int, rank: int, places: list[Place], first: int = 0) -> None:
        """Says where the workers of this process begin; items then carry their place.

        Args:
            seed (int): The same for all processes.
            rank (int): Of this process.
            places (list[Place]): One for each worker.
            first (int): Which worker's batch comes first.
        """
        self.seed, self.rank, self.places, self.first = seed, rank, places, first

    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        index, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if workers != self.workers:
            self.divide(self.world_size, workers)
        # A data loader asks its workers in turn, and always the first one first.
        worker = (index + self.first) % workers
        part, parts = self.rank * workers + worker, self.world_size * workers
        place = start_of_pass() if self.places is None else self.places[worker]
        skip = place['skip']
        options = dict(size=self.buffer_size, width=self.open_shards)
        for block, before in blocks(self.shards, part, parts, self.seed, place, **options):
            for offset in range(skip, len(block)):
                number = (before['given'] + offset) * parts + part
                item = self._load(block, offset, number)
                if self.places is not None:
                    item[PLACE] = dict(before, skip=offset + 1, worker=worker)
                yield item
            skip = max(skip - len(block), 0)

    def preview(self, count: int) -> list[dict]:
        """So many images as they enter the pipeline, in turn of a few shards; fewer if there are."""
        few = sorted({len(self.shards) * place // PREVIEWED for place in range(PREVIEWED)})
        turns = Turns(self.shards, few, width=PREVIEWED)
        return [dict(img_bytes=one.data, img_path=one.name) for one in islice(turns, count)]

    def _load(self, block: list[StoredImage], offset: int, number: int) -> dict:
        """One image of a block, or another one in its place where it is broken and passed over."""
        for image in block[offset:] + block[:offset]:
            item = self.pipeline(dict(img_bytes=image.data, img_path=image.name, sample_idx=number))
            if item is not None:
                return item
        raise OSError(
            f'none of {len(block)} images in turn can be read, the last one of them {image.name}: '
            'see the warnings'
        )
