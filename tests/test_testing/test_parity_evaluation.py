"""Recordings of the published evaluations, recognized by what they hold."""

import json
import shutil

import numpy as np
import pytest

from dino_mm.testing.parity_evaluation import TOLERANCES, check_evaluation, find_check

from ..conftest import DATA

RECORDINGS = [
    'knn.npz',
    'retrieval.npz',
    'label_propagation.npz',
    'davis_jf.npz',
    'copy_detection_ap.json',
]


@pytest.mark.parametrize('name', RECORDINGS)
def test_ours_matches_under_any_name(name: str, tmp_path) -> None:
    shutil.copy(DATA / name, tmp_path / 'recording')
    worst = check_evaluation(str(tmp_path / 'recording'))
    assert worst
    for quantity, difference in worst.items():
        assert difference <= TOLERANCES[quantity][0], quantity


def test_every_tolerance_is_used() -> None:
    found = {quantity for name in RECORDINGS for quantity in check_evaluation(str(DATA / name))}
    assert found == set(TOLERANCES)


def change_json(entries: dict, key: str, path: list, value) -> None:
    content = json.loads(str(entries[key]))
    part = content
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    entries[key] = np.array(json.dumps(content))


@pytest.mark.parametrize(
    'name, change, quantity',
    [
        ('knn.npz', lambda e: e.update(top1_k5=e['top1_k5'] + 0.5), 'k-NN top-1'),
        (
            'retrieval.npz',
            lambda e: change_json(e, 'result', ['hard', 'map'], 0.2),
            'retrieval mAP',
        ),
        (
            'retrieval.npz',
            lambda e: change_json(e, 'result', ['medium', 'aps', 3], None),
            'retrieval AP per query',
        ),
        (
            'label_propagation.npz',
            lambda e: e.update(propagated=e['propagated'] + 1e-3),
            'propagated labels',
        ),
        ('davis_jf.npz', lambda e: e.update(F=e['F'] + 1e-4), 'F'),
        (
            'davis_jf.npz',
            lambda e: change_json(e, 'statistics', ['J', 'decay'], 0.1),
            'J and F statistics',
        ),
    ],
)
def test_a_changed_recording_differs(name, change, quantity, tmp_path) -> None:
    entries = dict(np.load(DATA / name))
    change(entries)
    np.savez(tmp_path / 'changed.npz', **entries)
    worst = check_evaluation(str(tmp_path / 'changed.npz'))
    assert not worst[quantity] <= TOLERANCES[quantity][0]


def test_other_files_are_told_apart(tmp_path) -> None:
    assert find_check(str(DATA / 'trajectory_vit.npz')) is None
    with pytest.raises(ValueError, match='trajectory_vit.npz is no recording of an evaluation'):
        check_evaluation(str(DATA / 'trajectory_vit.npz'))
    other = tmp_path / 'other'
    other.write_text('not a recording')
    with pytest.raises(ValueError, match='neither an .npz nor a JSON'):
        check_evaluation(str(other))
    other.write_text('[]')
    with pytest.raises(ValueError, match='no recording of an evaluation'):
        check_evaluation(str(other))
