"""Images are padded where their true size is kept, and nothing else changes by it."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from .leaves import CONFIGS, leaves
from .toy_detection import SIZE, shrink_detection

pytest.importorskip('mmdet')


@pytest.mark.parametrize('path', leaves('detection'), ids=lambda p: p.stem)
def test_the_square_of_training_is_that_of_tests(path) -> None:
    cfg = Config.fromfile(path)
    side = cfg.model.backbone.img_size
    assert cfg.model.data_preprocessor.pad_size_divisor == side
    tested = cfg.val_dataloader.dataset.pipeline
    for pipeline in (tested, cfg.tta_pipeline):
        assert [tuple(step.scale) for step in pipeline if step.type == 'Resize'] == [(side, side)]
    for pipeline in (cfg.train_dataloader.dataset.pipeline, tested):
        assert 'Pad' not in [step.type for step in pipeline]
        crops = [step.crop_size for step in pipeline if step.type == 'RandomCrop']
        assert all(tuple(size) == (side, side) for size in crops)


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """Config and model of Faster R-CNN, whose boxes reach far."""
    from mmdet.apis import init_detector

    cfg = Config.fromfile(CONFIGS / 'detection' / 'faster-rcnn_vit-s16_lsj-100e_coco.py')
    shrink_detection(cfg, tmp_path_factory.mktemp('data'))
    torch.manual_seed(0)
    model = init_detector(cfg, device='cpu')
    model.roi_head.bbox_head.fc_reg.weight.data *= 300
    return cfg, model


def inputs_of(cfg: Config, model, image: np.ndarray, padded: bool) -> dict:
    """What a detector sees of an image, by the pipeline of today or by one with ``Pad``."""
    init_default_scope('mmdet')
    steps = [dict(type='LoadImageFromNDArray'), *cfg.test_dataloader.dataset.pipeline[1:]]
    if padded:
        pad = dict(type='Pad', size=(SIZE, SIZE), pad_val=dict(img=(104, 116, 124)))
        steps.insert(2, pad)
    item = Compose(steps)(dict(img=image, img_id=0))
    batch = {key: [value] for key, value in item.items()}
    return model.data_preprocessor(batch, training=False)


def image_of(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_a_full_square_is_predicted_as_before(detector) -> None:
    cfg, model = detector
    now, before = (
        model(**inputs_of(cfg, model, image_of(SIZE, SIZE), padded), mode='predict')[0]
        for padded in (False, True)
    )
    assert len(now.pred_instances) > 0
    assert torch.equal(now.pred_instances.bboxes, before.pred_instances.bboxes)
    assert torch.equal(now.pred_instances.scores, before.pred_instances.scores)


@pytest.mark.parametrize('size', [(SIZE, 36), (40, SIZE)])
def test_boxes_inside_the_image_are_predicted_as_before(detector, size) -> None:
    cfg, model = detector
    now, before = (inputs_of(cfg, model, image_of(*size), padded) for padded in (False, True))
    # The mean of the data set, once rounded to whole pixels.
    torch.testing.assert_close(now['inputs'], before['inputs'], atol=0.01, rtol=0)
    assert now['data_samples'][0].img_shape == size[::-1]
    assert before['data_samples'][0].img_shape == (SIZE, SIZE)
    regions = torch.tensor([[x, y, x + 16, y + 16] for x in (2, 22) for y in (3, 19)]).float()
    features = model.extract_feat(now['inputs'])
    results = [
        model.roi_head.predict_bbox(
            features,
            [batch['data_samples'][0].metainfo],
            [InstanceData(bboxes=regions)],
            rcnn_test_cfg=None,
        )[0]
        for batch in (now, before)
    ]
    boxes, earlier = (result.bboxes.reshape(-1, 4) for result in results)
    inside = (earlier[:, 2] <= size[0]) & (earlier[:, 3] <= size[1])
    assert inside.any() and not inside.all()
    assert torch.equal(boxes[inside], earlier[inside])
    assert torch.equal(results[0].scores, results[1].scores)
    assert (boxes[:, 2] <= size[0]).all() and (boxes[:, 3] <= size[1]).all()
