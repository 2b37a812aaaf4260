"""The backbone that evaluation commands look at."""

from pathlib import Path

import pytest
import torch

from dino_mm.checkpoint.export import export_backbone
from dino_mm.evaluation.backbone import FrozenBackbone
from dino_mm.evaluation.command import ARCHITECTURES, base_parser, load_frozen_backbone
from dino_mm.evaluation.davis.run import STD
from dino_mm.models import VisionTransformer

TINY = dict(arch=dict(embed_dims=24, num_layers=2, num_heads=2), img_size=32, patch_size=8)


def arguments(*options: str):
    return base_parser('test', 'work').parse_args(['data', *options])


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'tiny.py'
    path.write_text(f"model = dict(backbone=dict(type='VisionTransformer', **{TINY}))")
    return str(path)


def test_untrained_baselines_differ_by_their_seed(config) -> None:
    options = ['--checkpoint', 'random', '--config', config]
    first, again = (
        load_frozen_backbone(arguments(*options)),
        load_frozen_backbone(arguments(*options)),
    )
    other = load_frozen_backbone(arguments(*options, '--seed', '1'))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.source['seed'] == 0 and first.source['network'] is None
    assert not first.module.training


def test_weights_come_from_the_file(config, tmp_path) -> None:
    model = VisionTransformer(**TINY).eval()
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    backbone = load_frozen_backbone(
        arguments('--checkpoint', str(tmp_path / 'weights.pth'), '--config', config)
    )
    images = torch.randint(0, 255, (2, 3, 32, 24), dtype=torch.uint8)
    inputs = backbone.normalize(images)
    with torch.no_grad():
        torch.testing.assert_close(backbone.descriptor(inputs).cpu(), model(inputs.cpu())[-1])
        tokens = backbone.tokens(inputs)
    assert tokens.shape == (2, 1 + backbone.num_patches(images), 24)
    assert backbone.class_attention(images).shape == (2, 2, 4, 3)


@torch.no_grad()
def test_half_precision_is_near_and_has_features_of_its_own(config, monkeypatch) -> None:
    monkeypatch.setattr('dino_mm.evaluation.command.best_amp_dtype', lambda: 'bfloat16')
    options = ['--checkpoint', 'random', '--config', config]
    full, half = (
        load_frozen_backbone(arguments(*options)),
        load_frozen_backbone(arguments(*options, '--amp')),
    )
    assert full.fingerprint != half.fingerprint  # caches are kept apart
    assert half.source['dtype'] == 'bfloat16'
    images = torch.randint(0, 255, (2, 3, 32, 24), dtype=torch.uint8)
    for method in ('tokens', 'descriptor', 'class_attention'):
        inputs = images if method == 'class_attention' else full.normalize(images)
        exact, rough = getattr(full, method)(inputs), getattr(half, method)(inputs)
        assert rough.dtype is torch.float32
        assert not torch.equal(rough, exact)
        torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


def test_normalization_of_protocol_and_config(config, tmp_path) -> None:
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    options = ['--checkpoint', 'random', '--config']
    published = (
        load_frozen_backbone(arguments(*options, config), std=STD)
        .normalize(white)[0, :, 0, 0]
        .cpu()
    )
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.228, 0.224, 0.225])
    assert torch.allclose(published, expected)
    own = tmp_path / 'own.py'
    own.write_text(
        f"_base_ = '{config}'\nmodel = dict(data_preprocessor=dict(mean=(0.5,) * 3, std=(0.5,) * 3))"
    )
    assert torch.allclose(
        load_frozen_backbone(arguments(*options, str(own)), std=STD).normalize(white).cpu(),
        torch.ones(1, 3, 8, 8),
    )


def white_pixel(*options: str) -> float:
    backbone = load_frozen_backbone(arguments(*options))
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    return float(backbone.normalize(white)[0, 0, 0, 0])


IMAGENET = (1 - 0.485) / 0.229


@pytest.mark.parametrize(
    'model, expected',
    [
        ("type='DINO', data_preprocessor=dict(mean=[0.5, 0.4, 0.3], std=[0.25, 0.2, 0.1])", 2.0),
        (
            "data_preprocessor=dict(type='dino_mm.MultiCropDataPreprocessor', "
            'mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])',
            1.0,
        ),
        ("type='DINO'", IMAGENET),
        # mmpretrain's, of values up to 255
        ("type='ImageClassifier', data_preprocessor=dict(mean=[124, 116, 104])", IMAGENET),
    ],
)
def test_normalization_of_the_stored_config(model, expected, config, tmp_path, monkeypatch) -> None:
    module = VisionTransformer(**TINY)
    text = f'model = dict({model}, backbone={dict(type="VisionTransformer", **TINY)})'
    trained = {f'teacher.backbone.{key}': value for key, value in module.state_dict().items()}
    torch.save(dict(state_dict=trained, meta=dict(cfg=text)), tmp_path / 'epoch_1.pth')
    export_backbone(module, tmp_path / 'backbone.pth', dict(config=text))
    monkeypatch.setitem(ARCHITECTURES, 'tiny', dict(type='VisionTransformer', **TINY))
    telling = str(tmp_path / 'telling.py')
    Path(telling).write_text(
        f"_base_ = '{config}'\nmodel = dict(data_preprocessor=dict(mean=(0.5,) * 3, std=(0.5,) * 3))"
    )
    for file in ('epoch_1.pth', 'backbone.pth'):
        options = ['--checkpoint', str(tmp_path / file)]
        assert white_pixel(*options) == pytest.approx(expected)
        for silent in (['--config', config], ['--arch', 'tiny']):
            assert white_pixel(*options, *silent) == pytest.approx(expected)
        assert white_pixel(*options, '--config', telling) == pytest.approx(1)


def test_maps_are_averaged_and_have_no_tokens() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    backbone = FrozenBackbone(module, dict(mean=(0.0,) * 3, std=(1.0,) * 3), {})
    images = torch.rand(2, 3, 5, 6, device=backbone.device)
    assert torch.allclose(backbone.descriptor(images), module(images).mean(dim=(2, 3)))
    with pytest.raises(TypeError, match='Sequential has no get_intermediate_layers'):
        backbone.tokens(images)


def test_configs_without_a_backbone(tmp_path) -> None:
    path = tmp_path / 'empty.py'
    path.write_text('model = dict()')
    with pytest.raises(ValueError, match='empty.py has no model.backbone'):
        load_frozen_backbone(arguments('--checkpoint', 'random', '--config', str(path)))
