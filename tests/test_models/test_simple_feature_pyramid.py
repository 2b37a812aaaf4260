import pytest
import torch
from mmcv.cnn import ConvModule

from dino_mm.models import LayerNorm2d, SimpleFeaturePyramid


def test_levels_have_the_strides_of_a_pyramid() -> None:
    neck = SimpleFeaturePyramid(16, 8, num_outs=6)
    x = torch.randn(2, 16, 6, 10)
    levels = neck((torch.zeros(2, 16, 6, 10), x))
    sizes = [(24, 40), (12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]
    assert [tuple(level.shape) for level in levels] == [(2, 8, *size) for size in sizes]
    torch.testing.assert_close(levels[4], levels[3][..., ::2, ::2])
    torch.testing.assert_close(levels[5], levels[4][..., ::2, ::2])
    torch.testing.assert_close(levels[2], neck.project[2](x))
    for level in levels:  # normalized place by place
        torch.testing.assert_close(level.mean(1), torch.zeros(level[:, 0].shape), atol=1e-5, rtol=0)


def test_a_coarse_place_becomes_a_block_of_fine_ones() -> None:
    neck = SimpleFeaturePyramid(16, 8)
    x = torch.randn(1, 16, 3, 3, requires_grad=True)
    neck.resize[0](x)[..., 4:8, 8:12].sum().backward()  # row 1, column 2
    assert x.grad.abs().sum(1)[0].nonzero().tolist() == [[1, 2]]


def test_every_parameter_learns() -> None:
    neck = SimpleFeaturePyramid(16, 8)
    sum((level**3).sum() for level in neck((torch.randn(1, 16, 4, 4),))).backward()
    assert all(p.grad.abs().max() > 0 for p in neck.parameters())


def test_levels_are_float32_under_autocast() -> None:
    with torch.autocast('cpu', torch.bfloat16):
        levels = SimpleFeaturePyramid(16, 8)((torch.randn(1, 16, 4, 4),))
    assert {level.dtype for level in levels} == {torch.float32}


def test_fewer_levels_than_the_pyramid_has_are_refused() -> None:
    with pytest.raises(ValueError, match='num_outs'):
        SimpleFeaturePyramid(16, num_outs=3)


def test_layer_norm_of_channels_in_mmcv_layers() -> None:
    norm_cfg = dict(type='dino_mm.LayerNorm2d', eps=1e-6)  # mmcv's default is 1e-5
    layer = ConvModule(3, 6, 3, padding=1, norm_cfg=norm_cfg, act_cfg=None)
    assert isinstance(layer.norm, LayerNorm2d)
    x = torch.randn(2, 3, 5, 4)
    features = layer.conv(x)
    deviation = (features - features.mean(1, keepdim=True)) / (
        features.var(1, keepdim=True, unbiased=False) + 1e-6
    ).sqrt()
    torch.testing.assert_close(layer(x), deviation)
