import os
import pickle
import shutil
import socket

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dino_mm.datasets import KNNDataset
from dino_mm.evaluation.functional import knn_accuracy
from dino_mm.evaluation.functional.knn import count_hits, nearest_neighbors
from dino_mm.evaluation.metrics import KNNMetric

from ..conftest import DATA
from ..labeled_images import write_colors


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


def recorded() -> tuple[list[torch.Tensor], dict[int, float], float]:
    """Bank, labels, queries, labels; recorded top-1; temperature."""
    record = np.load(DATA / 'knn.npz', allow_pickle=False)
    names = ('train_features', 'train_labels', 'test_features', 'test_labels')
    top1 = {int(key[6:]): float(record[key]) for key in record if key.startswith('top1_k')}
    return [torch.from_numpy(record[n]) for n in names], top1, float(record['temperature'])


def test_chunks_of_the_bank_find_the_same_neighbors() -> None:
    (bank, labels, queries, _), _, _ = recorded()
    queries = F.normalize(queries, dim=1)
    whole = nearest_neighbors(bank, labels, queries, 20)
    parts = nearest_neighbors(bank, labels, queries, 20, chunk_size=7)
    assert torch.allclose(whole[0], parts[0]) and torch.equal(whole[1], parts[1])
    assert nearest_neighbors(bank[:3], labels[:3], queries, 20, 2)[0].shape == (len(queries), 3)


def test_small_temperatures_do_not_overflow() -> None:
    similarity, classes = torch.tensor([[0.9, 0.8]]), torch.tensor([[1, 0]])
    hits = count_hits(similarity, classes, torch.tensor([1]), (2,), 0.005, 2)
    assert hits['k2_top1'] == 1


def test_processes_pass_no_more_than_a_chunk() -> None:
    sizes = []

    def gather(value) -> list:
        sizes.append(len(pickle.dumps(value)))
        return [value]

    bank, labels = torch.rand(1000, 64), torch.arange(1000)
    knn_accuracy(bank, labels, bank, labels, ks=(1,), chunk_size=10, gather=gather)
    assert 10 * 64 * 4 < max(sizes) < 2 * 10 * 64 * 4


def samples(parts: list[torch.Tensor], places: list[int]) -> list[dict]:
    """What a model answers for these places of a data set of bank and queries."""
    bank, bank_labels, queries, query_labels = parts
    features, labels = torch.cat([bank, queries]), torch.cat([bank_labels, query_labels])
    return [
        dict(features=features[i], gt_label=labels[i], in_bank=i < len(bank), index=i)
        for i in places
    ]


def test_the_metric_matches_the_recording() -> None:
    parts, top1, temperature = recorded()
    metric, total = (
        KNNMetric(ks=tuple(top1), temperature=temperature),
        len(parts[1]) + len(parts[3]),
    )
    # the last batch is padded with the first samples
    for batch in torch.arange(total + 5).remainder(total).split(16):
        metric.process({}, samples(parts, batch.tolist()))
    scores = metric.evaluate(total)
    assert {k: scores[f'knn/k{k}_top1'] for k in top1} == pytest.approx(top1, abs=1e-9)
    assert not metric.results


def on_a_process(rank: int, port: int, out: str) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1')
    os.environ['MASTER_PORT'] = str(port)
    torch.distributed.init_process_group('gloo')
    parts, top1, temperature = recorded()
    metric, total = (
        KNNMetric(ks=tuple(top1), temperature=temperature),
        len(parts[1]) + len(parts[3]),
    )
    # as DefaultSampler shares samples, but with more padding
    places = torch.arange(total + 7).remainder(total)[rank::2]
    for batch in places.split(16):
        metric.process({}, samples(parts, batch.tolist()))
    own = sum(len(result[1]) for result in metric.results)
    scores = metric.evaluate(total)
    # the last sample is broken, which one of the processes sees
    parts[2][-1] = torch.nan
    metric.process({}, samples(parts, places.tolist()))
    try:
        metric.evaluate(total)
    except ValueError as error:
        torch.save((own, scores, str(error)), f'{out}/{rank}.pth')
    torch.distributed.destroy_process_group()


def test_two_processes_share_the_bank_agree_and_fail_together(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(on_a_process, (port, str(tmp_path)), nprocs=2)
    parts, top1, _ = recorded()
    total = len(parts[1]) + len(parts[3])
    for rank in (0, 1):
        own, scores, refusal = torch.load(tmp_path / f'{rank}.pth')
        assert own <= total // 2 + 4
        assert f'1 of {len(parts[3])} features of the queries' in refusal
        assert f'image {total - 1} of the data set' in refusal
        assert {k: scores[f'knn/k{k}_top1'] for k in top1} == pytest.approx(top1, abs=1e-9)


def test_the_metric_without_queries_is_an_error() -> None:
    parts, _, _ = recorded()
    metric = KNNMetric()
    with pytest.raises(ValueError, match='0 in the bank, 0 queries'):
        metric.evaluate(0)
    metric.process({}, samples(parts, [0, 1]))
    with pytest.raises(ValueError, match='2 in the bank, 0 queries'):
        metric.evaluate(2)


def test_classes_are_matched_by_name(tmp_path, capsys) -> None:
    write_colors(tmp_path, train=2, val=1)
    shutil.rmtree(tmp_path / 'train/blue')
    part = dict(
        type='mmpretrain.CustomDataset',
        pipeline=[dict(type='dino_mm.LoadImage'), dict(type='mmpretrain.PackInputs')],
    )
    config = dict(bank=dict(part, data_prefix='train'), queries=dict(part, data_prefix='val'))
    dataset = KNNDataset(**config, data_root=str(tmp_path))
    assert dataset.metainfo['classes'] == ('green', 'red', 'blue')
    labels = [int(item['data_samples'].gt_label) for item in dataset]
    assert labels == [0, 0, 1, 1, 2, 0, 1]  # of the bank, then blue, green, red
    assert [item['data_samples'].index for item in dataset] == list(range(7))
    assert 'missing from the bank' in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="'gone' of the KNNDataset does not exist"):
        KNNDataset(**config, data_root='gone')
