"""Knows the key layouts of checkpoint families and converts each to the published names.

For ViTs these are DINO's and DINOv2's (``patch_embed.proj``, ``blocks.0.attn.qkv``, ...,
``norm``), for ResNets torchvision's, which mmpretrain shares, and for XCiT the names of its
authors.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .files import CheckpointError

State = dict[str, Tensor]
#: Pairs of key beginnings; ``{}`` stands for a number. The first that fits is taken.
Names = list[tuple[str, str]]

#: What accompanies a backbone without being part of it: classifiers, decoders of masked images,
#: and the tokens that stand for what is masked.
ASIDE = re.compile(
    r'(head|head_dist|fc|classifier|pooler|decoder|decoder_\w+)\.|decoder_pos_embed$'
    r'|(embeddings\.)?mask_token$|masked_embed$'
)
#: What tells a family of backbones that is not supported: for each, patterns of which every one
#: fits some key. The first family that fits is taken.
FOREIGN: list[tuple[str, tuple[str, ...]]] = [
    ('DINOv3', (r'rope_embed\.|storage_tokens$',)),
    ('DINOv3', (r'reg_token$', r'blocks\.\d+\.gamma_1$')),
    (
        'Swin Transformer',
        (
            r'(encoder\.)?(layers|stages)\.\d+\.blocks\.\d+\.(attn|attention)\.'
            r'.*(relative_position|cpb_mlp|w_msa)',
        ),
    ),
    (
        'ConvNeXt',
        (r'(encoder\.)?stages\.\d+\.((blocks|layers)\.)?\d+\.(dwconv|conv_dw|depthwise_conv)\.',),
    ),
    ('DINOv3', (r'embeddings\.patch_embeddings\.weight$', r'(model\.)?layer\.\d+\.attention')),
    (
        'CLIP or another ViT with a norm before its blocks',
        (r'(embeddings\.)?class_embedding$|(norm_pre|ln_pre|pre_norm|pre_layrnorm)\.weight$',),
    ),
    ('SAM', (r'(blocks|layers)\.\d+\.attn\.rel_pos_h$', r'(neck|channel_reduction)\.')),
    (
        'BEiT',
        (
            r'(patch_embed|embeddings)\.',
            r'(blocks|layers|encoder\.layer)\.\d+\..*relative_position|rel_pos_bias\.',
        ),
    ),
    ('EVA', (r'blocks\.\d+\.attn\.(q_bias$|q_proj\.|inner_attn_ln\.)|rope\.freqs',)),
    ('CaiT', (r'blocks_token_only\.',)),
    ("XCiT by timm's names", (r'pos_embed\.token_projection\.weight$',)),
    ('hybrid ViT with a convolutional stem', (r'patch_embed\.backbone\.',)),
]


def rename(state: Mapping[str, Tensor], names: Names) -> State:
    """Returns a state with the beginnings of its keys replaced."""
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
    """Returns the names for the opposite direction."""
    return [(new, old) for old, new in names]


def join_qkv(state: State, prefix: str = '') -> State:
    """Joins separate queries, keys and values to one ``qkv`` projection, below ``prefix``."""
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
    """Splits each ``qkv`` projection into queries, keys and values, below ``prefix``."""
    split = {}
    for key, value in state.items():
        if key.startswith(prefix) and '.attn.qkv.' in key:
            for name, part in zip('qkv', value.chunk(3), strict=True):
                split[key.replace('.qkv.', f'.{name}.')] = part
        else:
            split[key] = value
    return split


def from_vit(state: State) -> State:
    """Renames DINO, DINOv2 and plain timm: only DINOv2's chunks of blocks differ.

    Raises:
        CheckpointError: The ViT has parts that ours lacks, or lacks parts of ours.
    """
    state = {re.sub(r'^blocks\.\d+\.(\d+\.)', r'blocks.\1', key): v for key, v in state.items()}
    for key, part in (('cls_token', 'class token'), ('pos_embed', 'absolute position embedding')):
        if key not in state:
            raise CheckpointError(f'the ViT has no {part} ({key}): such ViTs are not supported yet')
    hidden = state.get('blocks.0.mlp.fc1.weight')
    out = state.get('blocks.0.mlp.fc2.weight')
    if hidden is None or out is None or hidden.shape[0] != out.shape[1]:
        raise CheckpointError(
            'the blocks have no plain MLP (giant DINOv2 models gate theirs, SwiGLU), which '
            'dino_mm.VisionTransformer does not provide: use a small, base or large one'
        )
    return state


def from_timm(state: State) -> State:
    """Converts timm's ViTs with registers, whether class token and registers have positions or not.

    The distillation token of DeiT is such a register, in timm's and in mmpretrain's names.
    """
    state = rename(state, [('dist_token', 'reg_token'), *MMPRETRAIN_VIT])
    if 'pos_embed' not in state:
        return from_vit(state)  # raises
    registers, position = state.pop('reg_token'), state['pos_embed']  # (1, R, C), (1, N, C)
    count, entries = registers.shape[1], position.shape[1]
    if square(entries):
        state['pos_embed'] = F.pad(position, (0, 0, 1, 0))
    elif square(entries - 1 - count):
        registers = registers + position[:, 1 : 1 + count]
        state['pos_embed'] = torch.cat([position[:, :1], position[:, 1 + count :]], dim=1)
    else:
        raise CheckpointError(
            f'pos_embed has {entries} entries, which neither with nor without places for the '
            f'class token and {count} registers is a square grid'
        )
    return from_vit(state | {'register_tokens': registers})


def to_timm(state: State) -> State:
    """Converts to timm, which adds the class token's position to the token if there are registers."""
    if 'register_tokens' not in state:
        return dict(state)
    state = dict(state)
    position = state.pop('pos_embed')
    return state | {
        'reg_token': state.pop('register_tokens'),
        'cls_token': state['cls_token'] + position[:, :1],
        'pos_embed': position[:, 1:],
    }


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
    """Converts from ``mmpretrain.VisionTransformer``."""
    return from_vit(rename(state, MMPRETRAIN_VIT))


