"""Pictures of predictions show what was predicted."""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmengine.structures import InstanceData
from PIL import ExifTags, Image

from dino_mm.engine.hooks import DetectionPictureHook


class Sample(SimpleNamespace):
    def __contains__(self, key: str) -> bool:
        return key in self.__dict__


class Loader:
    dataset = SimpleNamespace(metainfo=dict(classes=('cat', 'dog')))

    def __len__(self) -> int:
        return 9


@pytest.fixture
def sample(tmp_path) -> Sample:
    Image.new('L', (40, 30)).save(tmp_path / 'image.png')
    masks = torch.zeros(3, 30, 40, dtype=torch.bool)
    masks[0, 5:10, 6:20] = True
    boxes = torch.tensor([[6.0, 5, 20, 10], [0, 0, 40, 30], [1, 2, 3, 4]])
    found = InstanceData(
        bboxes=boxes, labels=torch.tensor([1, 0, 1]), scores=torch.tensor([0.9, 0.2, 0.3])
    )
    found.masks = masks
    known = InstanceData(bboxes=boxes[:1], labels=torch.tensor([1]))
    return Sample(img_path=tmp_path / 'image.png', pred_instances=found, gt_instances=known)


def test_predictions_above_the_threshold_beside_the_labels(sample) -> None:
    image, known, found = DetectionPictureHook(score_thr=0.25).take(sample)
    assert image.shape == (30, 40, 3)
    assert [(label, score, mask) for _, label, score, mask in known] == [(1, None, None)]
    assert [label for _, label, _, _ in found] == [1, 1]
    assert [score for _, _, score, _ in found] == pytest.approx([0.9, 0.3])
    box, _, _, mask = found[0]
    assert box.tolist() == [6, 5, 20, 10] and mask.sum() == 70
    del sample.gt_instances  # a set without labels
    assert DetectionPictureHook().take(sample)[1] == []


def test_images_are_drawn_as_the_model_saw_them(sample) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter turn clockwise
    left_red = np.zeros((30, 40, 3), np.uint8)
    left_red[:, :20] = 255, 0, 0
    Image.fromarray(left_red).save(sample.img_path, exif=exif)
    image, _, _ = DetectionPictureHook().take(sample)
    assert image.shape == (40, 30, 3)
    assert (image[:20] == (255, 0, 0)).all() and not image[20:].any()


def test_the_picture_holds_boxes_masks_and_names(sample, tmp_path) -> None:
    hook = DetectionPictureHook(num_images=3)
    runner = SimpleNamespace(
        val_dataloader=Loader(),
        rank=0,
        work_dir=str(tmp_path),
        logger=SimpleNamespace(info=lambda text: None),
    )
    hook.before_val_epoch(runner)
    for batch in range(9):
        hook.after_val_iter(runner, batch, None, [sample])
    assert len(hook.samples) == 3  # spread over the set
    with mock.patch.object(Figure, 'savefig', autospec=True, side_effect=Figure.savefig) as save:
        hook.after_val_epoch(runner)
    assert (tmp_path / 'predictions.png').is_file()
    axes = save.call_args.args[0].axes
    assert [axis.get_title() for axis in axes[:4]] == ['labels', 'prediction'] * 2
    labels, prediction = axes[:2]
    assert [text.get_text() for text in labels.texts] == ['dog']
    assert [text.get_text() for text in prediction.texts] == ['dog 0.90', 'dog 0.30']
    assert len(prediction.patches) == 2 and len(prediction.images) == 3  # image and two masks
    mask = prediction.images[1].get_array()
    assert np.count_nonzero(mask[..., 3]) == 70
