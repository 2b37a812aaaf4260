"""One loader for every checkpoint: backbones into modules, with a report."""

import argparse
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from dino_mm.models.backbones.vision_transformer import VisionTransformer, interpolate_pos_embed
from dino_mm.registry import MODELS

from .files import CheckpointError, Log, read_checkpoint
from .infer import INFER, stored_backbone
from .layouts import ASIDE, WRAPPERS, State, layout_of, without

NETWORKS = ('teacher', 'student')


@dataclass
class Weights:
    """One backbone as a checkpoint holds it.

    Attributes:
        source: The checkpoint.
        state: Its tensors by their own names, below the backbone.
        network: ``'teacher'``, ``'student'``, or ``''`` where the file holds a single one.
        meta: Plain facts stored beside the tensors.
        aside: Tensors of the network that are no backbone (heads).
    """

    source: str
    state: State
    network: str
    meta: dict[str, Any]
    aside: list[str]

    def published(self) -> State:
        """The state by the published names.

        Raises:
            CheckpointError: The names are of no known family.
        """
        state = without(self.state, WRAPPERS)
        state = {key: value for key, value in state.items() if not ASIDE.match(key)}
        layout = layout_of(state)
        if layout is None:
            raise CheckpointError(
                f'{self.source}: keys like {_some(state)} are of no known backbone. Known are '
                'DINO, DINOv2, timm, mmpretrain and Hugging Face ViTs, ResNets and XCiTs; another '
                'one loads into a module with the same keys: pass its config as '
                'backbone=dict(type=...)'
            )
        try:
            return layout.to_published(state)
        except CheckpointError as error:
            raise CheckpointError(f'{self.source}: {error}') from None


@dataclass
class LoadReport:
    """What came of loading a checkpoint into a module.

    Attributes:
        source: The checkpoint and network.
        module: Class of the module.
        layout: Key layout of the checkpoint.
        matched: Keys of the module that were loaded.
        resized: Those among them that were resized (position embeddings), with their sizes.
        missing: Keys of the module that keep what they had.
        unexpected: Keys of the checkpoint without a place in the module.
        aside: Keys of the checkpoint that are no part of a backbone (heads, mask token).
    """

    source: str
    module: str
    layout: str
    matched: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing)
        parts = [
            f'{self.source} ({self.layout}) into {self.module}: '
            f'{len(self.matched)} of {total} tensors loaded'
        ]
        for name, keys in (
            ('resized', self.resized),
            ('left as they were', self.missing),
            ('without a place', self.unexpected),
            ('set aside', self.aside),
        ):
            if keys:
                parts.append(f'{len(keys)} {name}: {_some(keys)}')
        return '; '.join(parts)


def _some(keys: Mapping | list[str], limit: int = 4) -> str:
    names = list(keys)
    return ', '.join(names[:limit]) + (', ...' if len(names) > limit else '')


