"""Writes a backbone alone, with where it comes from, in our, mmpretrain's or timm's layout."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dino_mm.models import VisionTransformer
from dino_mm.utils.files import plain, save_atomically
from dino_mm.version import __version__

from .infer import describe_vit, stored_backbone
from .layouts import ASIDE, to_mmpretrain, to_timm
from .loader import (
    NETWORKS,
    Weights,
    backbone_config,
    build_backbone,
    read_weights,
)

LAYOUTS = ('dino_mm', 'mmpretrain', 'timm')
#: Largest difference of features that a converted layout may show.
TOLERANCE = 1e-4


def _mmpretrain_twin(config: Mapping[str, Any]) -> nn.Module:
    """Builds mmpretrain's ViT of the architecture of one of ours; it returns all tokens."""
    from mmpretrain.models import VisionTransformer as MMPretrainViT

    arch = config['arch']
    return MMPretrainViT(
        arch=dict(arch, feedforward_channels=round(arch['embed_dims'] * config['mlp_ratio'])),
        img_size=tuple(config['img_size']),
        patch_size=config['patch_size'],
        in_channels=config['in_channels'],
        qkv_bias=config['qkv_bias'],
        layer_scale_init_value=config['layer_scale'],
        out_type='raw',
    )


def _timm_twin(config: Mapping[str, Any]) -> nn.Module:
    """Builds timm's ViT of the architecture of one of ours, without a classifier."""
    try:
        from timm.models.vision_transformer import VisionTransformer as TimmViT
    except ImportError as error:
        raise ImportError('the timm layout is checked with timm: pip install timm') from error
    return TimmViT(
        img_size=tuple(config['img_size']),
        patch_size=config['patch_size'],
        in_chans=config['in_channels'],
        embed_dim=config['arch']['embed_dims'],
        depth=config['arch']['num_layers'],
        num_heads=config['arch']['num_heads'],
        mlp_ratio=config['mlp_ratio'],
        qkv_bias=config['qkv_bias'],
        init_values=config['layer_scale'] or None,
        reg_tokens=config['num_registers'],
        no_embed_class=config['num_registers'] > 0,
        num_classes=0,
    )


@torch.no_grad()
def verify(backbone: VisionTransformer, state: Mapping[str, Tensor], layout: str) -> float:
    """Returns the largest difference of all tokens between our ViT and another library's.

    The other one has the weights ``state``. Both see the same random image of the size that the
    position embedding is made for.

    Raises:
        ValueError: The difference is beyond :data:`TOLERANCE`.
    """
    config = describe_vit(backbone)
    twin = _mmpretrain_twin(config) if layout == 'mmpretrain' else _timm_twin(config)
    twin.load_state_dict(state)
    training = backbone.training
    backbone.eval()
    twin.eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, config['in_channels'], *config['img_size'], generator=generator)
    image = image.to(backbone.pos_embed.device)
    ours = backbone.get_intermediate_layers(image)[0]  # (1, T, C)
    twin.to(image.device)
    theirs = twin(image)[0] if layout == 'mmpretrain' else twin.forward_features(image)
    backbone.train(training)
    difference = float((ours - theirs).abs().max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f'features in the {layout} layout differ by {difference:.2e}, more than {TOLERANCE:.0e}'
        )
    return difference


def portable(value: Tensor) -> Tensor:
    """Returns a copy on the CPU, in float32 where a teacher was kept in half precision."""
    value = value.detach().cpu().clone()
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def export_backbone(
    backbone: nn.Module, path: str | os.PathLike, meta: dict | None = None, layout: str = 'dino_mm'
) -> float | None:
    """Writes ``{'state_dict', 'meta'}`` of plain types only, in one step.

    Args:
        backbone (nn.Module): Any backbone for ``'dino_mm'``, our ViT for the other layouts.
        path (str): The file to write.
        meta (dict, optional): Provenance, such as ``config`` (text), ``epoch``, ``iter``, ``knn``,
            ``source``, ``network``. The version of dino_mm and ``backbone``, the config that
            rebuilds the backbone, are added; :func:`load_backbone` reads the latter. Of other
            backbones than our ViT it is known if ``config`` is given.
        layout (str): ``'dino_mm'`` (the backbone's own keys, for our ViT the published ones),
            ``'mmpretrain'`` (``backbone.`` before mmpretrain's keys, for its ``Pretrained``
            initializer and classifiers) or ``'timm'``.

    Returns:
        float | None: The largest difference of features between the backbone and the other library's
        model with the written weights; ``None`` for ``'dino_mm'``.

    Raises:
        ValueError: The layout cannot hold the backbone, or features differ.
    """
    if layout not in LAYOUTS:
        raise ValueError(f'layout must be one of {LAYOUTS}, got {layout!r}')
    ours = type(backbone) is VisionTransformer
    if layout != 'dino_mm' and not ours:
        raise ValueError(f'only dino_mm.VisionTransformer converts, not {type(backbone).__name__}')
    meta = dict(meta or {}, dino_mm_version=__version__, layout=layout)
    config = describe_vit(backbone) if ours else stored_backbone(meta)
    if config:
        meta['backbone'] = config
    state = {key: portable(value) for key, value in backbone.state_dict().items()}
    difference = None
    if layout != 'dino_mm':
        state = {key: value for key, value in state.items() if not ASIDE.match(key)}
        state = to_mmpretrain(state) if layout == 'mmpretrain' else to_timm(state)
        difference = verify(backbone, state, layout)
    if layout == 'mmpretrain':
        state = {f'backbone.{key}': value for key, value in state.items()}
    save_atomically(dict(state_dict=state, meta=plain(meta)), path)
    return difference


def provenance(weights: Weights) -> dict[str, Any]:
    """Returns what a checkpoint tells of its origin, for the ``meta`` of :func:`export_backbone`."""
    known = ['epoch', 'iter', 'args', 'experiment_name', 'time', 'mmengine_version']
    if weights.network != 'student':  # the logged one is the teacher's
        known.append('knn')
    facts = {key: weights.meta[key] for key in known if key in weights.meta}
    config = weights.meta.get('config') or weights.meta.get('cfg')
    if config:
        facts['config'] = config
    if weights.network:
        facts['network'] = weights.network
    # an export of an export keeps the name of the run's own file
    return dict(facts, source=weights.meta.get('source', Path(weights.source).name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: exports the backbone of any checkpoint."""
    parser = argparse.ArgumentParser(description='Export a plain backbone from a checkpoint.')
    parser.add_argument('checkpoint', help='checkpoint of any layout, or a published name')
    parser.add_argument('out', help='file to write')
    parser.add_argument('--network', choices=NETWORKS, help='the teacher by default')
    parser.add_argument('--format', choices=LAYOUTS, default='dino_mm', help='key layout')
    args = parser.parse_args(arguments)
    weights = read_weights(args.checkpoint, args.network)
    backbone = build_backbone(weights)
    meta = provenance(weights) | dict(backbone=backbone_config(weights))
    difference = export_backbone(backbone, args.out, meta, args.format)
    if difference is not None:
        print(f'largest difference of features to {args.format}: {difference:.2e}')
    print(f'{args.out}: {type(backbone).__name__}, {args.format} layout, from {meta["source"]}')
