"""Speed of the data pipeline, from image files to crops."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, default_collate

from dino_mm.datasets import UnlabelledImageFolder
from dino_mm.models import MultiCropDataPreprocessor

from . import harness
from .plain_transform import PlainMultiCrop, load_plain


class PlainDataset(Dataset):
    """Files through a transform of PIL images, as users write it."""

    def __init__(self, paths: Sequence[str], transform: Callable) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        return self.transform(load_plain(self.paths[index]))


def our_dataset(
    folder: str, backend: str = 'auto', num_local: int = 8, as_tensor: bool = True
) -> UnlabelledImageFolder:
    """Our data set as the configs build it."""
    return UnlabelledImageFolder(
        folder,
        pipeline=[
            dict(type='dino_mm.LoadImage', as_tensor=as_tensor),
            dict(type='dino_mm.DINOMultiCrop', backend=backend, num_local=num_local),
        ],
    )


def plain_dataset(folder: str, num_local: int = 8, reference: str | None = None) -> PlainDataset:
    """The same files through the plain transform, or the published one of ``reference``."""
    files = our_dataset(folder)
    paths = [files.get_data_info(index)['img_path'] for index in range(len(files))]
    if reference is None:
        return PlainDataset(paths, PlainMultiCrop(num_local))
    published = harness.import_reference(reference, 'main_dino').DataAugmentationDINO
    return PlainDataset(paths, published((0.4, 1.0), (0.05, 0.4), num_local))


def one_core(
    dataset: Dataset, indices: Sequence[int], finish: Callable | None = None
) -> harness.Variant:
    """What a worker does with each image, in this process; then ``finish`` on its own batch."""

    def call() -> None:
        for index in indices:
            sample = dataset[index]
            if finish is not None:
                finish(default_collate([sample]))

    return call


def _single_thread(worker: int) -> None:
    cv2.setNumThreads(0)


@contextmanager
def batches_of(loader: DataLoader, count: int) -> Iterator[Iterable]:
    """``count`` batches, once all workers are busy; none works on before or after the block."""
    stream = iter(loader)
    for _ in islice(stream, loader.num_workers):
        pass
    yield islice(stream, count)


def from_loader(
    dataset: Dataset, use: Callable, workers: int, batch_size: int, batches: int
) -> harness.Variant:
    """Images per second that worker processes deliver and ``use`` takes to the device."""
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=RandomSampler(dataset, replacement=True, num_samples=2**40),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_single_thread,
    )

    def call() -> float:
        with batches_of(loader, batches) as stream:
            return rate(stream, use, batches * batch_size)

    return call


def rate(batches: Iterable, use: Callable, images: int) -> float:
    """Images per second until ``use`` is done with all batches on the device."""
    start = time.perf_counter()
    for batch in batches:
        use(batch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return images / (time.perf_counter() - start)


def resident(
    dataset: Dataset, preprocessor: MultiCropDataPreprocessor, batch_size: int
) -> harness.Variant:
    """The rest of the augmentation of one batch on the preprocessor's device."""
    batch = default_collate([dataset[index % len(dataset)] for index in range(batch_size)])

    return lambda: rate([batch], preprocessor, batch_size)


def build_variants(args: Namespace) -> tuple[dict[str, harness.Variant], dict[str, str]]:
    """Variants by name, and what some are held against instead of ``plain``."""
    folder = args.folder
    plain = plain_dataset(folder, args.num_local)
    indices = np.linspace(0, len(plain) - 1, args.images).astype(int).tolist()

    def ours(backend: str = 'auto', as_tensor: bool = True) -> UnlabelledImageFolder:
        return our_dataset(folder, backend, args.num_local, as_tensor)

    on_cpu = MultiCropDataPreprocessor()
    variants = dict(
        ours=one_core(ours('device'), indices),
        cpu_only=one_core(ours('opencv'), indices, on_cpu),
        plain=one_core(plain, indices),
    )
    against: dict[str, str] = {}
    if args.reference:
        published = plain_dataset(folder, args.num_local, args.reference)
        variants['reference'] = one_core(published, indices)
    if args.short:
        return variants, against
    variants |= dict(
        ours_pillow_decoder=one_core(ours('device', as_tensor=False), indices),
        ours_decode=one_core(ours('decode'), indices),
        cpu_only_pillow_decoder=one_core(ours('opencv', as_tensor=False), indices, on_cpu),
        cpu_only_pillow=one_core(ours('pillow', as_tensor=False), indices, on_cpu),
    )
    device = args.device
    eager = MultiCropDataPreprocessor().to(device)
    compiled = MultiCropDataPreprocessor(compile=True).to(device)
    variants |= dict(
        device_photometric=resident(ours('device'), eager, args.batch_size),
        device_photometric_compiled=resident(ours('device'), compiled, args.batch_size),
        device_all=resident(ours('decode'), eager, args.batch_size),
        device_all_compiled=resident(ours('decode'), compiled, args.batch_size),
    )
    against |= {name: 'device_photometric' for name in variants if name.startswith('device_')}
    loader = dict(workers=args.workers, batch_size=args.batch_size, batches=args.batches)

    def move(batch: list[torch.Tensor]) -> list[torch.Tensor]:
        return [crop.to(device, non_blocking=True) for crop in batch]

    variants |= dict(
        loader_ours=from_loader(ours(), eager, **loader),
        loader_ours_pillow=from_loader(ours('pillow', as_tensor=False), eager, **loader),
        loader_plain=from_loader(plain, move, **loader),
    )
    against |= dict(loader_ours='loader_plain', loader_ours_pillow='loader_plain')
    against |= dict(loader_plain='loader_plain')
    return variants, against


def main(arguments: Sequence[str] | None = None) -> dict:
    parser = harness.parser(
        'Images per second from files to crops. One core: `plain` to normalized crops, `ours` to '
        'the uint8 crops that a worker hands over, `cpu_only` to normalized crops; `loader_*` with '
        'workers, to normalized crops on the device; `device_*` what is left to the device.'
    )
    parser.add_argument('folder', help='images, at any depth')
    parser.add_argument('--images', type=int, default=30, help='per call on one core')
    parser.add_argument('--num-local', type=int, default=8, help='local crops')
    parser.add_argument('--workers', type=int, help='of the loader (default: one per core)')
    parser.add_argument('--batch-size', type=int, help='of loader and device (GPU: 64, CPU: 8)')
    parser.add_argument('--batches', type=int, default=10, help='per call of the loader')
    args = harness.parse(parser, arguments, repeats=(15, 7))  # short calls
    cuda = torch.device(args.device).type == 'cuda'
    args.batch_size = args.batch_size or (64 if cuda else 8)
    args.workers = args.workers or torch.multiprocessing.cpu_count()
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(args.threads or 1)  # as in a worker
    cv2.setNumThreads(0)
    try:
        variants, against = build_variants(args)
        result = harness.measure(
            'pipeline',
            variants,
            args.device,
            args.repeats,
            args.images,
            against=against,
            compare_memory=False,  # Pillow's and OpenCV's images are not seen
        )
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    return harness.finish(result, args.out)
