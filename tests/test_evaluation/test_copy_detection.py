import json

import pytest
import torch

from dino_mm.evaluation.functional import (
    average_precision,
    copy_descriptor,
    copy_detection_aps,
    gem_pool,
    learn_whitening,
    whiten,
)
from dino_mm.registry import METRICS

from ..conftest import DATA


def test_matches_the_recording() -> None:
    for entry in json.loads((DATA / 'copy_detection_ap.json').read_text()):
        assert average_precision(entry['ranks'], entry['n']) == pytest.approx(entry['ap'], abs=1e-6)


def test_gem_lies_between_mean_and_maximum() -> None:
    tokens = torch.tensor([[[1.0, -5.0], [3.0, 2.0]]])  # (1, 2, 2)
    pooled = gem_pool(tokens, power=4)
    assert pooled[0, 0] == pytest.approx(((1 + 81) / 2) ** 0.25)
    assert pooled[0, 1] == pytest.approx((16 / 2) ** 0.25)  # negative values count as zero
    assert gem_pool(tokens, power=1)[0, 0] == pytest.approx(2.0)


def test_descriptor_leaves_registers_out() -> None:
    tokens = torch.rand(2, 1 + 4 + 9, 5)
    descriptor = copy_descriptor(tokens, num_patches=9)
    assert torch.equal(descriptor[:, :5], tokens[:, 0])
    assert torch.allclose(descriptor[:, 5:], gem_pool(tokens[:, 5:]))


def test_whitening_makes_the_uncentered_spectrum_flat() -> None:
    features = torch.randn(400, 6) * torch.linspace(0.2, 3, 6) + 1.0
    mean, projection = learn_whitening(features)
    assert torch.allclose(mean, features.mean(0), atol=1e-6)
    spectrum = projection @ (features.T @ features / 400) @ projection.T
    assert torch.allclose(spectrum, torch.eye(6), atol=1e-4)
    # applied to centered features, as the reference does, the mean goes to zero
    assert whiten(features, mean, projection).mean(0).abs().max() < 1e-4


def test_whitening_from_fewer_images_than_dimensions_is_finite() -> None:
    features = torch.randn(3, 8)
    whitened = whiten(torch.randn(5, 8), *learn_whitening(features))
    assert torch.isfinite(whitened).all()
    with pytest.raises(ValueError, match='none'):
        learn_whitening(torch.empty(0, 8))


def test_positives_count_among_the_nearest_only() -> None:
    similarities = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]])
    assert copy_detection_aps(similarities, [[1], [2]], depth=2) == [1.0, 0.0]
    # a depth beyond the database takes all of it
    assert copy_detection_aps(similarities, [[1], [2]], depth=20)[1] == pytest.approx(1 / 6)
    with pytest.raises(ValueError, match='0 queries'):
        copy_detection_aps(torch.empty(0, 3), [])


def test_metric_sorts_by_folder() -> None:
    metric = METRICS.build(dict(type='CopyDetectionMetric'))
    features = {
        'original/2000.jpg': [1.0, 0.0],
        'original/2001.jpg': [0.0, 1.0],
        'strong/200001.jpg': [0.9, 0.1],  # found
        'strong/200101.jpg': [0.9, 0.1],  # taken for the other
        'jpegqual/3/2001.jpg': [0.1, 0.9],
    }
    samples = [dict(img_path=k, features=torch.tensor(v)) for k, v in features.items()]
    metric.process({}, samples)
    scores = metric.evaluate(len(samples))
    assert scores['copydays/strong'] == pytest.approx(100 * (1 + 1 / 4) / 2)
    assert scores['copydays/jpegqual/3'] == scores['copydays/original'] == 100
    metric.process({}, samples[2:])
    with pytest.raises(ValueError, match='no images in a folder original'):
        metric.evaluate(3)
