import numpy as np
import pytest
import torch

from dino_mm.evaluation.functional import knn_accuracy

from ..conftest import DATA


def test_matches_the_recording() -> None:
    record = np.load(DATA / 'knn.npz', allow_pickle=False)
    tensors = {key: torch.from_numpy(record[key]) for key in record if record[key].ndim}
    expected = {k: float(record[k]) for k in record if k.startswith('top1_k')}
    ks = [int(key.removeprefix('top1_k')) for key in expected]
    scores = knn_accuracy(
        tensors['train_features'],
        tensors['train_labels'],
        tensors['test_features'],
        tensors['test_labels'],
        ks=ks,
        temperature=float(record['temperature']),
        chunk_size=7,
    )
    for k in ks:
        assert scores[f'k{k}_top1'] == pytest.approx(expected[f'top1_k{k}'], abs=1e-9)
        if k >= 5:
            assert scores[f'k{k}_top5'] == pytest.approx(float(record[f'top5_k{k}']), abs=1e-9)


def test_small_sets_and_unseen_classes() -> None:
    bank, labels = torch.eye(3), torch.tensor([0, 1, 2])
    queries = torch.tensor([[1.0, 0.1, 0.0], [0.0, 0.0, 1.0]])
    scores = knn_accuracy(bank, labels, queries, torch.tensor([0, 5]), ks=(1, 50))
    assert scores['k1_top1'] == scores['k50_top1'] == 50.0


@pytest.mark.parametrize('bank, queries', [(0, 2), (2, 0)])
def test_nothing_to_compare_is_an_error(bank, queries) -> None:
    with pytest.raises(ValueError, match=f'{bank} in the bank, {queries} queries'):
        knn_accuracy(
            torch.ones(bank, 2),
            torch.zeros(bank).long(),
            torch.ones(queries, 2),
            torch.zeros(queries).long(),
        )
