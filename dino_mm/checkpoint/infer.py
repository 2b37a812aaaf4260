"""Tells which backbone a checkpoint holds, by its tensors or by the config stored with it."""

import ast
import math
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from .files import CheckpointError

#: Width of an attention head in every published ViT.
HEAD_DIMS = 64
#: ResNets by their numbers of blocks and whether blocks have three convolutions.
RESNETS = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Returns the number of blocks below ``prefix``."""
    return len({k.split('.')[prefix.count('.')] for k in state if k.startswith(prefix)})


def infer_vit(state: Mapping[str, Tensor], known: Mapping[str, Any]) -> dict:
    """Returns the config of a ViT from its tensors (published names).

    Args:
        state (Mapping): Its tensors.
        known (Mapping): Arguments that are known and need no guess, such as ``arch`` and
            ``img_size``: the tensors tell neither the number of heads nor the shape of a grid
            that is not square.
    """
    width, channels, patch_size, _ = state['patch_embed.proj.weight'].shape
    has_stem = 'patch_embed.stem.0.0.weight' in state
    if has_stem:
        patch_size = 2 ** _count(state, 'patch_embed.stem.')
        channels = state['patch_embed.stem.0.0.weight'].shape[1]
    registers = state['register_tokens'].shape[1] if 'register_tokens' in state else 0
    config = dict(
        type='dino_mm.VisionTransformer',
        patch_size=patch_size,
        in_channels=channels,
        mlp_ratio=state['blocks.0.mlp.fc1.weight'].shape[0] / width,
        qkv_bias='blocks.0.attn.qkv.bias' in state,
        # the value itself is loaded
        layer_scale=float('blocks.0.ls1.gamma' in state),
        num_registers=registers,
        # as the published models with registers were trained
        interpolate_mode='antialias' if registers else 'reference',
    )
    if has_stem:
        config['stem'] = 'conv'
    if 'mask_token' in state:
        config['use_mask_token'] = True
    if 'arch' not in known:
        if width % HEAD_DIMS:
            raise CheckpointError(
                f'how many heads a ViT of width {width} has is not stored in the checkpoint: pass '
                f'backbone=dict(arch=dict(embed_dims={width}, '
                f'num_layers={_count(state, "blocks.")}, num_heads=...))'
            )
        config['arch'] = dict(
            embed_dims=width, num_layers=_count(state, 'blocks.'), num_heads=width // HEAD_DIMS
        )
        if width not in (192, 384, 768, 1024):
            print_log(
                f'The number of heads is not stored in the checkpoint: assuming heads of '
                f'{HEAD_DIMS} as in the published models ({width // HEAD_DIMS}).',
                'current',
                30,
            )
    if 'img_size' not in known:
        patches = state['pos_embed'].shape[1] - 1
        side = math.isqrt(patches)
        if side**2 != patches:
            raise CheckpointError(
                f'pos_embed has {patches + 1} entries, not one for the class token and a square '
                'grid: pass backbone=dict(img_size=(height, width))'
            )
        config['img_size'] = side * patch_size
    return config | dict(known)


def infer_xcit(state: Mapping[str, Tensor], known: Mapping[str, Any]) -> dict:
    """Returns the config of an ``mmpretrain.XCiT`` from its tensors (published names)."""
    width = state['cls_token'].shape[-1]
    stem = _count(state, 'patch_embed.proj.')
    config = dict(
        type='mmpretrain.XCiT',
        patch_size=2**stem,
        in_channels=state['patch_embed.proj.0.0.weight'].shape[1],
        embed_dims=width,
        depth=_count(state, 'blocks.'),
        cls_attn_layers=_count(state, 'cls_attn_blocks.'),
        num_heads=state['blocks.0.attn.temperature'].shape[0],
        mlp_ratio=state['blocks.0.mlp.fc1.weight'].shape[0] / width,
        # as in every XCiT that DINO published
        tokens_norm=True,
    )
    return config | dict(known)


def infer_resnet(state: Mapping[str, Tensor], known: Mapping[str, Any]) -> dict:
    """Returns the config of an ``mmpretrain.ResNet`` from its tensors (torchvision's names)."""
    stages = tuple(_count(state, f'layer{i}.') for i in range(1, 5))
    depth = RESNETS.get((stages, 'layer1.0.conv3.weight' in state))
    if depth is None:
        raise CheckpointError(
            f'no known ResNet has {stages} blocks: pass the whole config as backbone=dict(type=...)'
        )
    config = dict(type='mmpretrain.ResNet', depth=depth, out_indices=(3,))
    if 'conv1.weight' in state:
        config['in_channels'] = state['conv1.weight'].shape[1]
    return config | dict(known)


INFER = dict(vit=infer_vit, xcit=infer_xcit, resnet=infer_resnet)


class _DictCalls(ast.NodeTransformer):
    """Turns ``dict(a=1)`` into ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named = all(keyword.arg for keyword in node.keywords)
        if not (isinstance(node.func, ast.Name) and node.func.id == 'dict') or node.args:
            return node
        keys = [ast.Constant(k.arg) if k.arg else None for k in node.keywords]
        return ast.Dict(keys, [k.value for k in node.keywords]) if named else node


def read_config(text: str) -> dict:
    """Returns the literal assignments of a config's text; nothing of it is run.

    Values that are not literals (computed ones) are left out; a text that is not Python gives {}.
    """
    try:
        tree = _DictCalls().visit(ast.parse(text))
    except SyntaxError:
        return {}
    values = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                values[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return values


def _stored_config(meta: Mapping[str, Any]) -> dict:
    """Returns the literal part of a stored config; it has ``model`` in any case."""
    text = meta.get('config') or meta.get('cfg')
    config = read_config(text) if isinstance(text, str) else {}
    return config if isinstance(config.get('model'), dict) else config | dict(model={})


def stored_backbone(meta: Mapping[str, Any]) -> dict | None:
    """Returns the backbone's config as stored with a checkpoint, without its ``init_cfg``.

    Args:
        meta (Mapping): ``meta`` of our exports (``backbone``, ``config``) or of MMEngine's
            checkpoints (``cfg``).
    """
    config = _stored_config(meta)
    backbone = meta.get('backbone') or config['model'].get('backbone')
    if not isinstance(backbone, dict) or not isinstance(backbone.get('type'), str):
        return None
    backbone = {k: v for k, v in backbone.items() if k not in ('init_cfg', 'pretrained')}
    if '.' not in backbone['type']:
        backbone['type'] = f'{config.get("default_scope", "dino_mm")}.{backbone["type"]}'
    return backbone


def stored_grid(meta: Mapping[str, Any]) -> tuple[int, int] | None:
    """Returns the rows and columns of patches by the config stored with a checkpoint, if any."""
    stored = stored_backbone(meta) or {}
    size, patch_size = stored.get('img_size'), stored.get('patch_size', 16)
    if isinstance(size, int):
        size = (size, size)
    if not isinstance(size, (list, tuple)) or not isinstance(patch_size, int):
        return None
    return size[0] // patch_size, size[1] // patch_size


def normalization(model: Mapping[str, Any]) -> dict:
    """Returns what a model's config tells of ``mean`` and ``std``.

    Args:
        model (Mapping): Its ``data_preprocessor`` counts if it is a
            :class:`MultiCropDataPreprocessor`; others scale pixels differently.
    """
    own = model.get('data_preprocessor') or {}
    # without a type it is what the model takes by default
    kind = own.get('type') or model.get('type', 'DINO')
    if kind.split('.')[-1] not in ('MultiCropDataPreprocessor', 'DINO', 'FeatureExtractor'):
        return {}
    return {k: own[k] for k in ('mean', 'std') if own.get(k) is not None}


def stored_normalization(meta: Mapping[str, Any]) -> dict:
    """:func:`normalization` by the config stored with a checkpoint; see :func:`stored_backbone`."""
    return normalization(_stored_config(meta)['model'])


def choose_normalization(model: Mapping[str, Any], meta: Mapping[str, Any]) -> tuple[dict, str]:
    """How images are normalized: as a config says, else as the checkpoint was trained.

    Args:
        model (Mapping): Its config, empty where there is none. It says something if its
            ``data_preprocessor`` has ``mean`` or ``std``.
        meta (Mapping): Stored with the checkpoint.

    Returns:
        tuple: ``mean`` and ``std`` as far as they are told, and by whom:
        ``'config'``, ``'checkpoint'``, or ``'default'`` where neither says anything.
    """
    own, stored = normalization(model), stored_normalization(meta)
    if own:
        return own, 'config'
    return stored, 'checkpoint' if stored else 'default'


def describe_vit(backbone: nn.Module) -> dict:
    """Returns the config that builds one of our ViTs again."""
    grid, patch_size = backbone.grid, backbone.patch_size
    known = dict(
        arch=dict(
            embed_dims=backbone.embed_dims,
            num_layers=backbone.num_layers,
            num_heads=backbone.blocks[0].attn.num_heads,
        ),
        img_size=[side * patch_size for side in grid],
        interpolate_mode=backbone.interpolate_mode,
    )
    # windows leave no trace in the tensors
    windows = [getattr(block.attn, 'window_size', 0) for block in backbone.blocks]
    if any(windows):
        known['window_size'] = max(windows)
        known['global_indices'] = [i for i, window in enumerate(windows) if not window]
    if getattr(backbone.blocks[0].attn, 'rel_pos', False):
        known['rel_pos'] = True
    return infer_vit(backbone.state_dict(), known)
