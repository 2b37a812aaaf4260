import numpy as np
import pytest

from dino_mm.datasets import DigitInstances

coco_mask = pytest.importorskip('pycocotools.mask')


@pytest.fixture(scope='module')
def cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp('digits'))


def test_boxes_surround_their_masks(cache) -> None:
    dataset = DigitInstances(data_root=cache, split='val', scene_size=48, digits_per_scene=4)
    assert len(dataset) == 360 // 4
    ids = set()
    for scene in dataset:
        ids.add(scene['img_id'])
        assert scene['height'] == scene['width'] == 48
        for instance in scene['instances']:
            mask = coco_mask.decode(instance['mask'])
            assert mask.shape == (48, 48) and 0 <= instance['bbox_label'] < 10
            ys, xs = np.nonzero(mask)
            box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert instance['bbox'] == box
    assert len(ids) == len(dataset)


def test_hidden_digits_are_left_out(cache) -> None:
    # So crowded that some digits are covered wholly.
    dataset = DigitInstances(data_root=cache, split='val', scene_size=16, digits_per_scene=36)
    counts = [len(scene['instances']) for scene in dataset]
    assert min(counts) < 36
    areas = [coco_mask.area(i['mask']) for scene in dataset for i in scene['instances']]
    assert min(areas) > 0


def test_a_scene_of_one_digit_is_refused(cache) -> None:
    with pytest.raises(ValueError, match='digits_per_scene'):
        DigitInstances(data_root=cache, digits_per_scene=1)
