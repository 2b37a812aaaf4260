"""How every evaluation command begins: its options and its backbone."""

import argparse
import logging

import torch
from mmengine.config import Config

from dino_mm.checkpoint.infer import choose_normalization
from dino_mm.checkpoint.loader import build_backbone, read_weights
from dino_mm.models.preprocessors.multi_crop import IMAGENET_MEAN, IMAGENET_STD
from dino_mm.registry import MODELS
from dino_mm.utils.launch import LAUNCHERS
from dino_mm.utils.precision import best_amp_dtype
from dino_mm.utils.renamed import warn_renamed

from .backbone import FrozenBackbone

#: Published names (hubconf of the reference) of plain vision transformers.
ARCHITECTURES = {
    'dino_vits16': dict(type='dino_mm.VisionTransformer', arch='small', patch_size=16),
    'dino_vits8': dict(type='dino_mm.VisionTransformer', arch='small', patch_size=8),
    'dino_vitb16': dict(type='dino_mm.VisionTransformer', arch='base', patch_size=16),
    'dino_vitb8': dict(type='dino_mm.VisionTransformer', arch='base', patch_size=8),
}
RANDOM = 'random'


def base_parser(
    description: str, work_dir: str, without_data_root: str | None = None
) -> argparse.ArgumentParser:
    """A parser with the options that all evaluation commands share.

    Args:
        description (str): What the command does.
        work_dir (str): Default folder of results.
        without_data_root (str, optional): What is evaluated if no folder is given. By default the
            folder is required.
    """
    parser = argparse.ArgumentParser(description=description)
    text = 'folder of the data set'
    if without_data_root is None:
        parser.add_argument('data_root', help=text)
    else:
        parser.add_argument('data_root', nargs='?', help=f'{text}; without it {without_data_root}')
    parser.add_argument(
        '--checkpoint',
        required=True,
        help=f"checkpoint file, published name (dino_vits16), or '{RANDOM}': an untrained baseline",
    )
    parser.add_argument('--config', help='config with the model.backbone of the checkpoint')
    parser.add_argument(
        '--arch', choices=ARCHITECTURES, help='published architecture, instead of --config'
    )
    parser.add_argument('--network', choices=('teacher', 'student'), help='of the checkpoint')
    parser.add_argument('--seed', type=int, default=0, help='seed of an untrained backbone')
    parser.add_argument(
        '--work-dir', default=work_dir, help='folder of results and stored features'
    )
    parser.add_argument('--num-workers', type=int, default=2, help='processes that read images')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='compute features in bfloat16; without it in float16 on GPUs and in float32 on CPUs',
    )
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='what started the processes that share the work',
    )
    return parser


class OldOption(argparse.Action):
    """The old spelling of an option, which works for one release and is in no help text."""

    def __init__(self, option_strings: list[str], dest: str, **kwargs) -> None:
        hidden = dict(help=argparse.SUPPRESS, default=argparse.SUPPRESS)
        super().__init__(option_strings, dest, **kwargs | hidden)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        warn_renamed(option_string, f'--{self.dest.replace("_", "-")}')
        setattr(namespace, self.dest, values)


def load_frozen_backbone(
    args: argparse.Namespace,
    checkpoint: str | None = None,
    std: tuple[float, ...] = IMAGENET_STD,
) -> FrozenBackbone:
    """The backbone that the options name.

    Args:
        args (argparse.Namespace): Options of :func:`base_parser`.
        checkpoint (str, optional): Is loaded instead of ``--checkpoint``.
        std (tuple): Standard deviation per channel, which is used if neither ``--config`` nor the
            config stored in the checkpoint says how images are normalized.

    Raises:
        ValueError: Options that contradict each other, or options that are missing.
    """
    if args.config and args.arch:
        raise ValueError('give --config or --arch, not both')
    checkpoint = checkpoint or args.checkpoint
    model = Config.fromfile(args.config).get('model') or {} if args.config else {}
    config = model.get('backbone') if args.config else ARCHITECTURES.get(args.arch)
    if args.config and config is None:
        raise ValueError(f'--config {args.config} has no model.backbone')
    source = dict(
        checkpoint=checkpoint,
        network=args.network,
        config=args.config,
        arch=args.arch,
        backbone=dict(config or {}),
    )
    if checkpoint == RANDOM:
        if config is None:
            raise ValueError(
                f'--checkpoint {RANDOM} needs an architecture: give --config or --arch'
            )
        module, meta = untrained_backbone(config, args.seed), {}
        source |= dict(network=None, seed=args.seed)
    else:
        weights = read_weights(checkpoint, args.network)
        module, meta = build_backbone(weights, config), weights.meta
    told, _ = choose_normalization(model, meta)
    normalization = dict(mean=IMAGENET_MEAN, std=std) | told
    return FrozenBackbone(module, normalization, source, best_amp_dtype() if args.amp else None)


def untrained_backbone(config: dict, seed: int) -> torch.nn.Module:
    """Builds a backbone with random weights, initialized as its config says."""
    torch.manual_seed(seed)
    module = MODELS.build(config)
    logging.disable(logging.INFO)  # MMEngine would log every tensor
    module.init_weights()
    logging.disable(logging.NOTSET)
    return module
