"""Features that are not finite enter no number."""

import pytest
import torch

from dino_mm.evaluation.extraction import cached_features
from dino_mm.evaluation.features import FeatureFiles
from dino_mm.evaluation.functional import (
    fit_linear_heads,
    knn_accuracy,
    learn_whitening,
    linear_accuracy,
    propagate_labels,
    rank_similarities,
    require_finite,
)
from dino_mm.evaluation.functional.linear_probe import LinearHeads
from dino_mm.registry import METRICS

GOOD = torch.rand(20, 6, generator=torch.Generator().manual_seed(0))
BAD = GOOD.clone()
BAD[7, 2], BAD[9, 0] = torch.nan, -torch.inf
LABELS = torch.arange(20) % 4


def test_number_and_first_are_named() -> None:
    require_finite(GOOD, 'features')
    require_finite(torch.empty(0, 6), 'features')
    with pytest.raises(ValueError, match='2 of 20 features .* the first is number 7.*float32.*amp'):
        require_finite(BAD, 'features')
    many = torch.zeros(5000, 1, 2)
    many[4500] = torch.inf
    with pytest.raises(ValueError, match='1 of 5000 maps .* the first is image 4500'):
        require_finite(many, 'maps', lambda index: f'image {index}')


def test_processes_fail_together() -> None:
    others = [(0, 20, None), (2, 20, 'seven')]
    with pytest.raises(ValueError, match='2 of 60 features .* the first is seven'):
        require_finite(GOOD, 'features', gather=lambda own: [own, *others])


def propagate(target: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    return propagate_labels(target, context[None], torch.ones(1, 2, 4, 5))


HEADS = LinearHeads([0], torch.zeros(1, 6, 4), torch.zeros(1, 1, 4))


@pytest.mark.parametrize(
    'score',
    [
        lambda x: knn_accuracy(x, LABELS, GOOD, LABELS),
        lambda x: knn_accuracy(GOOD, LABELS, x, LABELS),
        lambda x: fit_linear_heads(x[:, None], LABELS, 4, dict(a=[0]), [0.1], epochs=1),
        lambda x: linear_accuracy(HEADS, x[:, None], LABELS),
        lambda x: rank_similarities(x, GOOD),
        lambda x: rank_similarities(GOOD, x),
        learn_whitening,
        lambda x: propagate(x, GOOD),
        lambda x: propagate(GOOD, x),
    ],
)
def test_functions(score) -> None:
    score(GOOD)
    with pytest.raises(ValueError, match='2 of 20 features .*number 7'):
        score(BAD)


def test_metrics(tmp_path, monkeypatch) -> None:
    truth = type('Truth', (), dict(database=['a'], queries=['b'], truths=[]))
    monkeypatch.setattr('dino_mm.evaluation.metrics.retrieval.read_ground_truth', lambda _: truth)
    metrics = [dict(type='RetrievalMetric', ground_truth='x'), dict(type='CopyDetectionMetric')]
    for metric in map(METRICS.build, metrics):
        paths = [f'original/{number}.jpg' for number in range(20)]
        metric.process({}, [dict(img_path=p, features=f) for p, f in zip(paths, BAD, strict=True)])
        with pytest.raises(ValueError, match='2 of 20 features .* original/7.jpg'):
            metric.evaluate(20)


def test_the_knn_metric_names_the_place_in_the_data_set() -> None:
    metric = METRICS.build(dict(type='KNNMetric', ks=(1,)))
    for index, features in enumerate([*GOOD, *BAD]):
        sample = dict(features=features, gt_label=0, in_bank=index < 20, index=index)
        metric.process({}, [sample])
    with pytest.raises(ValueError, match='2 of 20 features of the queries .* image 27 of the data'):
        metric.evaluate(40)


def test_features_from_a_file(tmp_path) -> None:
    path, names = tmp_path / 'features.pt', [f'{number}.jpg' for number in range(20)]
    with pytest.raises(ValueError, match='2 of 20 features .* 7.jpg'):
        cached_features(path, 'key', names, lambda: [*BAD])
    assert not path.exists()
    # as versions before this check left it
    torch.save(dict(key='key', features=BAD), path)
    with pytest.raises(ValueError, match=f'2 of 20 features in {path} .* 7.jpg'):
        cached_features(path, 'key', names, lambda: [*GOOD])


def test_features_from_files_of_a_data_set(tmp_path, labeled) -> None:
    files = FeatureFiles(labeled, 'key', tmp_path / 'features', chunk_size=4)
    files.write(lambda batch: GOOD[: len(batch['inputs'])], 'features')
    features, _ = files.read_all()
    assert len(features) == len(labeled) == 9
    path = sorted(files.folder.iterdir())[1]
    content = torch.load(path)
    content['features'][1] = torch.nan
    torch.save(content, path)
    with pytest.raises(ValueError, match=f'1 of 4 features in {path} .*red_1.png'):
        files.read_all()
    path.unlink()
    with pytest.raises(FileNotFoundError, match='several machines'):
        files.read_all()
