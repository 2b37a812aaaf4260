"""Test-time augmentation of detection, with masks."""

import pytest
import torch
from mmengine.structures import InstanceData

from dino_mm.models import DetectionTTAModel
from dino_mm.models.detection_tta import flip_back


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_flipping_back(direction) -> None:
    image = torch.zeros(7, 9, dtype=torch.bool)
    image[1:3, 2:6] = True
    mask = image.flip(dict(horizontal=(1,), vertical=(0,), diagonal=(0, 1))[direction])
    ys, xs = mask.nonzero(as_tuple=True)
    box = torch.tensor([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]).float()
    found = flip_back(InstanceData(bboxes=box, masks=mask[None]), (7, 9), direction)
    assert found.bboxes.tolist() == [[2, 1, 6, 3]]
    assert torch.equal(found.masks[0], image)


class Views(torch.nn.Module):
    """Says what it was built with, view by view."""

    def __init__(self, predictions: list) -> None:
        super().__init__()
        self.predictions = iter(predictions)

    def test_step(self, data: dict) -> list:
        return [next(self.predictions)]


@pytest.mark.parametrize('with_masks', [True, False])
def test_views_are_joined(with_masks) -> None:
    pytest.importorskip('mmdet')
    from mmdet.structures import DetDataSample

    import dino_mm.ops  # noqa: F401  nothing need be compiled

    # The same object in both views, better seen when flipped, and one more in the first view.
    seen = [
        (None, [[2, 1, 6, 3], [0, 4, 3, 7]], [0.8, 0.5]),
        ('horizontal', [[3, 1, 7, 3]], [0.9]),
    ]
    samples = []
    for direction, boxes, scores in seen:
        meta = dict(ori_shape=(7, 9), flip_direction=direction)
        found = InstanceData(
            bboxes=torch.tensor(boxes).float(),
            scores=torch.tensor(scores),
            labels=torch.zeros(len(boxes), dtype=torch.long),
        )
        if with_masks:
            found.masks = torch.zeros(len(boxes), 7, 9, dtype=torch.bool)
            found.masks[0, 1, boxes[0][0]] = True
        samples.append(DetDataSample(metainfo=meta, pred_instances=found))
    config = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
    model = DetectionTTAModel(module=Views(samples), tta_cfg=config)
    (joined,) = model.test_step(dict(inputs=[[0], [0]]))
    assert joined.flip_direction is None
    found = joined.pred_instances
    assert found.bboxes.tolist() == [[2, 1, 6, 3], [0, 4, 3, 7]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])
    if with_masks:
        assert found.masks[0].nonzero().tolist() == [[1, 5]]  # of the flipped view
