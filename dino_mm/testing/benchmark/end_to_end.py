"""Speed of training, from image files to updated weights, through the Runner."""

import math
import tempfile
import uuid
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader, RandomSampler

from dino_mm.models import VisionTransformer
from dino_mm.registry import LOOPS
from dino_mm.utils.launch import enable_amp, fit_loaders

from . import harness
from .pipeline import batches_of, plain_dataset, rate
from .plain_model import PlainDINO, PlainHead, PlainNetwork, PlainViT

CONFIG = Path(__file__).parents[3] / 'configs' / 'dino_vit-s16_8xb64.py'


@LOOPS.register_module()
class StretchLoop(EpochBasedTrainLoop):
    """Training that returns after its set-up and goes on stretch by stretch."""

    def run(self) -> torch.nn.Module:
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        return self.runner.model

    def step(self, batch: dict) -> None:
        """One iteration with its hooks."""
        self.run_iter(self.iter, batch)


def our_config(args: Namespace, work_dir: str, **changes) -> Config:
    """The config as it stands, on ``args.folder``.

    Args:
        args (Namespace): The command line.
        work_dir (str): Folder of the run's log.
        changes: ``amp``, and what ``cfg.merge_from_dict`` takes.
    """
    cfg = Config.fromfile(args.config)
    amp = changes.pop('amp', True)
    cfg.merge_from_dict(changes)
    arch = VisionTransformer.arch_settings[args.arch]
    cfg.model.backbone.arch = args.arch
    cfg.model.head.update(in_dim=arch['embed_dims'], out_dim=args.out_dim)
    loader = cfg.train_dataloader
    loader.update(batch_size=args.batch_size, num_workers=args.workers, persistent_workers=False)
    loader.dataset.data_root = args.folder
    loader.dataset.pipeline[-1].num_local = args.num_local
    # Workers fetch two batches ahead.
    images = args.batch_size * (args.iterations + 3 * args.workers)
    times = math.ceil(images / args.found)
    loader.dataset = dict(type='RepeatDataset', dataset=loader.dataset, times=times)
    cfg.train_cfg = dict(type='StretchLoop', max_epochs=cfg.train_cfg.max_epochs)
    cfg.update(work_dir=work_dir, experiment_name=uuid.uuid4().hex, log_level='WARNING')
    cfg.default_hooks.pop('interrupt', None)  # Ctrl-C ends a benchmark without a checkpoint
    if amp:
        enable_amp(cfg)
    else:
        cfg.optim_wrapper.dtype = None
    fit_loaders(cfg)
    return cfg


def stretch(loader: DataLoader, step: Callable, args: Namespace) -> harness.Variant:
    """Images per second over ``args.iterations`` steps."""

    def call() -> float:
        with batches_of(loader, args.iterations) as batches:
            return rate(batches, step, args.iterations * args.batch_size)

    return call


def ours(args: Namespace, work_dir: str, **changes) -> harness.Variant:
    """Training through the Runner with the config's own hooks."""
    runner = Runner.from_cfg(our_config(args, work_dir, **changes))
    runner.train()
    return stretch(runner.train_dataloader, runner.train_loop.step, args)


def plain(args: Namespace, reference: str | None = None) -> harness.Variant:
    """The published algorithm, plain; with the published code's own crops where it is given."""
    dataset = plain_dataset(args.folder, args.num_local, reference)
    arch = VisionTransformer.arch_settings[args.arch]
    dim, depth, heads = arch['embed_dims'], arch['num_layers'], arch['num_heads']

    def network(drop_path: float) -> PlainNetwork:
        backbone = PlainViT(dim, depth, heads, 16, 224, drop_path)
        return PlainNetwork(backbone, PlainHead(dim, 2048, 256, args.out_dim)).to(args.device)

    model = PlainDINO(network(0.1), network(0.0), args.out_dim)
    loader = DataLoader(
        dataset,
        args.batch_size,
        sampler=RandomSampler(dataset, replacement=True, num_samples=2**40),
        num_workers=args.workers,
        pin_memory=torch.cuda.is_available(),
    )

    def step(crops: list[torch.Tensor]) -> None:
        model.step([crop.to(args.device, non_blocking=True) for crop in crops])

    return stretch(loader, step, args)


def main(arguments: Sequence[str] | None = None) -> dict:
    parser = harness.parser(
        'Images per second of training, from files to updated weights: `ours` as the config has '
        'it with --amp, through the Runner and all its hooks, and `plain` in float32. Memory is '
        'counted above weights and moments.'
    )
    parser.add_argument('folder', help='images, at any depth')
    parser.add_argument('--config', default=str(CONFIG), help='of a vision transformer')
    parser.add_argument('--arch', choices=('tiny', 'small', 'base'), help='(small; --short: tiny)')
    parser.add_argument('--batch-size', type=int, help='(GPU: 64, CPU: 8, --short: 2)')
    parser.add_argument('--num-local', type=int, default=8, help='local crops')
    parser.add_argument('--out-dim', type=int, help='prototypes (65,536; --short: 4,096)')
    parser.add_argument('--workers', type=int, help='loader processes (default: one per core)')
    parser.add_argument('--iterations', type=int, help='per call (GPU: 50, CPU: 4, --short: 2)')
    args = harness.parse(parser, arguments)
    if torch.device(args.device).type != torch.device(get_device()).type:
        raise ValueError(
            f'--device {args.device}: the Runner trains on {get_device()}; hide GPUs by '
            'CUDA_VISIBLE_DEVICES=""'
        )
    cuda = torch.device(args.device).type == 'cuda'
    args.arch = args.arch or ('tiny' if args.short else 'small')
    args.batch_size = args.batch_size or (2 if args.short else 64 if cuda else 8)
    args.out_dim = args.out_dim or (4096 if args.short else 65536)
    args.workers = args.workers or torch.multiprocessing.cpu_count()
    args.iterations = args.iterations or (2 if args.short else 50 if cuda else 4)
    args.found = len(plain_dataset(args.folder))
    pipeline = 'train_dataloader.dataset.pipeline'

    def backend(name: str) -> dict:
        return {f'{pipeline}.1.backend': name, f'{pipeline}.0.as_tensor': name != 'pillow'}

    changes = dict(ours={})
    if not args.short:
        changes |= dict(
            ours_float32=dict(amp=False),
            ours_pillow=backend('pillow'),
            ours_opencv=backend('opencv'),
            ours_device=backend('device'),
            ours_decode=backend('decode'),
            ours_compiled={
                'default_hooks.compile': dict(type='CompileHook'),
                'model.data_preprocessor': dict(compile=True),
            },
        )
    with tempfile.TemporaryDirectory() as folder:
        variants = {
            name: ours(args, f'{folder}/{name}', **change) for name, change in changes.items()
        }
        variants['plain'] = plain(args)
        if args.reference:
            variants['reference_crops'] = plain(args, args.reference)
        result = harness.measure('end_to_end', variants, args.device, args.repeats, unit='images/s')
    return harness.finish(result, args.out)
