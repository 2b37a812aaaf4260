"""Every pretraining config builds and takes one shrunk iteration, without being named here."""

import uuid
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from dino_mm.utils.launch import fit_loaders

from ..shard_files import write_tars
from .leaves import CONFIGS, leaves

PRETRAINING = leaves('pretraining')


def shrink_dataset(dataset: ConfigDict, images: Path, cache: Path) -> None:
    """Puts small local images in a data set's place."""
    for key in ('bank', 'queries'):
        if key in dataset:
            shrink_dataset(dataset[key], images, cache)
    if dataset.type == 'UnlabelledImageFolder':
        dataset.data_root = str(images)
    elif dataset.type == 'TorchvisionDataset':
        size = {'CIFAR10': 32, 'STL10': 96}[dataset.dataset]
        dataset.dataset = 'FakeData'
        dataset.dataset_args = dict(size=8, image_size=(3, size, size))
    elif dataset.type == 'EmbeddedDigits':
        dataset.update(data_root=str(cache), scenes_per_digit=1, indices=8)
    elif dataset.type == 'ShardedImages':
        pytest.importorskip('datasets')
        dataset.data_root = str(write_tars(cache.with_name('shards'), (2,)))
    elif dataset.type != 'KNNDataset':
        raise AssertionError(f'teach this test to shrink {dataset.type}')


def shrink_pretraining(cfg: Config, images: Path, cache: Path) -> None:
    """Two images, small crops, a small head; networks keep their depth and width."""
    for name in ('train_dataloader', 'val_dataloader'):
        if cfg.get(name):
            cfg[name].update(batch_size=2, num_workers=0, persistent_workers=False)
            shrink_dataset(cfg[name].dataset, images, cache)
    is_stream = cfg.train_cfg.type == 'StreamTrainLoop'
    if not is_stream:
        cfg.train_dataloader.dataset.indices = 2
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform.type == 'DINOMultiCrop':
            transform.global_size = min(transform.get('global_size', 224), 64)
            transform.local_size = min(transform.get('local_size', 96), 32)
    cfg.model.head.update(out_dim=64, hidden_dim=32, bottleneck_dim=16)
    length = dict(max_iters=1, epoch_length=1) if is_stream else dict(max_epochs=1)
    cfg.train_cfg.update(length, val_interval=1)
    cfg.load_from = None  # of the config that continues a run
    # Their warm-ups are longer than one iteration.
    cfg.param_scheduler.warmup = cfg.model.loss.warmup_teacher_temp_epochs = 0
    cfg.default_hooks.freeze_last_layer.epochs = 0
    cfg.auto_scale_lr.enable = False


@pytest.mark.parametrize('path', PRETRAINING, ids=lambda p: p.stem)
def test_pretraining_config_takes_an_iteration(path, image_folder, tmp_path, tmp_path_factory):
    cfg = Config.fromfile(path)
    shrink_pretraining(cfg, image_folder, tmp_path_factory.getbasetemp() / 'digits')
    cfg.merge_from_dict(dict(work_dir=str(tmp_path), experiment_name=uuid.uuid4().hex))
    cfg.log_level = 'ERROR'
    fit_loaders(cfg)
    runner = Runner.from_cfg(cfg)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    assert runner.iter == 1
    after = runner.model.state_dict()
    for network in ('student', 'teacher'):
        moved = [k for k in after if k.startswith(network) and not after[k].equal(before[k])]
        assert moved, network
    assert (tmp_path / 'backbone.pth').is_file() and (tmp_path / 'curves.png').is_file()


def test_the_vanilla_recipe_has_the_published_settings() -> None:
    cfg = Config.fromfile(CONFIGS / 'dino_vit-s16_8xb64.py')
    hooks = cfg.default_hooks
    assert cfg.train_dataloader.batch_size == 64 and cfg.train_cfg.max_epochs == 100
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=5e-4, fused=True)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=256)
    assert cfg.optim_wrapper.clip_grad == 3.0
    assert (cfg.param_scheduler.warmup, cfg.param_scheduler.eta_min) == (10, 1e-6)
    assert (hooks.weight_decay.start, hooks.weight_decay.end) == (0.04, 0.4)
    assert (hooks.ema.momentum, hooks.freeze_last_layer.epochs) == (0.996, 1)
    assert cfg.model.backbone.drop_path_rate == 0.1
    assert cfg.model.head.out_dim == 65536 and cfg.model.head.norm_last_layer
    loss = cfg.model.loss
    temperatures = (loss.student_temp, loss.teacher_temp, loss.warmup_teacher_temp)
    assert temperatures == (0.1, 0.04, 0.04) and loss.warmup_teacher_temp_epochs == 0
