"""Small data sets and networks that the tests of detection configs share."""

import json
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from PIL import Image

IMAGES, SIZE, DIMS = 4, 64, 24


def box(index: int) -> tuple[int, int, int, int]:
    """x, y, width, height."""
    return 4 + 4 * index, 6, 20, 16 + 4 * index


def image_size(index: int) -> tuple[int, int]:
    """Width and height: lying and standing, so that either side is padded."""
    return (SIZE, 36) if index % 2 else (40, SIZE)


def write_images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        width, height = image_size(index)
        image = rng.integers(0, 120, (height, width, 3), np.uint8)
        x, y, w, h = box(index)
        image[y : y + h, x : x + w] += 120
        Image.fromarray(image).save(folder / f'{index:02d}.jpg')


def write_coco(root: Path, ann_file: str, images: str, classes: tuple[str, ...]) -> None:
    """A small data set in COCO's format."""
    write_images(root / images)
    boxes = [box(index) for index in range(IMAGES)]
    content = dict(
        images=[
            dict(id=i, file_name=f'{i:02d}.jpg', width=image_size(i)[0], height=image_size(i)[1])
            for i in range(IMAGES)
        ],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(classes)],
        annotations=[
            dict(
                id=i + 1,
                image_id=i,
                category_id=i % min(3, len(classes)) + 1,
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

    cfg.model.data_preprocessor.pad_size_divisor = SIZE
    shrink_pipeline(cfg.tta_pipeline)
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


class Predictions(Hook):
    """Keeps what validation or a test predicts."""

    def __init__(self) -> None:
        self.samples = []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.samples += outputs

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.samples += outputs


def assert_inside(sample) -> None:
    """Something was predicted, and no box of it lies beyond the image."""
    height, width = sample.ori_shape
    boxes = sample.pred_instances.bboxes
    assert len(boxes) and boxes.min() >= 0
    assert boxes[:, 0::2].max() <= width + 1e-3 and boxes[:, 1::2].max() <= height + 1e-3
    assert boxes[:, 0].max() < width and boxes[:, 1].max() < height
    if 'masks' in sample.pred_instances:
        assert sample.pred_instances.masks.shape == (len(boxes), height, width)