def read_weights(checkpoint: str | os.PathLike, network: str = 'teacher') -> Weights:
    """The backbone of one network in a checkpoint of any layout.

    Args:
        checkpoint (str): See :func:`read_checkpoint`.
        network (str): ``'teacher'`` or ``'student'``, where the file holds both. A file with a
            single network, such as an exported backbone, answers to ``'teacher'``, the default,
            and to ``'student'`` only if it says that it is one.
    """
    if network not in NETWORKS:
        raise ValueError(f"network must be 'teacher' or 'student', got {network!r}")
    source, content = os.fspath(checkpoint), read_checkpoint(checkpoint)
    meta = dict(content.get('meta') or {}) if isinstance(content.get('meta'), Mapping) else {}
    state: Mapping = content
    for wrapper in ('state_dict', 'model'):
        if isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    state = {key: value for key, value in state.items() if isinstance(key, str)}
    held = [n for n in NETWORKS if isinstance(state.get(n), Mapping)]
    if held:
        networks = {name: state[name] for name in held}
    else:
        networks = {
            name: without(state, [f'{name}.'])
            for name in NETWORKS
            if any(key.startswith(f'{name}.') for key in state)
        }
    chosen = network if networks else meta.get('network', '')
    if not networks and network in ('teacher', chosen):
        networks = {network: state}
    if network not in networks:
        held = list(networks) or [chosen or 'a single network']
        raise CheckpointError(f'{source} holds no {network}, only {" and ".join(held)}')

    tensors = {k: v for k, v in networks[network].items() if isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(f'{source} holds no weights: its entries are {_some(content, 10)}')
    for prefix in ('module.', '_orig_mod.'):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    backbone = without(tensors, ['backbone.'])
    aside = []
    if len(backbone) < len(tensors):
        aside = [key for key in tensors if not key.startswith('backbone.')]
    meta.update(_facts(content))
    return Weights(source, backbone, chosen, meta, aside)


def _facts(content: Mapping) -> dict[str, Any]:
    """Epoch, options and last k-NN results of a training checkpoint."""
    facts = {}
    if isinstance(content.get('args'), argparse.Namespace):  # published full files
        facts = dict(epoch=content.get('epoch'), args=vars(content['args']))
    hub = content.get('message_hub')
    logs = hub.get('log_scalars', {}) if isinstance(hub, Mapping) else {}
    knn = {
        key.rsplit('/', 1)[-1]: float(log.values[-1])
        for key, log in logs.items()
        if 'knn' in key and isinstance(log, Log) and log.values is not None and len(log.values)
    }
    return facts | ({'knn': knn} if knn else {})


def load_state(checkpoint: str | os.PathLike, network: str = 'teacher') -> State:
    """A backbone's state by the published names, whatever the layout of the file.

    Args:
        checkpoint (str): See :func:`read_checkpoint`.
        network (str): See :func:`read_weights`.

    Raises:
        CheckpointError: The file cannot be used; the message says why and what to do.
    """
    return read_weights(checkpoint, network).published()


def load_into(
    module: nn.Module,
    checkpoint: str | os.PathLike | Weights,
    network: str = 'teacher',
    strict: bool = True,
) -> LoadReport:
    """Loads a checkpoint of any layout into a backbone and logs what was done.

    Position embeddings are resized to the module's grid; nothing else is. A checkpoint from which
    nothing fits, and tensors of other shapes, are errors in any case.

    Args:
        module (nn.Module): Our ViT, mmpretrain's ViT, ResNet or XCiT, or any module whose keys
            are the checkpoint's.
        checkpoint (str): See :func:`read_checkpoint`; or :class:`Weights` that were read.
        network (str): See :func:`read_weights`.
        strict (bool): Refuse checkpoints with keys too many or too few.

    Raises:
        CheckpointError: See above; the message lists keys and shapes.
    """
    if not isinstance(checkpoint, Weights):
        checkpoint = read_weights(checkpoint, network)
    return _load(module, checkpoint, strict)


def load_backbone(
    checkpoint: str | os.PathLike, backbone: dict | None = None, network: str = 'teacher'
) -> nn.Module:
    """Builds the backbone of a checkpoint, loads it and returns it in evaluation mode.

    Args:
        checkpoint (str): See :func:`read_checkpoint`.
        backbone (dict, optional): A whole config (with ``type``), or arguments that change what
            is known of the backbone, such as ``dict(out_type='featmap')``. That is the config
            stored in the file (ours, MMEngine's) or what its tensors tell. ViTs become
            :class:`VisionTransformer`, ResNets and XCiTs mmpretrain's.
        network (str): See :func:`read_weights`.
    """
    return build_backbone(read_weights(checkpoint, network), backbone)


def build_backbone(weights: Weights, backbone: dict | None = None) -> nn.Module:
    """The backbone of weights that were read; see :func:`load_backbone`."""
    changes = dict(backbone or {})
    config = changes if 'type' in changes else backbone_config(weights, changes)
    module = MODELS.build(config)
    _load(module, weights, strict=True)
    module.eval()  # returns None in mmpretrain
    return module


def backbone_config(weights: Weights, changes: Mapping[str, Any] | None = None) -> dict:
    """The config of a checkpoint's backbone: as stored with it, else from its tensors."""
    changes = dict(changes or {})
    stored = stored_backbone(weights.meta)
    if stored and stored['type'] == 'dino_mm.VisionTransformer':
        return stored | changes
    state = without(weights.state, WRAPPERS)
    layout = layout_of(state)
    if layout is None or (layout.family != 'vit' and stored):
        if stored is None:
            weights.published()  # raises
        return stored | changes
    arch = stored.get('arch') if stored else None
    if isinstance(arch, dict) and 'num_heads' in arch:
        changes.setdefault('arch', arch)
    try:
        return INFER[layout.family](weights.published(), changes)
    except CheckpointError as error:
        raise CheckpointError(f'{weights.source}: {error}') from None


def _load(module: nn.Module, weights: Weights, strict: bool) -> LoadReport:
    target = module.state_dict()
    state, aside = weights.state, list(weights.aside)
    layout = layout_of(without(state, WRAPPERS))
    if state.keys() != target.keys() and layout is not None:
        aside += [k for k in without(state, WRAPPERS) if ASIDE.match(k)]
        state = weights.published()
        wanted = layout_of(target)
        if wanted and wanted.family == layout.family and wanted.from_published:
            state = wanted.from_published(state)
    network = f' [{weights.network}]' if weights.network else ''
    report = LoadReport(
        source=weights.source + network,
        module=type(module).__name__,
        layout=layout.name if layout else 'its own keys',
        aside=aside,
    )
    state = _resize_position(module, state, target, weights.meta, report)
    report.matched = [key for key in target if key in state]
    # files of old PyTorch versions lack these counters, and nothing reads them
    report.missing = [k for k in target if k not in state and not k.endswith('num_batches_tracked')]
    report.unexpected = [key for key in state if key not in target]
    _check(report, state, target, strict)
    module.load_state_dict({key: state[key] for key in report.matched}, strict=False)
    print_log(str(report), 'current', 30 if report.missing or report.unexpected else 20)
    return report


def _check(report: LoadReport, state: State, target: State, strict: bool) -> None:
    if not report.matched:
        raise CheckpointError(
            f'{report.source}: nothing of it fits {report.module}, it would stay random. The '
            f'checkpoint ({report.layout}) has keys like {_some(state)}, the module {_some(target)}'
        )
    shapes = [
        f'{key} {tuple(state[key].shape)} for {tuple(target[key].shape)}'
        for key in report.matched
        if state[key].shape != target[key].shape
    ]
    if shapes:
        raise CheckpointError(
            f'{report.source} does not fit {report.module}: {_some(shapes)}. Give the backbone '
            'the architecture and patch size of the checkpoint; only position embeddings are '
            'resized'
        )
    if strict and (report.missing or report.unexpected):
        raise CheckpointError(
            f'{report}. Give the backbone the architecture of the checkpoint, or load with '
            'strict=False to leave the rest as it is'
        )


def _resize_position(
    module: nn.Module, state: State, target: State, meta: Mapping[str, Any], report: LoadReport
) -> State:
    """The state with ``pos_embed`` (1, 1 + N, C) for the grid of the module."""
    # mmpretrain names its grid otherwise
    grid = getattr(module, 'grid', None) or getattr(module, 'patch_resolution', None)
    position, wanted = state.get('pos_embed'), target.get('pos_embed')
    if grid is None or position is None or wanted is None or position.shape == wanted.shape:
        return state
    source = _grid(position.shape[1] - 1, meta)
    if source is None or position.shape[-1] != wanted.shape[-1]:
        return state  # a mismatch of shapes, reported as such
    mode = module.interpolate_mode if isinstance(module, VisionTransformer) else 'exact'
    resized = interpolate_pos_embed(position[:, 1:].float(), source, tuple(grid), mode)
    report.resized.append(f'pos_embed {source[0]}x{source[1]} -> {grid[0]}x{grid[1]}')
    return state | {'pos_embed': torch.cat([position[:, :1].float(), resized], dim=1)}


def _grid(patches: int, meta: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of so many patches: as stored with the checkpoint, else a square."""
    stored = stored_backbone(meta) or {}
    size = stored.get('img_size')
    if isinstance(size, (list, tuple)) and stored.get('patch_size'):
        rows, columns = (side // stored['patch_size'] for side in size)
        if rows * columns == patches:
            return rows, columns
    side = math.isqrt(patches)
    return (side, side) if side**2 == patches else None
