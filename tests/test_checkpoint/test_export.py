"""Exported backbones load anywhere and say where they come from."""

import argparse
import copy
import json
import sys

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import MODELS

from dino_mm.checkpoint import CheckpointError, export, load_backbone
from dino_mm.checkpoint.export import export_backbone, main
from dino_mm.models import VisionTransformer
from dino_mm.utils.files import plain
from tests.test_checkpoint.conftest import randomize, tokens

NARROW = dict(embed_dims=24, num_layers=2, num_heads=3)
CONFIG = """default_scope = 'dino_mm'
model = dict(
    type='DINO',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=24, num_layers=2, num_heads=3),
        img_size=(16, 40),
        patch_size=8,
        interpolate_mode='exact'))
"""


@pytest.fixture
def vit() -> VisionTransformer:
    return randomize(
        VisionTransformer(NARROW, img_size=(16, 40), patch_size=8, interpolate_mode='exact')
    )


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 3, 16, 40, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def run_file(vit, tmp_path):
    """What MMEngine saves of a run."""
    state = {f'teacher.backbone.{key}': value for key, value in vit.state_dict().items()}
    state |= {f'student.backbone.{key}': value * 2 for key, value in vit.state_dict().items()}
    logs = {'val/knn/k20_top1': HistoryBuffer([10.0, 62.5], [1, 1])}
    content = dict(
        state_dict=state,
        meta=dict(cfg=CONFIG, epoch=7, iter=70, seed=0),
        message_hub=dict(log_scalars=logs, runtime_info={}, resumed_keys={}),
    )
    torch.save(content, tmp_path / 'epoch_7.pth')
    return tmp_path / 'epoch_7.pth'


def test_plain_types():
    value = dict(a=np.float64(1.5), b=(torch.tensor(2), {3}), c=np.arange(2), d=None, e=ValueError)
    found = plain(value)
    assert found == dict(a=1.5, b=[2, [3]], c=[0, 1], d=None, e="<class 'ValueError'>")
    assert type(found['a']) is float and type(found['b'][0]) is int


def test_a_written_backbone_needs_no_config(vit, image, tmp_path):
    assert export_backbone(vit, tmp_path / 'new' / 'backbone.pth', dict(epoch=3)) is None
    content = torch.load(tmp_path / 'new' / 'backbone.pth', weights_only=True)
    assert content['meta']['epoch'] == 3 and content['meta']['dino_mm_version']
    assert content['state_dict'].keys() == vit.state_dict().keys()
    # three heads and a grid of 2 x 5 patches: the tensors alone do not tell
    loaded = load_backbone(tmp_path / 'new' / 'backbone.pth')
    assert torch.equal(tokens(loaded, image), tokens(vit, image))
    assert loaded.interpolate_mode == vit.interpolate_mode == 'exact'
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['backbone.pth']


def test_halves_are_written_in_full(vit, tmp_path):
    export_backbone(copy.deepcopy(vit).bfloat16(), tmp_path / 'backbone.pth')
    state = torch.load(tmp_path / 'backbone.pth', weights_only=True)['state_dict']
    for key, value in vit.state_dict().items():
        assert state[key].dtype is torch.float32
        torch.testing.assert_close(state[key], value, rtol=0.01, atol=0)


@pytest.mark.parametrize('layer_scale', [0.0, 0.1])
def test_mmpretrain_layout(layer_scale, image, tmp_path):
    vit = randomize(VisionTransformer(NARROW, (16, 40), 8, layer_scale=layer_scale))
    path = str(tmp_path / 'backbone.pth')
    assert export_backbone(vit, path, layout='mmpretrain') < 1e-5
    # the way mmpretrain's users load a backbone
    theirs = MODELS.build(
        dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(NARROW, feedforward_channels=96),
            img_size=(16, 40),
            patch_size=8,
            out_type='raw',
            layer_scale_init_value=layer_scale,
            init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'),
        )
    )
    theirs.init_weights()
    theirs.eval()
    with torch.no_grad():
        assert torch.allclose(theirs(image)[0], tokens(vit, image), atol=1e-5)
    assert torch.equal(tokens(load_backbone(path), image), tokens(vit, image))


