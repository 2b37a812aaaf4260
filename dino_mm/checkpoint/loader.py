"""Loads any checkpoint into a backbone, with a report."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from dino_mm.models.backbones.vision_transformer import VisionTransformer, interpolate_pos_embed
from dino_mm.registry import MODELS

from .files import CheckpointError
from .infer import INFER, stored_backbone, stored_grid
from .layouts import ASIDE, State, layout_of, square
from .weights import NETWORKS, Weights, read_weights, some

__all__ = [
    'NETWORKS',
    'LoadReport',
    'Weights',
    'backbone_config',
    'build_backbone',
    'load_backbone',
    'load_into',
    'load_state',
    'read_weights',
]

#: The share of a module's tensors that a checkpoint must fill, even if loading is not strict.
LEAST_SHARE = 0.5


@dataclass
class LoadReport:
    """What was loaded from a checkpoint into a module, and what was not.

    Attributes:
        source: The checkpoint and network.
        module: The class of the module.
        layout: The key layout of the checkpoint.
        taken: Where in the checkpoint the backbone lies; ``''`` for its root.
        others: Where other backbones of the checkpoint lie, each with the ``network`` that takes
            it, or ``''`` where none does.
        matched: Keys of the module that were loaded.
        resized: Those among them that were resized (position embeddings), with their sizes.
        adapted: Those among them that were made for other input channels, with the numbers.
        missing: Keys of the module that keep what they had.
        unexpected: Keys of the checkpoint without a place in the module.
        aside: Keys of the checkpoint that are no part of a backbone (heads, mask token).
    """

    source: str
    module: str
    layout: str
    taken: str
    others: list[tuple[str, str]] = field(default_factory=list)
    matched: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing)
        parts = [
            f'{self.source} ({self.layout}) into {self.module}: '
            f'{len(self.matched)} of {total} tensors loaded'
            + (f' from {self.taken}' if self.taken else '')
        ]
        for path, network in self.others:
            hint = f' (network={network!r} or --network {network} takes it)' if network else ''
            parts.append(f'not taken: {path}{hint}')
        for name, keys in (
            ('resized', self.resized),
            ('adapted to the input channels', self.adapted),
            ('left as they were', self.missing),
            ('without a place', self.unexpected),
            ('set aside', self.aside),
        ):
            if keys:
                parts.append(f'{len(keys)} {name}: {some(keys)}')
        return '; '.join(parts)


def load_state(checkpoint: str | os.PathLike, network: str | None = None) -> State:
    """Returns a backbone's state by the published names, whatever the layout of the file.

    Args:
        checkpoint (str): See :func:`read_checkpoint`.
        network (str, optional): See :func:`read_weights`.

    Raises:
        CheckpointError: The file cannot be used; the message says why and what to do.
    """
    return read_weights(checkpoint, network).published()


def load_into(
    module: nn.Module,
    checkpoint: str | os.PathLike | Weights,
    network: str | None = None,
    strict: bool = True,
    adapt_channels: bool = False,
) -> LoadReport:
    """Loads a checkpoint of any layout into a backbone and logs what was done.

    Position embeddings are resized to the module's grid; nothing else is. A checkpoint that fills
    less than half of the module's tensors, and tensors of other shapes, are errors in any case.

    Args:
        module (nn.Module): Our ViT, mmpretrain's ViT, ResNet or XCiT, or any module whose keys
            are the checkpoint's.
        checkpoint (str): See :func:`read_checkpoint`; or :class:`Weights` that were read.
        network (str, optional): See :func:`read_weights`.
        strict (bool): Refuse checkpoints with keys too many or too few.
        adapt_channels (bool): Fit the first layer to images with another number of channels than
            the checkpoint was trained with; see :func:`to_channels`.

    Raises:
        CheckpointError: See above; the message lists keys and shapes.
    """
    if not isinstance(checkpoint, Weights):
        checkpoint = read_weights(checkpoint, network)
    return _load(module, checkpoint, strict, adapt_channels)


def load_backbone(
    checkpoint: str | os.PathLike,
    backbone: dict | None = None,
    network: str | None = None,
    adapt_channels: bool = False,
) -> nn.Module:
    """Builds the backbone of a checkpoint, loads it and returns it in evaluation mode.

    Args:
        checkpoint (str): See :func:`read_checkpoint`.
        backbone (dict, optional): A whole config (with ``type``), or arguments that change what
            is known of the backbone, such as ``dict(out_type='featmap')``. That is the config
            stored in the file (ours, MMEngine's) or what its tensors tell. ViTs become
            :class:`VisionTransformer`, ResNets and XCiTs mmpretrain's.
        network (str, optional): See :func:`read_weights`.
        adapt_channels (bool): See :func:`load_into`.

    Example:
        >>> gray = load_backbone('dino_vits16', dict(in_channels=1), adapt_channels=True)
    """
    return build_backbone(read_weights(checkpoint, network), backbone, adapt_channels)


def build_backbone(
    weights: Weights, backbone: dict | None = None, adapt_channels: bool = False
) -> nn.Module:
    """Builds the backbone of weights that were read; see :func:`load_backbone`."""
    changes = dict(backbone or {})
    config = changes if 'type' in changes else backbone_config(weights, changes)
    module = MODELS.build(config)
    _load(module, weights, strict=True, adapt_channels=adapt_channels)
    module.eval()  # returns None in mmpretrain
    return module


def backbone_config(weights: Weights, changes: Mapping[str, Any] | None = None) -> dict:
    """Returns the config of a checkpoint's backbone: as stored with it, else from its tensors."""
    changes = dict(changes or {})
    stored, layout = stored_backbone(weights.meta), weights.layout
    if stored and (
        stored['type'] == 'dino_mm.VisionTransformer' or layout is None or layout.family != 'vit'
    ):
        return stored | changes
    state = weights.published()
    arch = stored.get('arch') if stored else None
    if isinstance(arch, dict) and 'num_heads' in arch:
        changes.setdefault('arch', arch)
    try:
        return INFER[layout.family](state, changes)
    except CheckpointError as error:
        raise CheckpointError(f'{weights.source}: {error}') from None


def to_channels(weight: Tensor, channels: int) -> Tensor:
    """Returns the weights of a first convolution for images with another number of channels.

    One channel gets the sum of the weights: a gray image gives what its copies in all the
    channels gave. More channels get the weights in turn, scaled by the ratio of the numbers, so
    that the activations keep their scale.

    Args:
        weight (Tensor): (C', C, h, w).
        channels (int): The number of channels that is wanted.
    """
    have = weight.shape[1]
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [i % have for i in range(channels)]] * (have / channels)


