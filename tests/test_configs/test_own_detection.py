"""The config for classes of one's own that docs/detection.md shows, on data as people have them."""

import json
import uuid
from pathlib import Path

import pytest
from mmengine.config import Config

from dino_mm.apis.train import build_runner

from .leaves import CONFIGS
from .toy_detection import IMAGES, Predictions, assert_inside, image_size, shrink_detection

pytest.importorskip('mmdet')
BASE = './mask-rcnn_vit-s16_coco128.py'


def config_of_the_docs(folder: Path) -> Config:
    text = (CONFIGS.parent / 'docs' / 'detection.md').read_text()
    code = f"_base_ = '{BASE}'" + text.split(f"_base_ = '{BASE}'")[1].split('```')[0]
    file = folder / 'own.py'
    file.write_text(code.replace(BASE, str(CONFIGS / 'detection' / BASE)))
    return Config.fromfile(file)


def test_classes_of_ones_own(tmp_path) -> None:
    cfg = config_of_the_docs(tmp_path)
    classes = cfg.train_dataloader.dataset.metainfo.classes
    assert cfg.val_evaluator.ann_file.endswith(cfg.val_dataloader.dataset.ann_file)
    assert cfg.test_dataloader.dataset == cfg.val_dataloader.dataset
    shrink_detection(cfg, tmp_path)
    cfg.model.backbone.init_cfg = None
    train, val = (tmp_path / n / cfg[f'{n}_dataloader'].dataset.ann_file for n in ('train', 'val'))
    content = json.loads(train.read_text())
    width, height = image_size(1)  # half of it a crowd, as a run-length code
    crowd = dict(size=[height, width], counts=[0, width // 2 * height, width // 2 * height])
    extra = dict(content['annotations'][1], id=99, iscrowd=1, segmentation=crowd)
    content['annotations'].append(dict(extra, bbox=[0, 0, width // 2, height]))
    train.write_text(json.dumps(content))
    content = json.loads(val.read_text())
    del content['annotations'][0]  # an image without boxes
    val.write_text(json.dumps(content))
    cfg.update(work_dir=str(tmp_path / 'work'), experiment_name=uuid.uuid4().hex, log_level='ERROR')
    runner, predicted = build_runner(cfg), Predictions()
    runner.register_hook(predicted)
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert 'val/coco/bbox_mAP' in scalars and 'val/coco/segm_mAP' in scalars
    assert len(predicted.samples) == IMAGES
    for sample in predicted.samples:
        assert_inside(sample)
        assert sample.pred_instances.labels.max() < len(classes)
    assert (tmp_path / 'work' / 'predictions.png').is_file()
