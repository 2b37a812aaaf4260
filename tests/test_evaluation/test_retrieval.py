import json
import math
import pickle

import numpy as np
import pytest
import torch

from dino_mm.evaluation.functional import (
    average_precision,
    multi_scale_descriptor,
    rank_similarities,
    retrieval_scores,
)
from dino_mm.evaluation.retrieval.revisited import read_ground_truth
from dino_mm.registry import METRICS

from ..conftest import DATA


def test_matches_the_recording() -> None:
    record = np.load(DATA / 'retrieval.npz', allow_pickle=False)
    scores = retrieval_scores(record['similarities'], json.loads(str(record['ground_truth'])))
    expected = json.loads(str(record['result']))
    assert set(scores) == set(expected) == {'medium', 'hard'}
    for protocol, score in expected.items():
        for key in ('map', 'mp', 'aps'):
            assert scores[protocol][key] == pytest.approx(score[key], abs=1e-6)


def test_average_precision_by_hand() -> None:
    assert average_precision([0], 1) == 1.0
    assert average_precision([1], 1) == pytest.approx((0 / 1 + 1 / 2) / 2)
    # order does not matter, and the third positive was never found
    assert average_precision([3, 0], 3) == pytest.approx((1 + 1 + 1 / 3 + 2 / 4) / 6)
    assert average_precision([], 2) == 0.0
    for ranks, positives in (([], 0), ([0, 1], 1)):
        with pytest.raises(ValueError, match='positives'):
            average_precision(ranks, positives)


def test_what_is_ignored_leaves_no_gap() -> None:
    # ranking: junk 2, easy 0, hard 1, other 3
    similarities = np.array([[0.8], [0.7], [0.9], [0.1]])
    truth = [dict(easy=[0], hard=[1], junk=[2])]
    scores = retrieval_scores(similarities, truth, ks=(1, 2, 1000))
    assert scores['medium']['aps'] == [1.0] and scores['hard']['aps'] == [1.0]
    # a depth beyond the database ends at the last positive
    assert scores['medium']['mp'] == [1.0, 1.0, 1.0]


def test_queries_without_positives_do_not_count() -> None:
    similarities = np.array([[0.9, 0.1], [0.1, 0.9]])
    truth = [dict(easy=[0], hard=[], junk=[]), dict(easy=[], hard=[], junk=[1])]
    scores = retrieval_scores(similarities, truth)
    assert scores['medium']['aps'] == [1.0, None] and scores['medium']['map'] == 1.0
    assert scores['hard']['aps'] == [None, None] and math.isnan(scores['hard']['map'])
    assert all(math.isnan(value) for value in scores['hard']['mp'])


@pytest.mark.parametrize(
    'similarities, truth, message',
    [
        (np.ones((3, 0)), [], 'images and queries'),
        (np.ones((0, 2)), [{}, {}], 'images and queries'),
        (np.ones((3, 2)), [dict(easy=[], hard=[], junk=[])], '2 queries but ground truth of 1'),
        (np.ones((3, 1)), [dict(easy=[3], hard=[], junk=[])], 'beyond the 3'),
    ],
)
def test_bad_input_is_an_error(similarities, truth, message) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_scores(similarities, truth)


def test_scales_are_averaged_before_normalization() -> None:
    images = torch.rand(2, 3, 16, 12)
    seen = []

    def embed(x):
        seen.append(tuple(x.shape[-2:]))
        return torch.stack([x.sum(dim=(1, 2, 3)), torch.ones(len(x))], dim=1)

    descriptor = multi_scale_descriptor(images, embed, (1.0, 2**-0.5, 0.5))
    assert seen == [(16, 12), (11, 8), (8, 6)]
    assert torch.allclose(descriptor.norm(dim=1), torch.ones(2))
    # the second entry is one at every scale, so the first is the mean sum
    sums = descriptor[:, 0] / descriptor[:, 1]
    assert (sums < images.sum(dim=(1, 2, 3))).all()


