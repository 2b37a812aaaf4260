"""A run goes on from the newest checkpoint that is whole, and has its folder for itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dino_mm.checkpoint.files import CheckpointError
from dino_mm.engine.work_dir import LOCK, locked, newest_checkpoint, remove_checkpoints

from ..checkpoint_files import write_checkpoint


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == 'cut':
        content = content[: len(content) // 2]
    elif how == 'empty':
        content = b''
    elif how == 'flipped':  # one bit in the middle of the weights
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_newest_is_that_of_the_latest_iteration(tmp_path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for epoch in (9, 10):
        write_checkpoint(tmp_path / f'epoch_{epoch}.pth', 100 * epoch)
    write_checkpoint(tmp_path / 'best_knn_k20_top1_epoch_9.pth', 5000)
    found = newest_checkpoint(tmp_path)
    assert (found.path.name, found.iteration) == ('epoch_10.pth', 1000)
    write_checkpoint(tmp_path / 'interrupted_iter_1042.pth', 1042)
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_9.pth')
    found = newest_checkpoint(tmp_path)
    assert found.path.name == 'interrupted_iter_1042.pth' and not found.passed_over
    os.utime(tmp_path / 'epoch_9.pth')  # as copying may do
    assert newest_checkpoint(tmp_path) == found


@pytest.mark.parametrize('how', ['cut', 'empty', 'flipped'])
def test_damaged_files_are_passed_over_and_named(tmp_path, how) -> None:
    for epoch in (1, 2):
        write_checkpoint(tmp_path / f'epoch_{epoch}.pth', epoch)
    damage(tmp_path / 'epoch_2.pth', how)
    found = newest_checkpoint(tmp_path)
    assert found.path.name == 'epoch_1.pth'
    assert len(found.passed_over) == 1 and str(tmp_path / 'epoch_2.pth') in found.passed_over[0]
    damage(tmp_path / 'epoch_1.pth', how)
    with pytest.raises(CheckpointError, match='no checkpoint in .* is whole: .*epoch_2.*epoch_1'):
        newest_checkpoint(tmp_path)


def test_all_checkpoints_are_removed_and_nothing_else(tmp_path) -> None:
    kept = {write_checkpoint(tmp_path / name, 1) for name in ('backbone.pth', 'best_epoch_1.pth')}
    for name in ('epoch_1.pth', 'iter_5.pth', 'interrupted_iter_7.pth'):
        write_checkpoint(tmp_path / name, 1)
    (tmp_path / 'last_checkpoint').touch()
    remove_checkpoints(tmp_path)
    assert set(tmp_path.iterdir()) == kept


def test_a_folder_is_held_until_its_process_ends(tmp_path) -> None:
    hold = (
        'import sys, time\n'
        'from dino_mm.engine.work_dir import locked\n'
        'with locked(sys.argv[1]):\n'
        "    print('held', flush=True)\n"
        '    time.sleep(60)\n'
    )
    half = tmp_path / '.epoch_3.4242.pth'
    half.touch()
    other = subprocess.Popen(
        [sys.executable, '-c', hold, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == 'held\n'
    assert not half.exists()  # what a killed run left
    with pytest.raises(BlockingIOError, match=f'process {other.pid} on '), locked(tmp_path):
        pass
    other.kill()
    other.wait()
    other.stdout.close()
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()
