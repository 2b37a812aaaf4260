"""Every family of checkpoints gives the features of the model that wrote it."""

import pytest
import torch
from mmengine.registry import MODELS

from dino_mm.checkpoint import CheckpointError, load_backbone, load_into, load_state
from dino_mm.models import VisionTransformer

from .conftest import ARCH, randomize, tokens


def save(state, tmp_path, name='checkpoint.pth'):
    torch.save(state, tmp_path / name)
    return tmp_path / name


def test_published_backbone(vit, image, tmp_path):
    loaded = load_backbone(save(vit.state_dict(), tmp_path))
    assert torch.equal(tokens(loaded, image), tokens(vit, image))
    assert not loaded.training


@pytest.mark.parametrize('blocks', ['blocks.0.{}.', 'blocks.1.{}.'])
def test_dinov2_with_chunks_and_mask_token(blocks, image, tmp_path):
    vit = randomize(VisionTransformer(ARCH, 32, 8, layer_scale=1.0, num_registers=4))
    state = {}
    for key, value in vit.state_dict().items():
        head, *rest = key.split('.', 2)
        state[blocks.format(rest[0]) + rest[1] if head == 'blocks' else key] = value
    state['mask_token'] = torch.zeros(1, 128)
    path = save(state, tmp_path)
    loaded = load_backbone(path)
    assert torch.equal(tokens(loaded, image), tokens(vit, image))
    assert load_state(path).keys() == vit.state_dict().keys()
    # the released models with registers were trained with smoothed position embeddings
    assert loaded.interpolate_mode == 'antialias'


def test_gated_giants_are_refused(vit, tmp_path):
    state = vit.state_dict()
    for i in range(2):
        state[f'blocks.{i}.mlp.w12.weight'] = state.pop(f'blocks.{i}.mlp.fc1.weight')
        state[f'blocks.{i}.mlp.w3.weight'] = state.pop(f'blocks.{i}.mlp.fc2.weight')
    with pytest.raises(CheckpointError, match='SwiGLU'):
        load_backbone(save(state, tmp_path))


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(init_values=1e-5),
        dict(init_values=1e-5, reg_tokens=4, no_embed_class=True),
        dict(reg_tokens=3),
        dict(qkv_bias=False, mlp_ratio=2),
        dict(no_embed_class=True),  # DeiT III, FlexiViT
    ],
)
def test_timm(options, image, tmp_path):
    timm = pytest.importorskip('timm.models.vision_transformer')
    theirs = randomize(
        timm.VisionTransformer(32, 8, embed_dim=128, depth=2, num_heads=2, num_classes=7, **options)
    )
    loaded = load_backbone(save(theirs.state_dict(), tmp_path))
    with torch.no_grad():
        assert torch.allclose(tokens(loaded, image), theirs.forward_features(image), atol=1e-5)


def test_the_distillation_token_of_deit_becomes_a_register(image, tmp_path):
    deit = pytest.importorskip('timm.models.deit')
    theirs = randomize(
        deit.VisionTransformerDistilled(32, 8, embed_dim=128, depth=2, num_heads=2, num_classes=7)
    )
    loaded = load_backbone(save(theirs.state_dict(), tmp_path))
    with torch.no_grad():
        assert torch.allclose(tokens(loaded, image), theirs.forward_features(image), atol=1e-5)


@pytest.mark.parametrize('kind', ['DistilledVisionTransformer', 'DeiT3'])
def test_deit_of_mmpretrain(kind, image, tmp_path):
    arch = dict(ARCH, feedforward_channels=256)
    config = dict(type=f'mmpretrain.{kind}', arch=arch, img_size=32, patch_size=8)
    theirs = randomize(MODELS.build(config))
    for layer in theirs.layers:
        # mmpretrain's DeiT3 uses its first norm twice and its second one never.
        layer.ln2.load_state_dict(layer.ln1.state_dict())
    path = save(theirs.state_dict(), tmp_path)
    loaded = load_backbone(path)
    with torch.no_grad():
        expected = theirs(image)[-1]
        expected = expected[0] if isinstance(expected, tuple) else expected
        assert torch.allclose(tokens(loaded, image)[:, 0], expected, atol=1e-5)
    twin = MODELS.build(config)
    load_into(twin, path)
    assert torch.equal(twin.pos_embed, theirs.pos_embed)


