"""Every segmentation config trains two shrunk iterations and predicts, without being named here."""

import uuid
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from dino_mm.models import VisionTransformer
from dino_mm.utils.launch import explain_empty_dataset, fit_loaders

from ..segmentation_folders import WRITERS
from .leaves import CONFIGS, leaves

pytest.importorskip('mmseg.models')

LEAVES = leaves('segmentation')
#: Widths of ViT-S and ViT-B wherever they stand in a model, and what tests take instead.
NARROW = {384: 48, 768: 96}
SIZES = {512: 64, 1024: 96, 2048: 192, 341: 48}


def replace(value, numbers: dict):
    """A config with numbers replaced everywhere."""
    if isinstance(value, dict):
        return ConfigDict({key: replace(item, numbers) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(replace(item, numbers) for item in value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return numbers.get(value, value) if is_number else value


def place_dataset(dataset: ConfigDict, folder: Path) -> None:
    """Puts toy images in a data set's place, in its own layout."""
    for part in dataset.get('datasets', []):
        place_dataset(part, folder)
    if 'datasets' not in dataset:
        dataset.serialize_data = False
    if dataset.type == 'dino_mm.DigitMasks':
        dataset.update(data_root=str(folder / 'digits'), indices=4)
    elif 'datasets' not in dataset:
        root = folder / dataset.type
        if not root.exists():
            WRITERS[dataset.type](root)
        dataset.data_root = str(root)


def shrink_config(path: Path, folder: Path, work_dir: Path) -> Config:
    """Small images, narrow networks of four layers; heads, losses and schedules stay."""
    cfg = Config.fromfile(path)
    cfg.model = replace(cfg.model, NARROW | SIZES)
    model = cfg.model
    arch = model.backbone.arch
    if isinstance(arch, str):
        width = dict(small=48, base=96)[arch]
        model.backbone.arch = dict(embed_dims=width, num_layers=4, num_heads=6)
    if 'out_indices' in model.backbone:
        model.backbone.out_indices = (0, 1, 2, 3)
    for name in ('test_pipeline', 'tta_pipeline'):
        cfg[name] = replace(cfg[name], SIZES)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[name] = replace(cfg[name], SIZES)
        loader = cfg[name]
        loader.update(batch_size=min(loader.batch_size, 2), num_workers=0)
        loader.persistent_workers = False
        place_dataset(loader.dataset, folder)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    for scheduler in cfg.param_scheduler:  # the warm-up starts from next to nothing
        scheduler.update(begin=0, end=2)
        if scheduler.type == 'LinearLR':
            scheduler.start_factor = 0.5
    cfg.auto_scale_lr.enable = False
    cfg.custom_hooks[-1].num_images = 1
    cfg.update(work_dir=str(work_dir), experiment_name=uuid.uuid4().hex, log_level='WARNING')
    fit_loaders(cfg)
    return cfg


def write_backbone(cfg: Config, path: Path) -> dict[str, torch.Tensor]:
    """Random weights for a config's backbone, of a smaller grid, and where to find them."""
    config = {k: v for k, v in cfg.model.backbone.items() if k not in ('type', 'init_cfg')}
    config['img_size'] = 2 * config['patch_size']
    state = VisionTransformer(**config).state_dict()
    torch.save(state, path)
    cfg.model.backbone.init_cfg.checkpoint = str(path)
    return state


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_segmentation_config(path, tmp_path, tmp_path_factory) -> None:
    cfg = shrink_config(path, tmp_path_factory.getbasetemp(), tmp_path)
    given = write_backbone(cfg, tmp_path / 'given.pth')
    cfg.default_hooks.checkpoint = None
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    after = runner.model.backbone.state_dict()
    del given['pos_embed']  # resized
    moved = [key for key in given if not after[key].cpu().equal(given[key])]
    # biases of keys have no gradient but rounding
    assert (not moved) if path.stem.startswith('linear') else len(moved) > len(given) // 2
    assert 0 <= runner.message_hub.get_scalar('val/mIoU').current() <= 100
    assert (tmp_path / 'predictions.png').is_file()


def test_the_config_names_its_schedule_and_data() -> None:
    for path in LEAVES:
        if 'vit-tiny' in path.stem:
            continue
        cfg = Config.fromfile(path)
        _, _, iterations, data = path.stem.split('_')
        assert cfg.train_cfg.max_iters == 1000 * int(iterations[:-1])
        assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters
        assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin
        assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval
        classes = dict(ade20k=150, voc12aug=21, cityscapes=19, camvid=11)[data]
        for head in ('decode_head', 'auxiliary_head'):
            if head in cfg.model:
                assert cfg.model[head].num_classes == classes
        decayed = cfg.optim_wrapper.get('paramwise_cfg', {}).get('layer_decay_rate')
        assert decayed == (None if path.stem.startswith('linear') else 0.65)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'model.decode_head.num_classes': 5}, ValueError, r'decode_head.num_classes is 5, .* 11'),
        ({'model.data_preprocessor.size': (60, 60)}, ValueError, 'multiples of the patch size, 8'),
        ({'model.backbone.init_cfg.checkpoint': 'gone.pth'}, FileNotFoundError, 'init_cfg.check'),
        ({'model.backbone.num_registers': 2}, ValueError, 'register_tokens'),
    ],
)
def test_mistakes_stop_a_run_at_its_start(options, error, message, tmp_path, tmp_path_factory):
    path = CONFIGS / 'segmentation/linear_vit-tiny_digits.py'
    cfg = shrink_config(path, tmp_path_factory.getbasetemp(), tmp_path)
    write_backbone(cfg, tmp_path / 'given.pth')
    cfg.merge_from_dict(options)
    with pytest.raises(error, match=message):
        Runner.from_cfg(cfg).train()


def test_no_image_of_the_given_suffix_is_said_so(tmp_path, tmp_path_factory) -> None:
    path = CONFIGS / 'segmentation/linear_vit-tiny_camvid.py'
    cfg = shrink_config(path, tmp_path_factory.getbasetemp(), tmp_path)
    cfg.model.backbone.init_cfg = None
    cfg.train_dataloader.dataset.update(img_suffix='.tiff', serialize_data=True)
    with (
        pytest.raises(ValueError, match=r"no image.*train_dataloader.dataset: .*'\.tiff'"),
        explain_empty_dataset(cfg),
    ):
        Runner.from_cfg(cfg).train()