def _load(
    module: nn.Module, weights: Weights, strict: bool, adapt_channels: bool = False
) -> LoadReport:
    target = module.state_dict()
    layout, wanted = weights.layout, layout_of(target)
    branch, state = weights.branches[0], None
    for candidate in weights.branches:
        if candidate.state.keys() == target.keys() and _same_shapes(candidate.state, target):
            branch, state = candidate, candidate.state
            break
    if state is None and (layout or (weights.branches[0].family and wanted)):
        state = weights.published()
        if wanted and wanted.family == layout.family and wanted.from_published:
            state = wanted.from_published(state)
        # what most backbones do not have, and the module does
        state |= {k: v for k, v in branch.state.items() if ASIDE.match(k) and k in target}
    elif state is None:
        branch = max(weights.branches, key=lambda b: len(b.state.keys() & target.keys()))
        state = {k: v for k, v in branch.state.items() if k in target or not ASIDE.match(k)}
    network = f' [{weights.network}]' if weights.network else ''
    report = LoadReport(
        source=weights.source + network,
        module=type(module).__name__,
        layout=layout.name if layout else 'its own keys',
        taken=str(branch),
        others=weights.others,
        aside=[k for k in branch.state if ASIDE.match(k) and k not in state] + branch.beside(),
    )
    state = _resize_position(module, state, target, weights.meta, report)
    if adapt_channels:
        state = _adapt_channels(state, target, report)
    report.matched = [key for key in target if key in state]
    # files of old PyTorch versions lack these counters, and nothing reads them
    report.missing = [k for k in target if k not in state and not k.endswith('num_batches_tracked')]
    report.unexpected = [key for key in state if key not in target]
    _check(report, state, target, strict)
    module.load_state_dict({key: state[key] for key in report.matched}, strict=False)
    print_log(str(report), 'current', 30 if report.missing or report.unexpected else 20)
    return report


