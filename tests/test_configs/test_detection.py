"""Every detection config trains two shrunk iterations and predicts, without being named here."""

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from PIL import Image

from dino_mm.apis.train import build_runner
from dino_mm.models import VisionTransformer

from .leaves import CONFIGS, leaves

pytest.importorskip('mmdet')

DETECTION = leaves('detection')
IMAGES, SIZE, DIMS = 4, 64, 24


def box(index: int) -> tuple[int, int, int, int]:
    """x, y, width, height."""
    return 8 + 4 * index, 12, 30, 24 + 4 * index


def write_images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        image = rng.integers(0, 120, (SIZE - 8, SIZE, 3), np.uint8)
        x, y, w, h = box(index)
        image[y : y + h, x : x + w] += 120
        Image.fromarray(image).save(folder / f'{index:02d}.jpg')


def write_coco(root: Path, ann_file: str, images: str, classes: tuple[str, ...]) -> None:
    """A small data set in COCO's format."""
    write_images(root / images)
    boxes = [box(index) for index in range(IMAGES)]
    content = dict(
        images=[
            dict(id=i, file_name=f'{i:02d}.jpg', height=SIZE - 8, width=SIZE) for i in range(IMAGES)
        ],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(classes)],
        annotations=[
            dict(
                id=i + 1,
                image_id=i,
                category_id=i % 3 + 1,
                bbox=[x, y, w, h],
                area=w * h,
                iscrowd=0,
                segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
            )
            for i, (x, y, w, h) in enumerate(boxes)
        ],
    )
    (root / ann_file).parent.mkdir(parents=True, exist_ok=True)
    (root / ann_file).write_text(json.dumps(content))


def shrink_model(part: ConfigDict | list) -> None:
    """Few channels, proposals and samples below ``part``, predictions of any score."""
    small = dict(out_channels=8, feat_channels=8, conv_out_channels=8, fc_out_channels=16)
    small |= dict(nms_pre=20, max_per_img=8, num=8, score_thr=0.0)
    for item in part if isinstance(part, list) else part.values():
        if isinstance(item, (dict, list)):
            shrink_model(item)
    if isinstance(part, dict):
        part.update({key: value for key, value in small.items() if key in part})
        if 'in_channels' in part:
            part.in_channels = 8
        if 'Conv' in part.get('type', ''):  # the box heads that do not spell it
            part.setdefault('conv_out_channels', 8)


def shrink_pipeline(pipeline: list[ConfigDict]) -> None:
    for step in pipeline:
        for key in ('scale', 'crop_size', 'size'):
            if key in step:
                step[key] = (SIZE, SIZE)
        if step.type == 'RandomResize':
            step.ratio_range = (0.9, 1.1)


def shrink_detection(cfg: Config, root: Path) -> None:
    """Four images of 64 pixels written below ``root``, a narrow network, one epoch."""
    from mmdet.datasets import CocoDataset

    for name in ('train', 'val'):
        loader = cfg[f'{name}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        data, folder = loader.dataset, root / name
        shrink_pipeline(data.pipeline)
        data.data_root = str(folder)
        if data.type == 'dino_mm.StrictCocoDataset':
            classes = data.get('metainfo', CocoDataset.METAINFO)['classes']
            write_coco(folder, data.ann_file, data.data_prefix['img'], classes)
            cfg.val_evaluator.ann_file = str(folder / data.ann_file)
        else:
            assert data.type == 'dino_mm.DigitInstances', f'teach this test {data.type}'
            data.indices = IMAGES
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    shrink_model(cfg.model)
    backbone = cfg.model.backbone
    layers = 12 if isinstance(backbone.arch, str) else backbone.arch.num_layers
    backbone.pop('arch')
    backbone.arch = dict(embed_dims=DIMS, num_layers=layers, num_heads=3)
    backbone.img_size = SIZE
    cfg.model.neck.update(in_channels=DIMS, out_channels=8)
    cfg.param_scheduler = []  # warm-ups are longer than an epoch
    cfg.auto_scale_lr.enable = False
    cfg.train_cfg.update(max_epochs=1, val_interval=1)


def pretrained(backbone: ConfigDict, folder: Path) -> Path:
    """A checkpoint by the published names of images of 32 pixels, without relative positions."""
    torch.manual_seed(7)
    model = VisionTransformer(backbone.arch, img_size=32, patch_size=backbone.patch_size)
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
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == IMAGES / 2
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
    from mmengine.registry import init_default_scope

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


@pytest.fixture
def coco_folder(tmp_path) -> Path:
    write_coco(tmp_path, 'boxes.json', 'images', ('cat', 'dog', 'bird'))
    return tmp_path


def coco_dataset(root: Path, classes: tuple[str, ...] = ('cat', 'dog', 'bird'), **kwargs):
    from dino_mm.datasets.strict_coco import StrictCocoDataset

    init_default_scope('mmdet')  # of the transforms
    return StrictCocoDataset(
        data_root=str(root),
        ann_file='boxes.json',
        data_prefix=dict(img='images'),
        metainfo=dict(classes=classes),
        **kwargs,
    )


def test_boxes_without_area_or_outside_the_image_are_left_out(coco_folder) -> None:
    file = coco_folder / 'boxes.json'
    content = json.loads(file.read_text())
    good = content['annotations'][0]
    for i, bbox in enumerate(([5, 5, 0, 10], [5, 5, 10, 0], [70, 5, 10, 10], [-20, 5, 10, 10])):
        bad = dict(good, id=10 + i, image_id=0, bbox=bbox, area=bbox[2] * bbox[3])
        content['annotations'].append(bad)
    file.write_text(json.dumps(content))
    dataset = coco_dataset(coco_folder)
    x, y, w, h = box(0)
    assert [i['bbox'] for i in dataset.get_data_info(0)['instances']] == [[x, y, x + w, y + h]]


def test_an_annotation_without_its_image_names_the_file(coco_folder) -> None:
    (coco_folder / 'images' / '01.jpg').unlink()
    cfg = Config.fromfile(CONFIGS / 'detection' / 'faster-rcnn_vit-s16_lsj-100e_coco.py')
    dataset = coco_dataset(coco_folder, pipeline=cfg.train_pipeline)
    with pytest.raises(FileNotFoundError, match='01.jpg'):
        dataset[1]


@pytest.mark.parametrize('classes', [('cat', 'aardvark'), ('dog', 'cat')])
def test_classes_other_than_those_of_the_file_are_refused(classes, coco_folder) -> None:
    with pytest.raises(ValueError, match=r'boxes.json: metainfo.classes.*bird'):
        coco_dataset(coco_folder, classes)


def test_some_of_the_classes_of_a_file_may_be_taken(coco_folder) -> None:
    dataset = coco_dataset(coco_folder, ('cat', 'bird'))
    labels = [[i['bbox_label'] for i in dataset.get_data_info(k)['instances']] for k in range(4)]
    assert labels == [[0], [], [1], [0]]
