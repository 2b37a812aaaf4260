"""Linear segmentation of frozen features."""

import pytest
import torch
import torch.nn.functional as F

from dino_mm.registry import MODELS

pytest.importorskip('mmseg.models')
segmentors = pytest.importorskip('dino_mm.models.segmentors')


def test_the_backbone_is_frozen_and_stays_in_evaluation_mode() -> None:
    model = MODELS.build(
        dict(
            type='dino_mm.LinearSegmentor',
            backbone=dict(
                type='dino_mm.VisionTransformer',
                arch=dict(embed_dims=16, num_layers=2, num_heads=2),
                img_size=32,
                drop_path_rate=0.5,
                out_type='featmap',
            ),
            decode_head=dict(
                type='dino_mm.LinearHead',
                in_channels=16,
                num_classes=3,
                norm_cfg=dict(type='BN'),
            ),
            test_cfg=dict(mode='whole'),
        )
    )
    model.train()
    assert model.decode_head.training and not any(m.training for m in model.backbone.modules())
    trained = {name.split('.')[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'decode_head'}


def test_the_head_is_linear_in_normalized_features_of_several_layers() -> None:
    head = segmentors.LinearHead(
        in_channels=[4, 6],
        in_index=[0, 1],
        input_transform='resize_concat',
        num_classes=3,
        norm_cfg=dict(type='BN'),
    ).eval()
    maps = torch.randn(2, 4, 5, 7), torch.randn(2, 6, 5, 7)
    head.norm.running_mean.normal_()
    features = (torch.cat(maps, 1) - head.norm.running_mean.view(1, -1, 1, 1)) / (1 + 1e-5) ** 0.5
    logits = F.conv2d(features, head.conv_seg.weight, head.conv_seg.bias)
    torch.testing.assert_close(head(maps), logits)
