"""The frozen backbone that an evaluation command looks at."""

import argparse
import logging
from contextlib import AbstractContextManager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from torch import Tensor, nn

from dino_mm.checkpoint.infer import normalization, stored_normalization
from dino_mm.checkpoint.loader import build_backbone, read_weights
from dino_mm.models.necks import ClassToken, GlobalAveragePool
from dino_mm.models.necks.pooling import last_output
from dino_mm.models.preprocessors.multi_crop import IMAGENET_MEAN, IMAGENET_STD
from dino_mm.registry import MODELS
from dino_mm.utils.files import fingerprint, weights_fingerprint
from dino_mm.utils.launch import LAUNCHERS, prepare_launch
from dino_mm.utils.precision import best_amp_dtype
from dino_mm.visualization.attention import class_token_attention

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
        description (str): Of the command.
        work_dir (str): Default folder of results.
        without_data_root (str, optional): What is evaluated if no folder is given; by default one
            has to be.
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
    parser.add_argument('--config', help='config whose model.backbone the checkpoint belongs to')
    parser.add_argument('--arch', choices=ARCHITECTURES, help='published architecture instead')
    parser.add_argument('--network', choices=('teacher', 'student'), default='teacher')
    parser.add_argument('--seed', type=int, default=0, help='of an untrained baseline')
    parser.add_argument('--work-dir', default=work_dir, help='folder of results and caches')
    parser.add_argument('--num-workers', type=int, default=2, help='processes that read images')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='features by bfloat16, on GPUs without it by float16, on CPUs without it by float32',
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='share the images')
    return parser


def launch(args: argparse.Namespace) -> None:
    """Starts the process group that ``--launcher`` names, once."""
    prepare_launch(Config(), args.launcher)
    if args.launcher != 'none' and not is_distributed():
        init_dist(args.launcher)


def start(args: argparse.Namespace, std: tuple[float, ...] = IMAGENET_STD) -> 'FrozenBackbone':
    """Starts the processes and loads the backbone that the arguments name.

    Args:
        args (argparse.Namespace): Of :func:`base_parser`.
        std (tuple): Per channel, where neither ``--config`` nor, without it and ``--arch``, the
            config stored in the checkpoint says how images are normalized.

    Raises:
        ValueError: Contradictory or missing options.
    """
    if args.config and args.arch:
        raise ValueError('give --config or --arch, not both')
    launch(args)
    backbone, told = ARCHITECTURES.get(args.arch), {}
    if args.config:
        model = Config.fromfile(args.config).get('model') or {}
        backbone = model.get('backbone')
        if backbone is None:
            raise ValueError(f'--config {args.config} has no model.backbone')
        told = normalization(model)
    if args.checkpoint == RANDOM:
        if backbone is None:
            raise ValueError(f'--checkpoint {RANDOM} needs --config or --arch: of what?')
        torch.manual_seed(args.seed)
        module = MODELS.build(backbone)
        logging.disable(logging.INFO)  # MMEngine logs every tensor
        module.init_weights()
        logging.disable(logging.NOTSET)
    else:
        weights = read_weights(args.checkpoint, args.network)
        module = build_backbone(weights, backbone)
        if backbone is None:
            told = stored_normalization(weights.meta)
    source = dict(
        checkpoint=args.checkpoint,
        network=args.network,
        config=args.config,
        arch=args.arch,
        backbone=dict(backbone or {}),
    )
    if args.checkpoint == RANDOM:
        source |= dict(network=None, seed=args.seed)
    told = dict(mean=IMAGENET_MEAN, std=std) | told
    return FrozenBackbone(module, told, source, best_amp_dtype() if args.amp else None)


class FrozenBackbone:
    """A backbone in evaluation mode on the machine's device, fed with uint8 RGB images.

    Args:
        module (nn.Module): Our vision transformer, or for :meth:`descriptor` any backbone.
        normalization (dict): ``mean``, ``std`` and ``per_image`` of
            :class:`MultiCropDataPreprocessor`.
        source (dict): Where it came from, for the report, with its config as ``backbone``.
        dtype (str | None): ``'bfloat16'`` or ``'float16'`` to compute features in; they are
            returned in float32. ``None`` computes in float32.
    """

    def __init__(
        self, module: nn.Module, normalization: dict, source: dict, dtype: str | None = None
    ) -> None:
        self.device = torch.device(get_device())
        self.module = module.to(self.device).requires_grad_(False)
        self.module.eval()  # by itself: mmpretrain's backbones return None
        preprocessor = dict(type='dino_mm.MultiCropDataPreprocessor', **normalization)
        self.preprocessor = MODELS.build(preprocessor).to(self.device)
        self.fingerprint = fingerprint(
            normalization, source.get('backbone'), weights_fingerprint(module), dtype
        )
        self.dtype = dtype
        self.source = source | dict(
            fingerprint=self.fingerprint[:12], dtype=dtype or 'float32', normalization=normalization
        )

    @property
    def name(self) -> str:
        """For the title of a table."""
        return f'{self.source["arch"] or self.source["config"] or ""} {self.source["checkpoint"]}'

    @property
    def patch_size(self) -> int:
        self._require('patch_size')
        return self.module.patch_size

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to float on the device."""
        return self.preprocessor(dict(inputs=images))['inputs'].float()

    def num_patches(self, images: Tensor) -> int:
        height, width = images.shape[-2:]
        return (height // self.patch_size) * (width // self.patch_size)

    def autocast(self) -> AbstractContextManager:
        dtype = getattr(torch, self.dtype or 'float32')
        return torch.autocast(self.device.type, dtype, enabled=self.dtype is not None)

    def last_layers(self, images: Tensor, n: int) -> list[Tensor]:
        """Normalized tokens of the last ``n`` layers, each (B, 1 + N, C), of normalized images."""
        self._require('get_intermediate_layers')
        with self.autocast():
            return [x.float() for x in self.module.get_intermediate_layers(images, n=n)]

    def tokens(self, images: Tensor) -> Tensor:
        """Normalized tokens of the last layer (B, 1 + N, C) of normalized images."""
        return self.last_layers(images, 1)[0]

    def class_attention(self, images: Tensor) -> Tensor:
        """Last-layer attention of the class token (B, heads, h, w) of uint8 images."""
        self._require('get_attention')
        with self.autocast():
            return class_token_attention(self.module, self.normalize(images)).float()

    def descriptor(self, images: Tensor) -> Tensor:
        """Class token, or without one the mean over positions: (B, C) of normalized images."""
        if hasattr(self.module, 'get_intermediate_layers'):
            return self.tokens(images)[:, 0]
        with self.autocast():
            out = last_output(self.module(images)).float()
        return (GlobalAveragePool() if out.ndim == 4 else ClassToken())(out)

    def _require(self, name: str) -> None:
        if not hasattr(self.module, name):
            raise TypeError(
                f'{type(self.module).__name__} has no {name}: this evaluation is made for vision '
                'transformers, set model.backbone.type to VisionTransformer'
            )
