"""The linear classifier on frozen features, beside scikit-learn's and on two processes."""

import os
import socket

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dino_mm.evaluation.functional import logistic_accuracy
from dino_mm.evaluation.functional.logistic import fit_logistic, mean_and_deviation
from dino_mm.evaluation.metrics import LinearMetric


def overlapping(seed: int = 0, count: int = 90) -> list[torch.Tensor]:
    """Bank, labels, queries and labels of three clouds that overlap, in columns of unlike scale."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(2 * count) % 3
    centers = torch.randn(3, 6, generator=rng)
    noise = torch.randn(2 * count, 6, generator=rng)
    features = (centers[labels] + 1.5 * noise) * torch.tensor([1, 100, 1e-3, 1, 1, 1]) + 5
    features[:, 5] = 7.0  # tells nothing
    return [features[:count], labels[:count], features[count:], labels[count:]]


@pytest.mark.parametrize('weight_decay', [1e-3, 0.1])
def test_equals_scikit_learn(weight_decay) -> None:
    bank, labels, queries, query_labels = overlapping()
    scaler = StandardScaler().fit(bank.double().numpy())
    x, y = scaler.transform(bank.double().numpy()), labels.numpy()
    theirs = LogisticRegression(C=1 / (len(y) * weight_decay), tol=1e-8, max_iter=1000).fit(x, y)
    weight, bias = fit_logistic(torch.from_numpy(x), labels, 3, weight_decay, 200)
    np.testing.assert_allclose(weight.T.numpy(), theirs.coef_, atol=1e-4)
    shifted = (bias - bias.mean()).numpy()
    np.testing.assert_allclose(shifted, theirs.intercept_ - theirs.intercept_.mean(), atol=1e-4)
    expected = 100 * theirs.score(scaler.transform(queries.double().numpy()), query_labels.numpy())
    assert 40 < expected < 95
    found = logistic_accuracy(bank, labels, queries, query_labels, weight_decay, 200)
    assert found == pytest.approx(expected)


def test_mean_and_deviation_of_constant_and_of_large_columns() -> None:
    x = torch.tensor([[1.0, 1e6, 3.0], [3.0, 1e6 + 2, 3.0]]).double()
    mean, deviation = mean_and_deviation(x, lambda value: [value])
    assert mean.tolist() == [2, 1e6 + 1, 3] and deviation.tolist() == [1, 1, 1]


def test_classes_that_the_bank_lacks_count_as_wrong() -> None:
    bank, labels = torch.eye(3), torch.tensor([0, 1, 1])
    assert logistic_accuracy(bank, labels, bank, torch.tensor([0, 1, 4])) == pytest.approx(200 / 3)
    assert logistic_accuracy(bank, torch.zeros(3).long(), bank, torch.zeros(3).long()) == 100


def test_nothing_to_learn_from_and_broken_features_are_errors() -> None:
    bank, labels, queries, query_labels = overlapping()
    empty = torch.empty(0), torch.empty(0).long()
    with pytest.raises(ValueError, match='90 in the bank, 0 queries'):
        logistic_accuracy(bank, labels, *empty)
    with pytest.raises(ValueError, match='0 in the bank, 90 queries'):
        logistic_accuracy(*empty, queries, query_labels)
    bank[4, 2] = torch.nan
    with pytest.raises(ValueError, match='1 of 90 features of the bank are not finite'):
        logistic_accuracy(bank, labels, queries, query_labels)


def samples(parts: list[torch.Tensor], places: torch.Tensor) -> list[dict]:
    """What a model answers for these places of a data set of bank and queries."""
    bank, bank_labels, queries, query_labels = parts
    features, labels = torch.cat([bank, queries]), torch.cat([bank_labels, query_labels])
    return [
        dict(features=features[i], gt_label=labels[i], in_bank=i < len(bank), index=i)
        for i in places.tolist()
    ]


def on_a_process(rank: int, port: int, out: str) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1')
    os.environ['MASTER_PORT'] = str(port)
    torch.distributed.init_process_group('gloo')
    scores = []
    for places in (torch.arange(187).remainder(180)[rank::2], torch.arange(180)[rank * 180 :]):
        metric = LinearMetric()
        for batch in places.split(16):
            metric.process({}, samples(overlapping(), batch))
        scores.append(metric.evaluate(180))
    torch.save(scores, f'{out}/{rank}.pth')
    torch.distributed.destroy_process_group()


def test_two_processes_find_what_one_finds(tmp_path) -> None:
    """With repeated samples at the end, and where the second process has none at all."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(on_a_process, (port, str(tmp_path)), nprocs=2)
    metric = LinearMetric()
    metric.process({}, samples(overlapping(), torch.arange(180)))
    alone = metric.evaluate(180)
    assert 40 < alone['linear/top1'] < 95
    for rank in (0, 1):
        assert torch.load(tmp_path / f'{rank}.pth') == [alone, alone]