def _same_shapes(state: State, target: State) -> bool:
    return all(state[key].shape == target[key].shape for key in state.keys() & target.keys())


def _check(report: LoadReport, state: State, target: State, strict: bool) -> None:
    if not report.matched:
        raise CheckpointError(
            f'{report.source}: nothing of it fits {report.module}, it would stay random. The '
            f'checkpoint ({report.layout}) has keys like {some(state)}, the module {some(target)}'
        )
    shapes = {
        key: f'{key} {tuple(state[key].shape)} for {tuple(target[key].shape)}'
        for key in report.matched
        if state[key].shape != target[key].shape
    }
    if shapes:
        channels = ''
        if _first_convolution(state, target) in shapes:
            channels = '. Pass adapt_channels=True to fit the first layer to its input channels'
        raise CheckpointError(
            f'{report.source} does not fit {report.module}: {some(shapes.values())}. Give the '
            'backbone the architecture and patch size of the checkpoint; only position embeddings '
            f'are resized{channels}'
        )
    if strict and (report.missing or report.unexpected):
        raise CheckpointError(
            f'{report}. Give the backbone the architecture of the checkpoint, or load with '
            'strict=False to leave the rest as it is'
        )
    total = len(report.matched) + len(report.missing)
    if len(report.matched) < LEAST_SHARE * total:
        raise CheckpointError(
            f'{report}. This is less than half of the module, most of which would stay random: '
            'give the backbone the architecture of the checkpoint'
        )


def _first_convolution(state: State, target: State) -> str | None:
    """Returns the convolution that differs in nothing but its input channels, if it is one."""
    differing = [
        key
        for key, value in state.items()
        if key in target
        and value.dim() == target[key].dim() == 4
        and value.shape[1] != target[key].shape[1]
        and value[:, 0].shape == target[key][:, 0].shape
    ]
    return differing[0] if len(differing) == 1 else None


def _adapt_channels(state: State, target: State, report: LoadReport) -> State:
    key = _first_convolution(state, target)
    if key is None:
        return state
    have, wanted = state[key].shape[1], target[key].shape[1]
    report.adapted.append(f'{key} {have} -> {wanted}')
    return state | {key: to_channels(state[key].float(), wanted)}


def _resize_position(
    module: nn.Module, state: State, target: State, meta: Mapping[str, Any], report: LoadReport
) -> State:
    """Returns the state with ``pos_embed`` (1, 1 + N, C) for the grid of the module."""
    # mmpretrain names its grid otherwise
    grid = getattr(module, 'grid', None) or getattr(module, 'patch_resolution', None)
    position, wanted = state.get('pos_embed'), target.get('pos_embed')
    if grid is None or position is None or wanted is None:
        return state
    grid, stored = tuple(grid), stored_grid(meta)
    if stored and stored[0] * stored[1] == position.shape[1] - 1:
        source = stored
    elif position.shape == wanted.shape:
        return state
    else:
        source = square(position.shape[1] - 1)
    if source in (None, grid) or position.shape[-1] != wanted.shape[-1]:
        return state  # a mismatch of shapes, if any, is reported as such
    mode = module.interpolate_mode if isinstance(module, VisionTransformer) else 'exact'
    resized = interpolate_pos_embed(position[:, 1:].float(), source, grid, mode)
    report.resized.append(f'pos_embed {source[0]}x{source[1]} -> {grid[0]}x{grid[1]}')
    return state | {'pos_embed': torch.cat([position[:, :1].float(), resized], dim=1)}
