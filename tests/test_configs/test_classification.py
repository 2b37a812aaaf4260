"""Every k-NN, linear and fine-tuning config runs shrunk, without being named here."""

import uuid
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from dino_mm.checkpoint import load_into
from dino_mm.datasets.converters.label_subset import main as write_subset
from dino_mm.registry import MODELS
from dino_mm.utils.launch import fit_loaders

from ..labeled_images import write_colors
from .leaves import CONFIGS, leaves

LEAVES = leaves('classification')
KNN = [path for path in LEAVES if path.parent.name == 'knn']
TRAINED = [path for path in LEAVES if path.parent.name != 'knn']


@pytest.fixture(scope='module')
def colors(tmp_path_factory) -> Path:
    root = write_colors(tmp_path_factory.mktemp('colors'))
    for percent in (1, 10):
        out = root / f'meta/train_{percent}percent.txt'
        write_subset([str(root / 'train'), str(out), '--fraction', '0.7'])
    return root


def shrink_dataset(dataset: ConfigDict, root: Path, cache: Path) -> None:
    """Puts small local images in a data set's place, and small crops."""
    kind = dataset.type.split('.')[-1]
    if kind == 'KNNDataset':
        shrink_dataset(dataset.bank, root, cache)
        shrink_dataset(dataset.queries, root, cache)
        if 'data_root' in dataset:
            dataset.data_root = str(root)
    elif kind == 'EmbeddedDigits':
        dataset.update(data_root=str(cache), scenes_per_digit=1, indices=8)
    elif kind in ('ImageNet', 'CustomDataset'):
        split = dataset.pop('split', None) or dataset.data_prefix
        # ImageNet has a thousand classes
        dataset.update(type='mmpretrain.CustomDataset', data_prefix=split, indices=6)
        if 'data_root' in dataset:
            dataset.data_root = str(root)
    else:
        raise AssertionError(f'teach this test to shrink {kind}')
    for transform in dataset.get('pipeline', []):
        if transform.get('size') in (224, 256):
            transform.size = 32


def shrink_config(path: Path, root: Path, tmp_path: Path, cache: Path) -> Config:
    """Few small images, four layers; widths, heads, losses and schedules stay."""
    cfg = Config.fromfile(path)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(name):
            cfg[name].update(batch_size=3, num_workers=0, persistent_workers=False)
            shrink_dataset(cfg[name].dataset, root, cache)
    backbone = cfg.model.backbone
    if isinstance(backbone.get('arch'), str):
        width = dict(small=384, base=768)[backbone.arch]
        backbone.arch = dict(embed_dims=width, num_layers=4, num_heads=6)
    if cfg.get('train_cfg'):
        cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.update(work_dir=str(tmp_path), experiment_name=uuid.uuid4().hex, log_level='ERROR')
    fit_loaders(cfg)
    return cfg


def random_checkpoint(cfg: Config, path: Path) -> dict[str, torch.Tensor]:
    """Writes weights for the config's backbone and returns them."""
    config = {key: value for key, value in cfg.model.backbone.items() if key != 'init_cfg'}
    if config['type'] == 'ResNet':
        config['type'] = 'mmpretrain.ResNet'
    state = MODELS.build(config).state_dict()
    torch.save(state, path)
    return state


@pytest.mark.parametrize('path', KNN, ids=lambda p: p.stem)
def test_knn_config(path, colors, tmp_path, tmp_path_factory) -> None:
    cfg = shrink_config(path, colors, tmp_path, tmp_path_factory.getbasetemp() / 'digits')
    random_checkpoint(cfg, tmp_path / 'backbone.pth')
    runner = Runner.from_cfg(cfg)
    load_into(runner.model.backbone, tmp_path / 'backbone.pth')
    metrics = runner.test()
    assert {f'knn/k{k}_top{n}' for k in (10, 20, 100, 200) for n in (1, 5)} <= metrics.keys()
    assert (tmp_path / 'knn.json').is_file() and list((tmp_path / 'features').iterdir())


@pytest.mark.parametrize('path', TRAINED, ids=lambda p: p.stem)
def test_classification_config(path, colors, tmp_path, tmp_path_factory) -> None:
    cfg = shrink_config(path, colors, tmp_path, tmp_path_factory.getbasetemp() / 'digits')
    cfg.train_dataloader.dataset.indices = 6
    given = random_checkpoint(cfg, tmp_path / 'given.pth')
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / 'given.pth')
    cfg.default_hooks.checkpoint = None  # hundreds of megabytes
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    model = runner.model
    frozen = path.parent.name == 'linear_probe'
    after = {key: value.cpu() for key, value in model.backbone.state_dict().items()}
    moved = [key for key in given if not after[key].equal(given[key])]
    assert (not moved) if frozen else moved
    state = runner.optim_wrapper.optimizer.state
    assert any(value.abs().sum() > 0 for value in state[model.head.fc.weight].values())
    model.train()
    assert model.backbone.training is not frozen
    assert all(part.training is not frozen for part in model.backbone.modules())
    assert 0 <= runner.message_hub.get_scalar('val/accuracy/top1').current() <= 100


def test_the_published_linear_settings() -> None:
    small = Config.fromfile(CONFIGS / 'linear_probe/dino_vit-s16_linear_in1k.py')
    base = Config.fromfile(CONFIGS / 'linear_probe/dino_vit-b16_linear_in1k.py')
    assert small.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0
    )
    assert small.auto_scale_lr == dict(enable=True, base_batch_size=256)
    assert small.train_cfg.max_epochs == small.param_scheduler.T_max == 100
    assert tuple(small.model.backbone.out_indices) == (-4, -3, -2, -1)
    assert not small.model.neck.avg_patches and small.model.head.in_channels == 4 * 384
    assert tuple(base.model.backbone.out_indices) == (-1,)
    assert base.model.neck.avg_patches and base.model.head.in_channels == 2 * 768