def test_a_grid_that_looks_as_if_the_class_token_had_no_position(tmp_path):
    # 2 x 4 patches and a class token are 9 entries, as 3 x 3 patches without one would be
    vit = randomize(VisionTransformer(ARCH, (16, 32), 8))
    meta = dict(
        backbone=dict(type='dino_mm.VisionTransformer', arch=ARCH, img_size=(16, 32), patch_size=8)
    )
    path = save(dict(state_dict=vit.state_dict(), meta=meta), tmp_path)
    assert torch.equal(load_state(path)['pos_embed'], vit.pos_embed)


def test_decoders_of_masked_autoencoders_are_set_aside(vit, image, tmp_path):
    decoder = ['mask_token', 'decoder_pos_embed', 'decoder_embed.weight', 'decoder_norm.bias']
    decoder += ['decoder_blocks.0.attn.qkv.weight', 'decoder_pred.bias']
    state = vit.state_dict() | {key: torch.ones(1) for key in decoder}
    path = save(dict(model=state), tmp_path)
    assert torch.equal(tokens(load_backbone(path), image), tokens(vit, image))
    assert sorted(load_into(vit, path).aside) == sorted(decoder)


@pytest.mark.parametrize('layer_scale', [0, 1e-5])
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_mmpretrain_vit(prefix, layer_scale, image, tmp_path):
    theirs = randomize(
        MODELS.build(
            dict(
                type='mmpretrain.VisionTransformer',
                arch=dict(ARCH, feedforward_channels=256),
                img_size=32,
                patch_size=8,
                out_type='raw',
                layer_scale_init_value=layer_scale,
            )
        )
    )
    state = {prefix + key: value for key, value in theirs.state_dict().items()}
    if prefix:
        state['head.fc.weight'] = torch.zeros(5, 128)
    path = save(dict(state_dict=state), tmp_path)
    with torch.no_grad():
        expected = theirs(image)[0]
    loaded = load_backbone(path)
    assert type(loaded) is VisionTransformer
    assert torch.allclose(tokens(loaded, image), expected, atol=1e-5)
    # and into a module of theirs
    randomize(theirs).pos_embed.data.zero_()
    load_into(theirs, save(loaded.state_dict(), tmp_path, 'ours.pth'))
    with torch.no_grad():
        assert torch.allclose(theirs(image)[0], expected, atol=1e-5)


def to_hugging_face(state, layer, attention, mlp):
    """Keys of transformers' ViTModel, written out."""
    out = {
        'embeddings.cls_token': state['cls_token'],
        'embeddings.position_embeddings': state['pos_embed'],
        'pooler.dense.weight': torch.zeros(1),
    }
    for kind in ('weight', 'bias'):
        out[f'embeddings.patch_embeddings.projection.{kind}'] = state[f'patch_embed.proj.{kind}']
        out[f'layernorm.{kind}'] = state[f'norm.{kind}']
        for i in range(2):
            to, of = layer.format(i), f'blocks.{i}'
            parts = state[f'{of}.attn.qkv.{kind}'].chunk(3)
            for name, part in zip(attention[:3], parts, strict=True):
                out[f'{to}.{name}.{kind}'] = part.contiguous()
            out[f'{to}.{attention[3]}.{kind}'] = state[f'{of}.attn.proj.{kind}']
            out[f'{to}.{mlp[0]}.{kind}'] = state[f'{of}.mlp.fc1.{kind}']
            out[f'{to}.{mlp[1]}.{kind}'] = state[f'{of}.mlp.fc2.{kind}']
            out[f'{to}.layernorm_before.{kind}'] = state[f'{of}.norm1.{kind}']
            out[f'{to}.layernorm_after.{kind}'] = state[f'{of}.norm2.{kind}']
    return out


HUGGING_FACE = {
    'version 4': (
        'encoder.layer.{}',
        [f'attention.attention.{part}' for part in ('query', 'key', 'value')]
        + ['attention.output.dense'],
        ('intermediate.dense', 'output.dense'),
    ),
    'version 5': (
        'layers.{}',
        [f'attention.{part}_proj' for part in 'qkvo'],
        ('mlp.fc1', 'mlp.fc2'),
    ),
}


