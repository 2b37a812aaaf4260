import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dino_mm.datasets import EmbeddedDigits
from dino_mm.datasets.digits.scenes import load_split, render_scene, write_scenes


def read(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_no_digit_is_in_both_splits() -> None:
    (train, _), (val, _) = load_split('train'), load_split('val')
    assert len(train) == 1437 and len(val) == 360
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in val}


def test_scenes_are_deterministic_and_varied() -> None:
    images, labels = load_split('val')
    scene = render_scene(images[:1], labels[:1], np.random.default_rng(0), 32)
    again = render_scene(images[:1], labels[:1], np.random.default_rng(0), 32)
    assert (scene.image == again.image).all()
    boxes, colors = [], []
    for seed in range(60):
        other = render_scene(images[:1], labels[:1], np.random.default_rng(seed), 32)
        boxes.append(other.boxes[0])
        colors.append(other.image[other.instances == 0].mean(0))
    sizes = np.array(boxes)[:, 3] - np.array(boxes)[:, 1]
    assert sizes.min() < 24 < 28 < sizes.max()
    assert np.array(boxes)[:, :2].std(0).min() > 1.5
    assert np.array(colors).std(0).min() > 15


def test_masks_and_boxes_agree() -> None:
    images, labels = load_split('train')
    scene = render_scene(images[:4], labels[:4], np.random.default_rng(3), 96)
    assert scene.image.shape == (96, 96, 3) and scene.image.dtype == np.uint8
    for index in range(4):
        ys, xs = np.nonzero(scene.instances == index + 1)
        box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert scene.boxes[index].tolist() == box
        assert set(scene.semantic[ys, xs].tolist()) == {labels[index] + 1}
    assert (scene.semantic == 0).sum() == (scene.instances == 0).sum()


def test_data_set_of_single_digits(tmp_path) -> None:
    dataset = EmbeddedDigits(str(tmp_path), split='val', scenes_per_digit=2)
    assert len(dataset) == 720 and dataset.metainfo['classes'][3] == '3'
    item = dataset[5]
    assert read(item['img_path']).shape == (32, 32, 3)
    labels = [dataset[i]['gt_label'] for i in range(720)]
    assert np.bincount(labels).min() >= 50
    assert not (tmp_path / 'train').exists()


def test_data_set_of_several_digits(tmp_path) -> None:
    dataset = EmbeddedDigits(str(tmp_path), split='val', scene_size=64, digits_per_scene=3)
    item = dataset[0]
    assert len(dataset) == 120
    assert item['gt_bboxes'].shape == (3, 4) and item['gt_labels'].shape == (3,)
    semantic, instances = read(item['seg_map_path']), read(item['instance_path'])
    assert semantic.shape == instances.shape == (64, 64)
    assert set(np.unique(semantic)) <= {0, *(item['gt_labels'] + 1)}


def test_data_set_of_sequences(tmp_path) -> None:
    dataset = EmbeddedDigits(
        str(tmp_path), split='val', scene_size=48, digits_per_scene=2, frames=4
    )
    first, last = dataset[0], dataset[3]
    assert len(dataset) == 180 * 4
    assert first['sequence'] == last['sequence'] and (first['frame'], last['frame']) == (0, 3)
    assert (first['gt_labels'] == last['gt_labels']).all()
    assert np.abs(first['gt_bboxes'] - last['gt_bboxes']).max() > 0


def test_rendering_survives_interruption_and_company(tmp_path, monkeypatch) -> None:
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr('dino_mm.datasets.digits.scenes._write_scene', interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_scenes(tmp_path, 'val')
    assert not list(tmp_path.rglob('*.png')) and not list(tmp_path.rglob('val'))
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: write_scenes(tmp_path, 'val'), range(2)))
    assert folders[0] == folders[1]
    assert len(json.loads((folders[0] / 'annotations.json').read_text())) == 360
    assert sorted(p.name for p in folders[0].parent.iterdir()) == ['val']


def test_unknown_split_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="'train' or 'val'.*'test'"):
        EmbeddedDigits(str(tmp_path), split='test')
