"""A key that nothing would read is refused by its path, with what may have been meant."""

import pytest
from mmengine.config import Config

from dino_mm.apis import test as test_api
from dino_mm.apis import train
from dino_mm.apis.config_check import check_keys, check_top_level

from ..conftest import TOOLS
from ..test_configs.leaves import CONFIGS, FAMILIES, leaves

QUICKSTART = TOOLS.parent / 'configs/quickstart/dino_vit-tiny_digits.py'


@pytest.mark.parametrize(
    ('option', 'meant'),
    [
        ('lr=1', r'optim_wrapper\.optimizer\.lr'),
        ('epochs=3', r'train_cfg\.max_epochs'),
        ('train_dataloder.batch_size=4', 'did you mean train_dataloader'),
        ('seed=3', r'randomness\.seed'),
        ('data_root=x', r'variable of the config file .* train_dataloader\.dataset\.data_root'),
        ('zzz=1', 'nothing reads zzz$'),
    ],
)
def test_options_that_change_nothing_are_refused(option, meant) -> None:
    arguments = [str(QUICKSTART), '--cfg-options', option]
    with pytest.raises(ValueError, match=meant):
        train.build_config(train.parse_args(arguments))
    arguments.insert(1, str(QUICKSTART))
    with pytest.raises(ValueError, match=meant):
        test_api.build_config(test_api.parse_args(arguments))


@pytest.mark.parametrize(
    ('line', 'meant'),
    [
        (
            'train_dataloder = dict()',
            'nothing reads train_dataloder, did you mean train_dataloader',
        ),
        ('optim_wraper = dict()', 'optim_wrapper'),
        ('default_hook = dict()', 'default_hooks'),
    ],
)
def test_misspelled_keys_of_a_file_are_refused(line, meant, tmp_path) -> None:
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{QUICKSTART}'\n{line}\n")
    with pytest.raises(ValueError, match=f'mine.py: .*{meant}'):
        train.build_config(train.parse_args([str(path)]))


def test_a_file_may_have_variables(tmp_path) -> None:
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = '{QUICKSTART}'\nlr = 1e-3\noptim_wrapper = dict(optimizer=dict(lr=lr))"
    )
    cfg = train.build_config(train.parse_args([str(path)]))
    assert cfg.optim_wrapper.optimizer.lr == 1e-3


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('model.hed.out_dim', 'head'),
        ('model.backbone.patchsize', 'patch_size'),
        ('model.head.out_dims', 'out_dim'),
        ('model.loss.teacher_temprature', 'teacher_temp'),
        ('train_dataloader.batchsize', 'batch_size'),
        ('train_dataloader.sampler.shufle', 'shuffle'),
        ('train_dataloader.dataset.data_rot', 'data_root'),
        ('train_dataloader.dataset.pipeline.1.global_sizes', 'global_size'),
        ('optim_wrapper.clip_gradient', 'clip_grad'),
        ('optim_wrapper.optimizer.weight_deca', 'weight_decay'),
        ('param_scheduler.warm_up', 'warmup'),
        ('train_cfg.max_epoch', 'max_epochs'),
        ('val_evaluator.temprature', 'temperature'),
        ('default_hooks.ema.momentm', 'momentum'),
        ('default_hooks.checkpoint.intervall', 'interval'),
        ('default_hooks.emaa.momentum', 'ema'),
        ('auto_scale_lr.base_batchsize', 'base_batch_size'),
        ('env_cfg.cudnn_benchmrk', 'cudnn_benchmark'),
        ('randomness.seeed', 'seed'),
    ],
)
def test_a_mistyped_key_of_any_part_is_named_with_its_path(key, meant) -> None:
    cfg = Config.fromfile(QUICKSTART)
    cfg.merge_from_dict({key: 1})
    path = key.rpartition('.')[0] if key.count('.') == 2 and meant in ('head', 'ema') else key
    with pytest.raises(ValueError, match=path.replace('.', r'\.')) as error:
        check_keys(cfg)
    assert f'did you mean {meant}' in str(error.value)


def test_shipped_configs_pass(tmp_path, monkeypatch) -> None:
    """And with the options that the pages name, see tests/test_docs.py."""
    monkeypatch.setenv('DINO_MM_DATA', str(tmp_path))
    for family in FAMILIES:
        for path in leaves(family):
            check_top_level(Config.fromfile(path), {})
    for name in (
        'dino_resnet50_8xb64',
        'knn/dino_vit-s16_knn_in1k',
        'finetune/dino_vit-s16_ft_in1k',
    ):
        check_keys(Config.fromfile(CONFIGS / f'{name}.py'))


def test_any_default_hook_may_be_left_out(make_runner) -> None:
    cfg = make_runner().cfg
    cfg.default_hooks.update(weight_decay=None, timer=None)
    names = [type(hook).__name__ for hook in train.build_runner(cfg).hooks]
    assert not {'WeightDecayHook', 'IterTimerHook'} & set(names) and 'EMAHook' in names