def test_features_must_exist_and_be_finite() -> None:
    good = torch.eye(2)
    assert rank_similarities(3 * good, good).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ValueError, match='queries'):
        rank_similarities(good, torch.empty(0, 2))
    with pytest.raises(ValueError, match='not finite'):
        rank_similarities(good * math.nan, good)


class TestGroundTruth:
    def write(self, folder, **changes):
        truth = [dict(bbx=[0.5, 0, 9, 9], easy=[0], hard=[1], junk=[])]
        content = dict(imlist=['a', 'b'], qimlist=['q'], gnd=truth) | changes
        path = folder / 'gnd.pkl'
        path.write_bytes(pickle.dumps(content))
        return path

    def test_plain_data_is_read(self, tmp_path) -> None:
        truth = read_ground_truth(self.write(tmp_path))
        assert (truth.database, truth.queries) == (['a', 'b'], ['q'])
        assert truth.truths[0]['hard'] == [1]

    def test_code_is_not_run(self, tmp_path) -> None:
        class Attack:
            def __reduce__(self):
                return (open, (str(tmp_path / 'attacked'), 'w'))

        path = self.write(tmp_path, extra=Attack())
        with pytest.raises(ValueError, match='gnd.pkl.*plain data only.*open'):
            read_ground_truth(path)
        assert not (tmp_path / 'attacked').exists()

    @pytest.mark.parametrize(
        'changes, message',
        [
            (dict(imlist=['a']), 'beyond the 1 images'),
            (dict(qimlist=[], gnd=[]), 'no queries'),
            (dict(qimlist=['q', 'r']), '2 queries, but truths of 1'),
            (dict(gnd=[dict(easy=[], hard=[], junk=[])]), 'bbx'),
            (dict(gnd=[dict(bbx=[5, 5, 5, 9], easy=[], hard=[], junk=[])]), 'empty'),
            (dict(gnd=None), 'not a ground truth'),
        ],
    )
    def test_other_content_is_an_error(self, tmp_path, changes, message) -> None:
        with pytest.raises(ValueError, match=message):
            read_ground_truth(self.write(tmp_path, **changes))

    def test_broken_and_missing_files_are_errors(self, tmp_path) -> None:
        path = self.write(tmp_path)
        path.write_bytes(path.read_bytes()[:20])
        with pytest.raises(ValueError, match='download it again'):
            read_ground_truth(path)
        with pytest.raises(FileNotFoundError, match='revisitop'):
            read_ground_truth(tmp_path / 'none.pkl')

    @pytest.mark.parametrize('name, images', [('roxford5k', 4993), ('rparis6k', 6322)])
    def test_published_files(self, real_data, name, images) -> None:
        truth = read_ground_truth(real_data / 'revisitop' / name / f'gnd_{name}.pkl')
        assert len(truth.database) == images and len(truth.queries) == 70
        # a perfect ranking scores one in both protocols
        perfect = np.zeros((images, 70))
        for query, entry in enumerate(truth.truths):
            perfect[entry['easy'] + entry['hard'], query] = 1
        scores = retrieval_scores(perfect, truth.truths)
        assert scores['medium']['map'] == scores['hard']['map'] == 1.0


def test_metric_finds_images_by_name(tmp_path) -> None:
    path = TestGroundTruth().write(tmp_path)
    metric = METRICS.build(dict(type='RetrievalMetric', ground_truth=str(path), ks=(1,)))
    features = dict(q=[1.0, 0.0], b=[0.9, 0.1], a=[0.0, 1.0])  # in no particular order
    samples = [dict(img_path=f'x/{k}.jpg', features=torch.tensor(v)) for k, v in features.items()]
    metric.process({}, samples)
    scores = metric.evaluate(3)
    # a and b are positives at ranks 1 and 0; the hard protocol ignores a
    assert scores['retrieval/medium_mAP'] == pytest.approx(100)
    assert scores['retrieval/hard_mAP'] == pytest.approx(100)
    assert scores['retrieval/medium_mP@1'] == pytest.approx(100)
    metric.process({}, samples[:2])
    with pytest.raises(ValueError, match='1 images .* a.jpg'):
        metric.evaluate(2)
