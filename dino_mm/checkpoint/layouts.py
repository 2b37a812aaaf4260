"""Key layouts of checkpoint families: one filter per family, meeting in the published names.

For ViTs these are DINO's and DINOv2's (``patch_embed.proj``, ``blocks.0.attn.qkv``, ...,
``norm``), for ResNets torchvision's, which mmpretrain shares, and for XCiT the names of its
authors.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .files import CheckpointError

State = dict[str, Tensor]
#: Pairs of key beginnings; ``{}`` stands for a number. The first that fits is taken.
Names = list[tuple[str, str]]

#: What accompanies a backbone without being part of it: classifiers and tokens of masked images.
ASIDE = re.compile(r'(head|head_dist|fc|classifier|pooler)\.|(embeddings\.)?mask_token$')
#: What wraps whole backbones.
WRAPPERS = ('timm_model.', 'vit.', 'dinov2.', 'dinov2_with_registers.')


def rename(state: Mapping[str, Tensor], names: Names) -> State:
    """A state with the beginnings of its keys replaced."""
    rules = [
        (re.compile(re.escape(old).replace(r'\{\}', r'(\d+)')), new.replace('{}', r'\1'))
        for old, new in names
    ]
    renamed = {}
    for key, value in state.items():
        for pattern, new in rules:
            if match := pattern.match(key):
                key = match.expand(new) + key[match.end() :]
                break
        renamed[key] = value
    return renamed


def swap(names: Names) -> Names:
    """The opposite direction."""
    return [(new, old) for old, new in names]


def join_qkv(state: State, prefix: str = '') -> State:
    """Queries, keys and values of their own -> one ``qkv`` projection, below ``prefix``."""
    joined = {}
    for key, value in state.items():
        match = re.fullmatch(rf'({prefix}.*\.attn\.)([qkv])\.(weight|bias)', key)
        if match is None:
            joined[key] = value
            continue
        attention, part, kind = match.groups()
        if part != 'q':
            continue
        keys = [f'{attention}{name}.{kind}' for name in 'qkv']
        if missing := [name for name in keys if name not in state]:
            raise CheckpointError(f'the checkpoint has {key} but lacks {", ".join(missing)}')
        joined[f'{attention}qkv.{kind}'] = torch.cat([state[name] for name in keys])
    return joined


def split_qkv(state: State, prefix: str) -> State:
    """One ``qkv`` projection -> queries, keys and values of their own, below ``prefix``."""
    split = {}
    for key, value in state.items():
        if key.startswith(prefix) and '.attn.qkv.' in key:
            for name, part in zip('qkv', value.chunk(3), strict=True):
                split[key.replace('.qkv.', f'.{name}.')] = part
        else:
            split[key] = value
    return split


def from_vit(state: State) -> State:
    """DINO, DINOv2 and plain timm: the names themselves, less DINOv2's chunks of blocks."""
    state = {re.sub(r'^blocks\.\d+\.(\d+\.)', r'blocks.\1', key): v for key, v in state.items()}
    hidden = state.get('blocks.0.mlp.fc1.weight')
    out = state.get('blocks.0.mlp.fc2.weight')
    if hidden is None or out is None or hidden.shape[0] != out.shape[1]:
        raise CheckpointError(
            'the blocks have no plain MLP (giant DINOv2 models gate theirs, SwiGLU), which '
            'dino_mm.VisionTransformer does not provide: use a small, base or large one'
        )
    return state


def from_timm(state: State) -> State:
    """timm's ViTs with registers, with or without positions for class token and registers."""
    state = dict(state)
    registers, position = state.pop('reg_token'), state['pos_embed']  # (1, R, C), (1, N, C)
    count, entries = registers.shape[1], position.shape[1]
    if _is_square(entries):
        state['pos_embed'] = F.pad(position, (0, 0, 1, 0))
    elif _is_square(entries - 1 - count):
        registers = registers + position[:, 1 : 1 + count]
        state['pos_embed'] = torch.cat([position[:, :1], position[:, 1 + count :]], dim=1)
    else:
        raise CheckpointError(
            f'pos_embed has {entries} entries, which neither with nor without places for the '
            f'class token and {count} registers is a square grid'
        )
    return from_vit(state | {'register_tokens': registers})


def to_timm(state: State) -> State:
    """timm keeps the class token's position in the token itself where there are registers."""
    if 'register_tokens' not in state:
        return dict(state)
    state = dict(state)
    position = state.pop('pos_embed')
    return state | {
        'reg_token': state.pop('register_tokens'),
        'cls_token': state['cls_token'] + position[:, :1],
        'pos_embed': position[:, 1:],
    }


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


MMPRETRAIN_VIT: Names = [
    ('patch_embed.projection.', 'patch_embed.proj.'),
    ('layers.{}.ln1.', 'blocks.{}.norm1.'),
    ('layers.{}.ln2.', 'blocks.{}.norm2.'),
    ('layers.{}.attn.gamma1.weight', 'blocks.{}.ls1.gamma'),
    ('layers.{}.ffn.gamma2.weight', 'blocks.{}.ls2.gamma'),
    ('layers.{}.ffn.layers.0.0.', 'blocks.{}.mlp.fc1.'),
    ('layers.{}.ffn.layers.1.', 'blocks.{}.mlp.fc2.'),
    ('layers.{}.', 'blocks.{}.'),
    ('ln1.', 'norm.'),
]


def from_mmpretrain(state: State) -> State:
    """``mmpretrain.VisionTransformer``."""
    return from_vit(rename(state, MMPRETRAIN_VIT))