def to_mmpretrain(state: State) -> State:
    """Converts to ``mmpretrain.VisionTransformer``.

    Raises:
        CheckpointError: The ViT has registers.
    """
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
    """Converts from ``ViTModel`` and ``Dinov2Model`` of transformers, up to version 4 and from 5."""
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
    """Converts from ``mmpretrain.XCiT``, which splits the projection of its class attention."""
    return join_qkv(rename(state, XCIT), prefix='cls_attn_blocks')


def to_mmpretrain_xcit(state: State) -> State:
    """Converts to ``mmpretrain.XCiT``."""
    return rename(split_qkv(state, 'cls_attn_blocks.'), swap(XCIT))


@dataclass(frozen=True)
class Layout:
    """The names of the keys in the checkpoints of one library.

    Attributes:
        name: The name for reports.
        fits: Tells whether a state has this layout.
        family: ``'vit'``, ``'xcit'`` or ``'resnet'``; layouts of one family convert to each other.
        to_published: Converts a state to the published names.
        from_published: Converts back; ``None`` where nothing loads this layout.
    """

    name: str
    fits: Callable[[Mapping[str, Tensor]], bool]
    family: str
    to_published: Callable[[State], State] = dict
    from_published: Callable[[State], State] | None = dict


def _has(*names: str) -> Callable[[Collection[str]], bool]:
    """Returns a test for keys: each name is one of them or, with a dot at its end, begins one."""
    return lambda keys: all(
        any(key.startswith(name) for key in keys) if name.endswith('.') else name in keys
        for name in names
    )


LAYOUTS = [
    Layout('timm ViT', _has('reg_token', 'patch_embed.proj.weight'), 'vit', from_timm, to_timm),
    Layout('distilled DeiT', _has('dist_token', 'cls_token'), 'vit', from_timm, None),
    Layout('published ViT', _has('patch_embed.proj.weight', 'blocks.'), 'vit', from_vit),
    Layout(
        'mmpretrain ViT',
        _has('patch_embed.projection.weight', 'layers.'),
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


def foreign_family(keys: Collection[str]) -> str | None:
    """Returns the family of a backbone that is not supported; ``None`` where it tells of none."""
    for name, patterns in FOREIGN:
        if all(any(re.match(pattern, key) for key in keys) for pattern in patterns):
            return name
    return None


def layout_of(state: Mapping[str, Tensor]) -> Layout | None:
    """Returns the layout of a state; ``None`` where it is unknown or not supported."""
    layout = next((layout for layout in LAYOUTS if layout.fits(state)), None)
    return None if layout is None or foreign_family(state) else layout


def square(patches: int) -> tuple[int, int] | None:
    """Returns the rows and columns of a square grid; ``None`` where the number is no square."""
    side = math.isqrt(patches)
    return (side, side) if side**2 == patches else None


def with_class_position(state: State, grid: tuple[int, int] | None = None) -> State:
    """Returns a published state with a position of zero for the class token where it has none.

    Args:
        state (State): ``pos_embed`` (1, N, C) or (1, 1 + N, C); DeiT III and FlexiViT have the first.
        grid (tuple, optional): The rows and columns of its patches, where they are known.
    """
    entries = state['pos_embed'].shape[1]
    with_class = square(entries - 1) or (grid and grid[0] * grid[1] == entries - 1)
    if with_class or not square(entries):
        return state
    return state | {'pos_embed': F.pad(state['pos_embed'], (0, 0, 1, 0))}
