"""Times of files are read by all processes, each a share."""

import os
import threading

import pytest

from dino_mm.evaluation import extraction
from dino_mm.evaluation.extraction import require_files, shared_fingerprint
from dino_mm.evaluation.features import features_key


@pytest.fixture
def looked(monkeypatch) -> dict[int, list[str]]:
    """Files whose times were read, by process."""
    files: dict[int, list[str]] = {}
    stat = os.stat

    def noted(path, *args, **kwargs):
        if str(path).endswith('.png'):
            files.setdefault(extraction.get_rank(), []).append(str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, 'stat', noted)
    monkeypatch.setattr(extraction, 'BLOCK_SIZE', 2)
    return files


def on_processes(count: int, work, monkeypatch) -> list:
    """What ``work()`` gives on each of so many threads that take themselves for processes."""
    me, meet = threading.local(), threading.Barrier(count, timeout=20)
    passed, results = [None] * count, [None] * count

    def gather(value) -> list:
        passed[me.rank] = value
        meet.wait()
        everything = [*passed]
        meet.wait()
        return everything

    def run(rank: int) -> None:
        me.rank = rank
        try:
            results[rank] = work()
        except FileNotFoundError as error:
            results[rank] = str(error)

    with monkeypatch.context() as patch:
        patch.setattr(extraction, 'get_rank', lambda: me.rank)
        patch.setattr(extraction, 'get_world_size', lambda: count)
        patch.setattr(extraction, 'all_gather_object', gather)
        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results


def test_processes_share_the_files_of_a_data_set(labeled, looked, monkeypatch) -> None:
    alone = features_key(labeled, 'settings')
    assert len(looked.pop(0)) == 9
    assert on_processes(2, lambda: features_key(labeled, 'settings'), monkeypatch) == [alone] * 2
    assert [len(looked[rank]) for rank in (0, 1)] == [5, 4]
    assert not set(looked[0]) & set(looked[1])
    # what features depend on
    assert features_key(labeled, 'other settings') != alone
    os.utime(next(iter(labeled))['data_samples'].img_path, (1, 1))
    assert features_key(labeled, 'settings') != alone


def test_processes_share_a_list_of_files(tmp_path, looked, monkeypatch) -> None:
    paths = [tmp_path / f'{number}.png' for number in range(7)]
    for path in paths:
        path.touch()
    alone = shared_fingerprint('settings', files=paths)
    looked.clear()
    assert (
        on_processes(3, lambda: shared_fingerprint('settings', files=paths), monkeypatch)
        == [alone] * 3
    )
    assert [len(looked[rank]) for rank in range(3)] == [3, 2, 2]
    paths[3].unlink()
    told = on_processes(3, lambda: require_files(paths, 'images'), monkeypatch)
    assert told == [f'1 of 7 images are missing: {paths[3]}'] * 3