def to_mmpretrain(state: State) -> State:
    if 'register_tokens' in state:
        raise CheckpointError('mmpretrain.VisionTransformer has no register tokens')
    return rename(state, swap(MMPRETRAIN_VIT))


HUGGING_FACE: Names = [
    ('embeddings.cls_token', 'cls_token'),
    ('embeddings.register_tokens', 'register_tokens'),
    ('embeddings.position_embeddings', 'pos_embed'),
    ('embeddings.patch_embeddings.projection.', 'patch_embed.proj.'),
    *(
        (f'layers.{{}}.{theirs}', f'blocks.{{}}.{ours}')
        for theirs, ours in (
            ('layernorm_before.', 'norm1.'),
            ('layernorm_after.', 'norm2.'),
            ('attention.attention.query.', 'attn.q.'),
            ('attention.attention.key.', 'attn.k.'),
            ('attention.attention.value.', 'attn.v.'),
            ('attention.output.dense.', 'attn.proj.'),
            ('intermediate.dense.', 'mlp.fc1.'),
            ('output.dense.', 'mlp.fc2.'),
            # transformers 5
            ('attention.q_proj.', 'attn.q.'),
            ('attention.k_proj.', 'attn.k.'),
            ('attention.v_proj.', 'attn.v.'),
            ('attention.o_proj.', 'attn.proj.'),
            # DINOv2
            ('layer_scale1.lambda1', 'ls1.gamma'),
            ('layer_scale2.lambda1', 'ls2.gamma'),
            ('', ''),
        )
    ),
    ('layernorm.', 'norm.'),
]


def from_hugging_face(state: State) -> State:
    """``ViTModel`` and ``Dinov2Model`` of transformers, by the names up to version 4 and from 5."""
    state = rename(rename(state, [('encoder.layer.{}.', 'layers.{}.')]), HUGGING_FACE)
    return from_vit(join_qkv(state))


XCIT: Names = [
    *((f'patch_embed.proj.{i}.conv.', f'patch_embed.proj.{2 * i}.0.') for i in range(4)),
    *((f'patch_embed.proj.{i}.bn.', f'patch_embed.proj.{2 * i}.1.') for i in range(4)),
    ('pos_embed.token_projection.conv.', 'pos_embeder.token_projection.'),
    ('xca_layers.{}.local_mp.conv1.conv.', 'blocks.{}.local_mp.conv1.'),
    ('xca_layers.{}.local_mp.conv1.bn.', 'blocks.{}.local_mp.bn.'),
    ('xca_layers.{}.local_mp.conv2.conv.', 'blocks.{}.local_mp.conv2.'),
    ('xca_layers.{}.ffn.layers.0.0.', 'blocks.{}.mlp.fc1.'),
    ('xca_layers.{}.ffn.layers.1.', 'blocks.{}.mlp.fc2.'),
    ('xca_layers.{}.', 'blocks.{}.'),
    ('ca_layers.{}.ffn.layers.0.0.', 'cls_attn_blocks.{}.mlp.fc1.'),
    ('ca_layers.{}.ffn.layers.1.', 'cls_attn_blocks.{}.mlp.fc2.'),
    ('ca_layers.{}.', 'cls_attn_blocks.{}.'),
]


def from_mmpretrain_xcit(state: State) -> State:
    """``mmpretrain.XCiT``, which splits the projection of its class attention."""
    return join_qkv(rename(state, XCIT), prefix='cls_attn_blocks')


def to_mmpretrain_xcit(state: State) -> State:
    return rename(split_qkv(state, 'cls_attn_blocks.'), swap(XCIT))


@dataclass(frozen=True)
class Layout:
    """A family of keys.

    Attributes:
        name: For reports.
        fits: Whether a state is of this family.
        family: ``'vit'``, ``'xcit'`` or ``'resnet'``: families convert among themselves only.
        to_published: State with the published names.
        from_published: State of this family, where it can be written.
    """

    name: str
    fits: Callable[[Mapping[str, Tensor]], bool]
    family: str
    to_published: Callable[[State], State] = dict
    from_published: Callable[[State], State] | None = dict


def _has(key: str) -> Callable[[Collection[str]], bool]:
    return lambda keys: key in keys


LAYOUTS = [
    Layout('timm ViT', _has('reg_token'), 'vit', from_timm, to_timm),
    Layout('published ViT', _has('patch_embed.proj.weight'), 'vit', from_vit),
    Layout(
        'mmpretrain ViT',
        _has('patch_embed.projection.weight'),
        'vit',
        from_mmpretrain,
        to_mmpretrain,
    ),
    Layout(
        'Hugging Face ViT',
        _has('embeddings.patch_embeddings.projection.weight'),
        'vit',
        from_hugging_face,
        None,
    ),
    Layout('published XCiT', _has('pos_embeder.token_projection.weight'), 'xcit'),
    Layout(
        'mmpretrain XCiT',
        _has('xca_layers.0.norm1.weight'),
        'xcit',
        from_mmpretrain_xcit,
        to_mmpretrain_xcit,
    ),
    Layout('ResNet', _has('layer1.0.conv1.weight'), 'resnet'),
]


def layout_of(state: Mapping[str, Tensor]) -> Layout | None:
    """The family of a state; ``None`` where it is unknown."""
    return next((layout for layout in LAYOUTS if layout.fits(state)), None)


def without(state: Mapping[str, Tensor], prefixes: Iterable[str]) -> State:
    """A state without the first of the prefixes that any key has; keys that lack it are left out."""
    for prefix in prefixes:
        if any(key.startswith(prefix) for key in state):
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return dict(state)
