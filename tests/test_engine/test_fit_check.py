"""Parts of a config that do not fit each other are told before the first iteration."""

import pytest
import torch

from dino_mm.engine.hooks import FitCheckHook
from dino_mm.registry import MODELS

CHECK = {'default_hooks.fit_check': dict(type='FitCheckHook')}
LOAD = 'train_dataloader.dataset.pipeline.0.'
CROP = 'train_dataloader.dataset.pipeline.1.'
RESNET = {
    'model.backbone': dict(_delete_=True, type='mmpretrain.ResNet', depth=18, base_channels=8),
    'model.neck': dict(type='GlobalAveragePool'),
    'model.head.in_dim': 64,
    'model.head.norm': 'bn',
}
FOREIGN_VIT = dict(
    _delete_=True,
    type='mmpretrain.TIMMBackbone',
    model_name='vit_tiny_patch16_224',
    depth=1,
    embed_dim=24,
)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'model.head.in_dim': 48}, r'model\.head\.in_dim is 48, .* set model\.head\.in_dim=24'),
        (RESNET | {'model.head.in_dim': 65}, r'set model\.head\.in_dim=64'),
        ({'model.neck.type': 'GlobalAveragePool', 'model.backbone.arch.embed_dims': 48}, 'dim=48'),
        (RESNET | {'model.neck.type': 'ClassToken'}, r"model\.neck \(ClassToken\).*'GlobalAverage"),
        (
            {CROP + 'local_size': 6},
            r'model\.backbone \(Vis.* 6 x 6 pixels \(DINOMultiCrop\.local_size',
        ),
        ({LOAD + 'channels': 5}, r'in_channels is 3, but images have 5 channels.*in_channels=5'),
        (
            {LOAD + 'channels': 5, 'model.backbone.in_channels': 5},
            r'data_preprocessor\.mean has 3 values, but images have 5 .* to 5 values',
        ),
        ({'model.backbone': FOREIGN_VIT}, r'model\.backbone \(TIMM.*32 x 32 pixels .*\(224\)'),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, message, make_runner) -> None:
    if changes.get('model.backbone') is FOREIGN_VIT:
        pytest.importorskip('timm')
    runner = make_runner(**CHECK, **changes)
    with pytest.raises(ValueError, match=message):
        runner.train()


@pytest.mark.parametrize('wrapped', [False, True])
def test_crops_of_broken_patches_are_told_with_the_nearest_sizes(
    wrapped, make_runner, monkeypatch
) -> None:
    changes = {CROP + 'global_size': (32, 44), CROP + 'num_local': 0}
    if wrapped:
        runner = make_runner(**changes)
        dataset = runner.cfg.train_dataloader.dataset
        changes = {
            'train_dataloader.dataset': dict(
                _delete_=True, type='RepeatDataset', times=1, dataset=dataset
            )
        }
    runner = make_runner(**changes, **CHECK, **{'train_cfg.max_epochs': 1})
    warnings = []
    monkeypatch.setattr(runner.logger, 'warning', warnings.append)
    runner.train()
    (warning,) = [text for text in warnings if 'multiple' in text]
    assert 'DINOMultiCrop.global_size is 32 x 44' in warning and '8 x 8' in warning
    assert warning.endswith('(32, 40) and (32, 48)')


def test_a_teacher_that_nothing_moves_is_refused(make_runner) -> None:
    runner = make_runner(**CHECK)
    runner._hooks = [hook for hook in runner.hooks if type(hook).__name__ != 'EMAHook']
    with pytest.raises(ValueError, match=r'default_hooks\.ema'):
        runner.train()


def test_the_check_changes_nothing(make_runner) -> None:
    """Weights, buffers and training flags with it are those without it, to the bit."""
    states = []
    for check in ({}, CHECK):
        runner = make_runner(**RESNET, **check)
        assert any(isinstance(hook, FitCheckHook) for hook in runner.hooks) == bool(check)
        runner.train()
        flags = [module.training for module in runner.model.modules()]
        states.append((runner.model.state_dict(), flags, torch.rand(1)))
    for name, value in states[0][0].items():
        assert value.equal(states[1][0][name]), name
    assert states[0][1:] == states[1][1:]


def test_wide_crops_fit_a_model(toy_model, make_runner) -> None:
    runner = make_runner(**CHECK, **{CROP + 'global_size': (16, 48), 'train_cfg.max_epochs': 1})
    runner.train()
    assert MODELS.get(toy_model['type']) is type(runner.model)
