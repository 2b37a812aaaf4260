"""Every detection config trains two shrunk iterations and predicts, without being named here."""

import uuid
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from dino_mm.apis.train import build_runner
from dino_mm.models import VisionTransformer

from .leaves import CONFIGS, leaves
from .toy_detection import (
    IMAGES,
    SIZE,
    Predictions,
    assert_inside,
    shrink_detection,
    shrink_model,
)

pytest.importorskip('mmdet')

DETECTION = leaves('detection')


def pretrained(backbone: ConfigDict, folder: Path) -> Path:
    """A checkpoint by the published names of images of 32 pixels, without relative positions."""
    torch.manual_seed(7)
    model = VisionTransformer(
        backbone.arch,
        img_size=32,
        patch_size=backbone.patch_size,
        stem=backbone.get('stem', 'linear'),
    )
    torch.save(model.state_dict(), folder / 'backbone.pth')
    return folder / 'backbone.pth'


@pytest.mark.parametrize('path', DETECTION, ids=lambda p: p.stem)
def test_detection_config_trains_and_predicts(path, tmp_path) -> None:
    cfg = Config.fromfile(path)
    shrink_detection(cfg, tmp_path)
    checkpoint = pretrained(cfg.model.backbone, tmp_path)
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'work'),
            'experiment_name': uuid.uuid4().hex,
            'log_level': 'ERROR',
            'randomness': dict(seed=0),
            'model.backbone.init_cfg.checkpoint': str(checkpoint),
        }
    )
    runner, predicted = build_runner(cfg), Predictions()
    runner.register_hook(predicted)
    runner.train()
    assert runner.iter == IMAGES / 2
    assert len(predicted.samples) == IMAGES
    for sample in predicted.samples:
        assert_inside(sample)
    assert any('mAP' in key for key in runner.message_hub.log_scalars)  # it has predicted
    assert (tmp_path / 'work/predictions.png').is_file()
    loaded = torch.load(checkpoint)
    for name, parameter in runner.model.backbone.named_parameters():
        if 'rel_pos' in name:
            assert parameter.abs().max() > 0, name
        elif name != 'pos_embed':  # that was resized
            change = (parameter - loaded[name]).abs().max()
            assert 0 < change < 0.01, f'{name} was not loaded, or saw no gradient'


def test_layers_of_the_backbone_learn_at_their_own_rates() -> None:
    from mmdet.registry import MODELS
    from mmengine.optim import build_optim_wrapper

    cfg = Config.fromfile(CONFIGS / 'detection' / 'mask-rcnn_vit-s16_lsj-100e_coco.py')
    shrink_model(cfg.model)
    cfg.model.backbone.arch = 'tiny'
    cfg.model.backbone.update(img_size=SIZE, init_cfg=None)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {names[id(p)]: group['lr'] for group in groups for p in group['params']}
    decays = {names[id(p)]: group['weight_decay'] for group in groups for p in group['params']}
    assert rates.keys() == dict(model.named_parameters()).keys()
    assert rates['backbone.pos_embed'] == pytest.approx(1e-4 * 0.7**13)
    assert rates['backbone.blocks.0.attn.rel_pos_h'] == pytest.approx(1e-4 * 0.7**12)
    assert rates['backbone.blocks.11.mlp.fc1.weight'] == pytest.approx(1e-4 * 0.7)
    assert rates['neck.project.0.0.weight'] == rates['rpn_head.rpn_cls.weight'] == 1e-4
    assert decays['backbone.blocks.0.attn.qkv.weight'] == 0.1
    assert decays['backbone.blocks.0.attn.rel_pos_h'] == 0


@pytest.fixture
def digits(tmp_path) -> Config:
    """The smallest config, shrunk, with a random backbone."""
    cfg = Config.fromfile(CONFIGS / 'detection' / 'mask-rcnn_vit-tiny_digits.py')
    shrink_detection(cfg, tmp_path)
    cfg.model.backbone.init_cfg = None
    cfg.update(work_dir=str(tmp_path / 'work'), experiment_name=uuid.uuid4().hex)
    cfg.log_level = 'ERROR'
    return cfg


def test_regions_keep_float32_under_autocast(digits) -> None:
    runner = build_runner(digits)
    model, seen, inside = runner.model, [], []
    model.backbone.blocks[0].mlp.register_forward_hook(
        lambda _, args, out: inside.append(out.dtype)
    )
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        for layer in extractor.roi_layers:
            layer.register_forward_pre_hook(lambda _, args: seen.append(args))
    batch = model.data_preprocessor(next(iter(runner.train_dataloader)), training=True)
    with torch.autocast('cpu', torch.bfloat16):
        loss, _ = model.parse_losses(model(**batch, mode='loss'))
    assert set(inside) == {torch.bfloat16} and loss.isfinite()
    assert {tensor.dtype for args in seen for tensor in args} == {torch.float32}
    loss.backward()
    assert model.backbone.patch_embed.proj.weight.grad.abs().max() > 0


def test_pictures_of_predictions_are_drawn_on_demand(digits, tmp_path) -> None:
    digits.default_hooks.visualization.update(draw=True, score_thr=0.0)
    build_runner(digits).test()
    assert list((tmp_path / 'work').glob('*/pictures/*.png'))


def test_heads_for_other_classes_than_the_data_set_has_are_refused(digits) -> None:
    digits.model.roi_head.bbox_head.num_classes = 7
    with pytest.raises(AssertionError, match=r'num_classes. \(7\).*classes. 10'):
        build_runner(digits).train()