@pytest.mark.parametrize('options', [{}, dict(layer_scale=0.1, num_registers=2)])
def test_timm_layout(options, image, tmp_path):
    timm = pytest.importorskip('timm')
    vit = randomize(VisionTransformer(dict(NARROW, num_layers=12), 224, 16, **options))
    path = str(tmp_path / 'backbone.pth')
    assert export_backbone(vit, path, layout='timm') < 1e-5
    theirs = timm.create_model(
        'vit_tiny_patch16_224',
        embed_dim=24,
        init_values=options.get('layer_scale'),
        reg_tokens=options.get('num_registers', 0),
        no_embed_class=bool(options),
        num_classes=0,
        checkpoint_path=path,
    )
    theirs.eval()
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(theirs.forward_features(image), tokens(vit, image), atol=1e-5)


def test_a_wrong_conversion_is_noticed_and_leaves_no_file(vit, tmp_path, monkeypatch):
    pytest.importorskip('timm')
    good = export.to_timm
    monkeypatch.setattr(export, 'to_timm', lambda state: good(swapped_norms(state)))

    def swapped_norms(state):
        first, second = 'blocks.0.norm1.weight', 'blocks.0.norm2.weight'
        return state | {first: state[second], second: state[first]}

    with pytest.raises(ValueError, match='timm layout differ by'):
        export_backbone(vit, tmp_path / 'backbone.pth', layout='timm')
    assert list(tmp_path.iterdir()) == []


def test_layouts_that_cannot_hold_a_backbone(tmp_path):
    with_registers = VisionTransformer(NARROW, 16, 8, num_registers=2)
    with pytest.raises(CheckpointError, match='register tokens'):
        export_backbone(with_registers, tmp_path / 'a.pth', layout='mmpretrain')
    with pytest.raises(ValueError, match='not Linear'):
        export_backbone(torch.nn.Linear(2, 2), tmp_path / 'a.pth', layout='timm')
    with pytest.raises(ValueError, match='layout must be one of'):
        export_backbone(with_registers, tmp_path / 'a.pth', layout='keras')


def test_other_backbones_keep_the_config_they_were_trained_with(tmp_path):
    text = "model = dict(backbone=dict(type='mmpretrain.ResNet', depth=18, init_cfg=dict(a=1)))"
    resnet = randomize(MODELS.build(dict(type='mmpretrain.ResNet', depth=18)))
    export_backbone(resnet, tmp_path / 'backbone.pth', dict(config=text))
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        found = load_backbone(tmp_path / 'backbone.pth')(image)[0]
        assert torch.equal(found, resnet(image)[0])


def test_command_line_keeps_provenance(run_file, vit, image, tmp_path, capsys):
    out = tmp_path / 'out.pth'
    main([str(run_file), str(out), '--format', 'mmpretrain'])
    assert 'largest difference of features to mmpretrain' in capsys.readouterr().out
    meta = torch.load(out, weights_only=True)['meta']
    assert meta['config'] == CONFIG and (meta['epoch'], meta['iter']) == (7, 70)
    assert meta['knn'] == dict(k20_top1=62.5)
    assert (meta['source'], meta['network']) == ('epoch_7.pth', 'teacher')
    # an export of the export still names the run's file
    main([str(out), str(tmp_path / 'again.pth')])
    again = torch.load(tmp_path / 'again.pth', weights_only=True)
    assert again['meta']['source'] == 'epoch_7.pth' and again['meta']['knn'] == meta['knn']
    assert torch.equal(again['state_dict']['norm.weight'], vit.norm.weight)


def test_command_line_takes_published_full_files(image, tmp_path):
    vit = randomize(VisionTransformer(dict(NARROW, embed_dims=64, num_heads=1), 16, 8))
    state = {f'backbone.{key}': value for key, value in vit.state_dict().items()}
    options = argparse.Namespace(arch='vit_small', lr=0.0005)
    torch.save(dict(student={}, teacher=state, epoch=100, args=options), tmp_path / 'full.pth')
    main([str(tmp_path / 'full.pth'), str(tmp_path / 'out.pth')])
    content = torch.load(tmp_path / 'out.pth', weights_only=True)
    assert content['meta']['epoch'] == 100
    assert content['meta']['args'] == dict(arch='vit_small', lr=0.0005)
    assert torch.equal(tokens(load_backbone(tmp_path / 'out.pth'), image), tokens(vit, image))


