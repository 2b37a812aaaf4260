import json

import numpy as np
import pytest
import torch

from dino_mm.evaluation.functional import (
    boundary_accuracy,
    object_scores,
    region_similarity,
    sequence_statistics,
)
from dino_mm.evaluation.functional.davis_jf import boundary_map
from dino_mm.registry import METRICS

from ..conftest import DATA


def test_matches_the_recording() -> None:
    record = np.load(DATA / 'davis_jf.npz', allow_pickle=False)
    truth, predicted = record['annotation'], record['segmentation']
    assert region_similarity(truth, predicted) == pytest.approx(record['J'], abs=1e-6)
    boundary = [boundary_accuracy(*pair) for pair in zip(truth, predicted, strict=True)]
    assert boundary == pytest.approx(record['F'], abs=1e-6)
    scores = object_scores(truth, predicted)
    for metric, expected in json.loads(str(record['statistics'])).items():
        assert scores[metric] == pytest.approx(expected, abs=1e-6)


def test_masks_without_objects() -> None:
    empty, full = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    square = empty.copy()
    square[2:5, 2:5] = True
    assert region_similarity(empty, empty) == boundary_accuracy(empty, empty) == 1
    for pair in ((empty, square), (square, empty)):
        assert region_similarity(*pair) == boundary_accuracy(*pair) == 0
    # a mask that fills the frame has no boundary either
    assert boundary_accuracy(full, full) == 1 and boundary_accuracy(full, square) == 0


def test_boundary_lies_toward_the_origin() -> None:
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    expected = np.zeros((5, 5), bool)
    expected[1:3, 1:3] = True
    assert (boundary_map(mask) == expected).all()


def test_boundary_tolerance_is_a_disk() -> None:
    mask = np.zeros((60, 80), bool)  # radius ceil(0.008 * 100) = 1
    mask[20:40, 20:40] = True
    assert boundary_accuracy(mask, np.roll(mask, 1, axis=1)) == 1
    assert boundary_accuracy(mask, np.roll(mask, 2, axis=1)) < 1


def test_decay_compares_the_first_and_the_last_quarter() -> None:
    values = np.repeat([1.0, 0.6, 0.4, 0.0], 100)  # the published code overflows at 256 frames
    statistics = sequence_statistics(values)
    assert statistics['mean'] == pytest.approx(0.5) and statistics['recall'] == 0.5
    # quarters share their borders: one frame of 101 belongs to the neighbor
    assert statistics['decay'] == pytest.approx((100 + 0.6) / 101 - 0.4 / 101, abs=5e-3)
    assert sequence_statistics(np.array([0.7])) == dict(mean=0.7, recall=1.0, decay=0.0)
    with pytest.raises(ValueError, match='frames'):
        sequence_statistics(np.array([]))


def test_other_sizes_are_an_error() -> None:
    with pytest.raises(ValueError, match=r'\(4, 4\).*\(4, 5\)'):
        region_similarity(np.zeros((4, 4)), np.zeros((4, 5)))


def test_metric_leaves_first_and_last_frame_out() -> None:
    truth = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)
    truth[:, :, 2:8, 2:8] = 1
    truth[:, :, 10:12, 10:12] = 2
    predicted = truth.clone()
    predicted[[0, 3]] = 0  # does not matter
    predicted[2, :, 2:8, 5:8] = 0  # half of object 1

    def samples(frames):
        return [
            dict(
                img_path=f'JPEGImages/480p/scene/{i:05d}.jpg',
                gt_sem_seg=dict(data=truth[i]),
                pred_sem_seg=dict(data=predicted[i]),
            )
            for i in frames
        ]

    metric = METRICS.build(dict(type='DAVISMetric'))
    metric.process({}, samples([2, 0, 3, 1]))
    scores = metric.evaluate(4)
    assert scores['davis/J_mean'] == pytest.approx(100 * ((1 + 0.5) / 2 + 1) / 2)
    assert scores['davis/J_recall'] == pytest.approx(100 * (0.5 + 1) / 2)
    metric.process({}, samples([0, 1]))
    with pytest.raises(ValueError, match='scene has 2 frames'):
        metric.evaluate(2)
