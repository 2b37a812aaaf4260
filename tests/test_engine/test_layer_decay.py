"""Layer-wise decay reaches every layer of our backbone in models of each codebase."""

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from dino_mm.models import VisionTransformer
from dino_mm.registry import MODELS

BACKBONE = dict(
    type='dino_mm.VisionTransformer',
    arch=dict(embed_dims=16, num_layers=3, num_heads=2),
    img_size=32,
    layer_scale=0.1,
    num_registers=2,
)


def wrapper_cfg(rate: float = 0.5) -> dict:
    return dict(
        constructor='dino_mm.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=rate),
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    )


def classifier() -> nn.Module:
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=16)
    return MODELS.build(dict(type='mmpretrain.ImageClassifier', backbone=BACKBONE, head=head))


def segmentor() -> nn.Module:
    pytest.importorskip('mmseg.models')
    head = dict(
        type='mmseg.FCNHead', in_channels=16, channels=16, num_classes=3, num_convs=0, in_index=0
    )
    return MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            backbone=BACKBONE | dict(out_type='featmap'),
            decode_head=head,
            test_cfg=dict(mode='whole'),
        )
    )


def detector() -> nn.Module:
    pytest.importorskip('dino_mm.ops')
    pytest.importorskip('mmdet.models')
    head = dict(type='mmdet.FCOSHead', num_classes=3, in_channels=16, feat_channels=32)
    return MODELS.build(
        dict(
            type='mmdet.FCOS',
            backbone=BACKBONE | dict(out_type='featmap'),
            neck=None,
            bbox_head=head,
            train_cfg=dict(),
            test_cfg=dict(),
        )
    )


@pytest.mark.parametrize('build', [classifier, segmentor, detector])
def test_rates_of_first_and_last_block_tokens_and_head(build) -> None:
    model = build()
    optimizer = build_optim_wrapper(model, wrapper_cfg()).optimizer
    rates, decays = {}, {}
    for group in optimizer.param_groups:
        for name in group['names']:
            rates[name], decays[name] = group['lr'], group['weight_decay']
    assert set(rates) == {n for n, p in model.named_parameters() if p.requires_grad}
    for name in ('cls_token', 'pos_embed', 'register_tokens'):
        assert rates[f'backbone.{name}'] == 1e-3 / 16 and decays[f'backbone.{name}'] == 0
    assert rates['backbone.patch_embed.proj.weight'] == 1e-3 / 16
    for index, rate in enumerate((1e-3 / 8, 1e-3 / 4, 1e-3 / 2)):
        block = {n: r for n, r in rates.items() if n.startswith(f'backbone.blocks.{index}.')}
        assert any('.ls1.' in n for n in block) and set(block.values()) == {rate}
    assert rates['backbone.norm.weight'] == 1e-3
    others = [n for n in rates if not n.startswith('backbone.')]
    assert others and all(rates[n] == 1e-3 for n in others)
    assert decays['backbone.blocks.0.attn.qkv.weight'] == 0.05
    assert decays['backbone.blocks.0.attn.qkv.bias'] == 0 == decays['backbone.norm.weight']


def test_a_backbone_without_layers_is_refused() -> None:
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='get_layer_depth'):
        build_optim_wrapper(model, wrapper_cfg())


def test_a_backbone_that_knows_none_of_its_layers_is_refused() -> None:
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    model.backbone.get_layer_depth = lambda name, prefix='': (13, 14)
    with pytest.raises(ValueError, match='knows none of its layers'):
        build_optim_wrapper(model, wrapper_cfg())


@pytest.mark.parametrize('cfg', [dict(layer_decay_rate=0.0), dict(decay_rate=0.9)])
def test_unusable_settings_are_named(cfg) -> None:
    model = nn.Module()
    model.backbone = VisionTransformer(BACKBONE['arch'], img_size=32)
    with pytest.raises(ValueError, match='layer_decay_rate'):
        build_optim_wrapper(model, wrapper_cfg() | dict(paramwise_cfg=cfg))
