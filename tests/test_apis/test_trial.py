"""--trial shrinks configs of every kind of loop."""

import pytest
from mmengine.config import Config

from dino_mm.apis import train
from dino_mm.apis.trial import shrink

from ..conftest import TOOLS
from ..shard_files import write_tars

SEGMENTATION = TOOLS.parent / 'configs/segmentation'


def test_iterations_schedules_and_checkpoints_of_a_segmentation_config() -> None:
    pytest.importorskip('mmseg.models')
    cfg = Config.fromfile(SEGMENTATION / 'upernet_vit-s16_20k_voc12aug.py')
    shrink(cfg)
    assert cfg.train_cfg.max_iters == cfg.train_cfg.val_interval == 8
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 8), (1, 8)]
    assert cfg.default_hooks.checkpoint.interval == 8 and cfg.default_hooks.logger.interval == 1
    parts = cfg.train_dataloader.dataset.datasets
    assert [part.indices for part in parts] == [16, 16] and 'indices' not in cfg.train_dataloader
    assert cfg.val_dataloader.dataset.indices == 16 and cfg.train_dataloader.num_workers == 1


def test_lengths_of_schedules_fit_into_a_trial() -> None:
    cfg = Config.fromfile(TOOLS.parent / 'configs/dino_vit-s16_16xb64-300e.py')
    cfg.default_hooks.freeze_last_layer.epochs = '2000 steps'
    shrink(cfg)
    assert cfg.param_scheduler.warmup == cfg.model.loss.warmup_teacher_temp_epochs == 1
    assert cfg.default_hooks.freeze_last_layer.epochs == '1 steps'
    cfg.param_scheduler.warmup = '10%'
    shrink(cfg)
    assert cfg.param_scheduler.warmup == '10%'


def test_images_for_every_process() -> None:
    cfg = Config.fromfile(TOOLS.parent / 'configs/dino_vit-s16_8xb64.py')
    shrink(cfg, processes=8)
    assert cfg.train_dataloader.dataset.indices == 4 * 4 * 8


def test_a_trial_in_bfloat16_on_cpu(tmp_path, monkeypatch) -> None:
    """The command line, through loops of iterations and a wrapper of MMEngine's."""
    pytest.importorskip('mmseg.models')
    monkeypatch.setattr('dino_mm.utils.launch.best_amp_dtype', lambda: 'bfloat16')
    config = str(SEGMENTATION / 'upernet_vit-tiny_digits.py')
    options = [f'{name}_dataloader.dataset.data_root={tmp_path}' for name in ('train', 'val')]
    options += ['model.backbone.init_cfg=None']
    command = [config, '--trial', '--amp', '--work-dir', str(tmp_path / 'work')]
    train.main([*command, '--cfg-options', *options])
    assert (tmp_path / 'work/iter_8.pth').is_file()
    assert (tmp_path / 'work/predictions.png').is_file()


def test_a_trial_on_shards(tmp_path) -> None:
    """The command line, with a data worker, on fewer images than a buffer would hold."""
    pytest.importorskip('datasets')
    write_tars(tmp_path / 'shards', (5, 5))
    config = str(TOOLS.parent / 'configs/dino_vit-s16_shards_8xb64.py')
    data = 'train_dataloader.dataset'
    options = [f'{data}.data_root={tmp_path / "shards"}', 'model.head.out_dim=64']
    options += [f'{data}.pipeline.1.{key}' for key in ('global_size=32', 'local_size=16')]
    options += [f'{data}.pipeline.1.num_local=1', 'default_hooks.checkpoint=None']
    cfg = train.build_config(train.parse_args([config, '--trial', '--cfg-options', *options]))
    assert cfg.train_cfg.max_iters == 8 and cfg.train_cfg.epoch_length == 4
    assert cfg.train_dataloader.dataset.buffer_size == 16
    train.main([config, '--trial', '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options])
    for file in ('backbone.pth', 'attention.png', 'neighbors.png'):
        assert (tmp_path / 'work' / file).is_file()