@pytest.mark.parametrize('names', HUGGING_FACE.values(), ids=HUGGING_FACE.keys())
@pytest.mark.parametrize('prefix', ['', 'vit.'])
def test_hugging_face(names, prefix, vit, image, tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    state = to_hugging_face(vit.state_dict(), *names)
    state = {prefix + key: value for key, value in state.items()}
    safetensors.save_file(state, tmp_path / 'model.safetensors')
    for path in (tmp_path / 'model.safetensors', save(state, tmp_path)):
        assert torch.equal(tokens(load_backbone(path), image), tokens(vit, image))


@pytest.mark.parametrize('names', HUGGING_FACE.values(), ids=HUGGING_FACE.keys())
def test_hugging_face_dinov2(names, image, tmp_path):
    vit = randomize(VisionTransformer(ARCH, 32, 8, layer_scale=1.0, num_registers=4))
    ours = vit.state_dict()
    # its blocks keep DINO's names of norms and MLP, below the old name of the encoder
    state = to_hugging_face(ours, 'encoder.layer.{}', names[1], ('mlp.fc1', 'mlp.fc2'))
    state = {
        key.replace('layernorm_before', 'norm1').replace('layernorm_after', 'norm2'): value
        for key, value in state.items()
    }
    state['embeddings.register_tokens'] = ours['register_tokens']
    state['embeddings.mask_token'] = torch.zeros(1, 128)
    for i in range(2):
        for branch in (1, 2):
            scale = ours[f'blocks.{i}.ls{branch}.gamma']
            state[f'encoder.layer.{i}.layer_scale{branch}.lambda1'] = scale
    assert torch.equal(tokens(load_backbone(save(state, tmp_path)), image), tokens(vit, image))


def test_hugging_face_without_a_key_projection_is_refused(vit, tmp_path):
    state = to_hugging_face(vit.state_dict(), *HUGGING_FACE['version 4'])
    del state['encoder.layer.1.attention.attention.key.bias']
    with pytest.raises(CheckpointError, match='lacks blocks.1.attn.k.bias'):
        load_state(save(state, tmp_path))


@pytest.mark.parametrize(('name', 'depth'), [('resnet18', 18), ('resnet50', 50)])
def test_resnet(name, depth, image, tmp_path):
    models = pytest.importorskip('torchvision').models
    theirs = randomize(getattr(models, name)(weights=None))
    path = save(theirs.state_dict(), tmp_path)
    loaded = load_backbone(path)
    assert loaded.depth == depth
    with torch.no_grad():
        expected = torch.nn.Sequential(*list(theirs.children())[:-2])(image)
        assert torch.allclose(loaded(image)[-1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('patch_size', [8, 16])
def test_published_xcit(patch_size, tmp_path):
    timm = pytest.importorskip('timm.models.xcit')
    theirs = randomize(
        timm.Xcit(
            32, patch_size, embed_dim=32, depth=2, num_heads=4, eta=1.0, tokens_norm=True,
            num_classes=0,
        )
    )  # fmt: skip
    state = theirs.state_dict()
    published = {}
    for key, value in state.items():
        if key.startswith('cls_attn') and '.attn.' in key and '.proj.' not in key:
            if '.q.' not in key:
                continue
            value = torch.cat([state[key.replace('.q.', f'.{part}.')] for part in 'qkv'])
            key = key.replace('.q.', '.qkv.')
        published[key.replace('pos_embed.', 'pos_embeder.')] = value
    path = save(published, tmp_path)
    loaded = load_backbone(path)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(loaded(image)[0], theirs(image), atol=1e-5)
    again = load_state(save(loaded.state_dict(), tmp_path, 'mmpretrain.pth'))
    assert again.keys() == published.keys()
    assert all(torch.equal(again[key], published[key]) for key in published)


def test_unknown_families_load_into_their_own_module_only(tmp_path):
    other = randomize(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)))
    path = save({f'teacher.backbone.{k}': v for k, v in other.state_dict().items()}, tmp_path)
    twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    report = load_into(twin, path)
    assert torch.equal(twin[1].weight, other[1].weight)
    assert len(report.matched) == 4
    with pytest.raises(CheckpointError, match='no known backbone'):
        load_backbone(path)


VIT_KEYS = 'cls_token patch_embed.proj.weight blocks.0.norm1.weight blocks.0.attn.qkv.weight '
#: Keys of each family, by the names of its authors, timm, mmpretrain or Hugging Face.
FAMILIES = [
    ('DINOv3', VIT_KEYS + 'storage_tokens rope_embed.periods'),
    ('DINOv3', VIT_KEYS + 'reg_token blocks.0.gamma_1'),
    ('DINOv3', 'embeddings.patch_embeddings.weight layer.0.attention.q_proj.weight'),
    ('BEiT', VIT_KEYS + 'blocks.0.gamma_1 blocks.0.attn.relative_position_bias_table'),
    ('BEiT', VIT_KEYS + 'rel_pos_bias.relative_position_bias_table'),
    ('BEiT', 'patch_embed.projection.weight layers.0.attn.relative_position_bias_table'),
    ('EVA', VIT_KEYS + 'pos_embed blocks.0.attn.q_bias'),
    ('EVA', VIT_KEYS + 'pos_embed blocks.0.attn.q_proj.weight'),
    ('EVA', 'patch_embed.projection.weight layers.0.norm1.weight rope.freqs_cos'),
    ('Swin', 'patch_embed.proj.weight layers.0.blocks.0.attn.relative_position_bias_table'),
    ('Swin', 'patch_embed.proj.weight layers.0.blocks.0.attn.cpb_mlp.0.weight'),
    ('Swin', 'patch_embed.projection.weight stages.0.blocks.0.attn.w_msa.qkv.weight'),
    ('ConvNeXt', 'downsample_layers.0.0.weight stages.0.0.dwconv.weight'),
    ('ConvNeXt', 'stem.0.weight stages.0.blocks.0.conv_dw.weight'),
    ('ConvNeXt', 'downsample_layers.0.0.weight stages.0.0.depthwise_conv.weight'),
    ('CLIP', VIT_KEYS + 'pos_embed norm_pre.weight'),
    ('CLIP', 'class_embedding conv1.weight ln_pre.weight'),
    ('SAM', 'pos_embed patch_embed.proj.weight blocks.0.attn.rel_pos_h neck.0.weight'),
    ('CaiT', VIT_KEYS + 'pos_embed blocks_token_only.0.norm1.weight'),
    ('XCiT by timm', 'cls_token pos_embed.token_projection.weight'),
    ('hybrid ViT', VIT_KEYS + 'pos_embed patch_embed.backbone.stem.conv.weight'),
]


@pytest.mark.parametrize(('family', 'keys'), FAMILIES)
@pytest.mark.parametrize('prefix', ['', 'module.visual.'])
def test_families_that_are_not_supported_are_named(family, keys, prefix, vit, tmp_path):
    state = {prefix + key: torch.ones(1) for key in keys.split()}
    path = save(dict(model=state), tmp_path)
    message = f'checkpoint.pth holds a backbone of the family {family}.* not supported yet: '
    for load in (load_backbone, load_state, lambda path: load_into(vit, path, strict=False)):
        with pytest.raises(CheckpointError, match=message):
            load(path)


@pytest.mark.parametrize('missing', ['cls_token', 'pos_embed'])
def test_vits_without_a_part_of_ours_are_refused(missing, vit, tmp_path):
    state = vit.state_dict()
    del state[missing]
    with pytest.raises(CheckpointError, match=rf'\({missing}\): such ViTs are not supported yet'):
        load_backbone(save(state, tmp_path))


def test_registers_are_no_patch_tokens(image):
    vit = randomize(VisionTransformer(ARCH, 32, 8, num_registers=3, layer_scale=0.5))
    small = image[:1, :, :16, :24]
    with torch.no_grad():
        raw = vit.get_intermediate_layers(small)[0]  # class token, 3 registers, 2 x 3 patches
        shapes = {}
        for out_type in vit.out_types:
            vit.out_type = out_type
            packed = vit([image, small])[1][0]
            assert torch.allclose(packed, vit(small)[0], atol=1e-5)
            shapes[out_type] = tuple(packed.shape)
        vit.out_type = 'avg_featmap'
        assert torch.allclose(vit(small)[0], raw[:, 4:].mean(dim=1), atol=1e-6)
    assert shapes == dict(
        cls_token=(1, 128),
        patch_tokens=(1, 6, 128),
        avg_featmap=(1, 128),
        featmap=(1, 128, 2, 3),
        raw=(1, 10, 128),
    )
    assert vit.get_attention(small).shape == (1, 2, 10, 10)


def test_smoothed_position_embeddings_equal_those_of_timm(tmp_path):
    timm = pytest.importorskip('timm.models.vision_transformer')
    theirs = randomize(
        timm.VisionTransformer(
            64, 8, embed_dim=128, depth=2, num_heads=2, num_classes=0, dynamic_img_size=True
        )
    )
    loaded = load_backbone(save(theirs.state_dict(), tmp_path), dict(interpolate_mode='antialias'))
    image = torch.randn(1, 3, 24, 40)
    with torch.no_grad():
        assert torch.allclose(tokens(loaded, image), theirs.forward_features(image), atol=1e-5)
        loaded.interpolate_mode = 'exact'
        assert not torch.allclose(tokens(loaded, image), theirs.forward_features(image), atol=1e-2)