def test_command_line_exports_the_student(run_file, vit, tmp_path):
    out = tmp_path / 'out.pth'
    main([str(run_file), str(out), '--network', 'student'])
    content = torch.load(out, weights_only=True)
    assert torch.equal(content['state_dict']['norm.weight'], 2 * vit.norm.weight)
    assert 'knn' not in content['meta'], 'the logged accuracy is the teacher`s'
    assert torch.equal(load_backbone(out, network='student').norm.weight, 2 * vit.norm.weight)


@pytest.mark.parametrize('runtime', ['onnxruntime', 'reference'])
def test_onnx(runtime, run_file, vit, tmp_path, monkeypatch, capsys):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxscript')
    if runtime == 'reference':
        monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    else:
        pytest.importorskip('onnxruntime')
    from dino_mm.checkpoint.export_onnx import main, run_onnx

    out = tmp_path / 'backbone.onnx'
    main([str(run_file), str(out), '--size', '24', '32'])
    assert 'images of 24x32' in capsys.readouterr().out
    image = torch.randn(3, 3, 24, 32)
    class_token, patch_tokens = run_onnx(out, image.numpy())
    expected = tokens(vit, image).numpy()
    assert np.abs(class_token - expected[:, 0]).max() < 1e-4
    assert np.abs(patch_tokens - expected[:, 1:]).max() < 1e-4
    properties = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert json.loads(properties['dino_mm'])['epoch'] == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ['backbone.onnx', 'epoch_7.pth']


@pytest.mark.parametrize('mode', ['exact', 'antialias'])
def test_onnx_of_any_size(mode, run_file, vit, tmp_path, capsys):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    from dino_mm.checkpoint.export_onnx import main, run_onnx

    out = tmp_path / 'backbone.onnx'
    main([str(run_file), str(out), '--dynamic', '--interpolate-mode', mode])
    assert 'images of any size' in capsys.readouterr().out
    vit.interpolate_mode = mode
    # the size of pretraining, no multiple of the patches, much larger, the smallest
    for batch, height, width in ((1, 16, 40), (3, 37, 50), (2, 96, 64), (1, 16, 16)):
        image = torch.randn(batch, 3, height, width)
        class_token, patch_tokens = run_onnx(out, image.numpy())
        expected = tokens(vit, image).numpy()
        assert np.abs(class_token - expected[:, 0]).max() < 1e-4
        assert np.abs(patch_tokens - expected[:, 1:]).max() < 1e-4


def test_what_cannot_be_exported_for_any_size(tmp_path, capsys):
    pytest.importorskip('onnxscript')
    from dino_mm.checkpoint.export_onnx import check_dynamic, main

    reference = VisionTransformer(dict(NARROW, embed_dims=64, num_heads=1), 16, 8)
    torch.save(reference.state_dict(), tmp_path / 'plain.pth')
    with pytest.raises(SystemExit):
        main([str(tmp_path / 'plain.pth'), str(tmp_path / 'a.onnx'), '--dynamic'])
    assert 'pass --interpolate-mode exact' in capsys.readouterr().err
    windows = VisionTransformer(NARROW, 32, 8, window_size=2, interpolate_mode='exact')
    with pytest.raises(ValueError, match='fixed size: leave --dynamic out'):
        check_dynamic(windows)
    with pytest.raises(ValueError, match='not Linear'):
        check_dynamic(torch.nn.Linear(2, 2))


@pytest.mark.parametrize('out_type', ['cls_token', 'featmap'])
def test_torch_export_of_any_size(out_type):
    vit = VisionTransformer(NARROW, 16, 8, out_type=out_type, interpolate_mode='exact')
    randomize(vit)
    sides = {i: torch.export.Dim(f'side_{i}', min=16) for i in (2, 3)}
    with torch.no_grad():
        exported = torch.export.export(
            vit,
            (torch.zeros(2, 3, 24, 32),),
            dynamic_shapes=({0: torch.export.Dim('batch'), **sides},),
        ).module()
        for size in ((1, 3, 16, 16), (3, 3, 40, 29)):
            image = torch.randn(size)
            torch.testing.assert_close(exported(image), vit(image))


def test_onnx_says_what_is_missing(vit, tmp_path, monkeypatch):
    from dino_mm.checkpoint.export_onnx import export_onnx

    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ImportError, match='pip install onnx onnxscript'):
        export_onnx(vit, tmp_path / 'a.onnx', torch.zeros(2, 3, 16, 40))
