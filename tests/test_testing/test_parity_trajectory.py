"""The published trajectories, through the real Runner."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dino_mm.testing import parity
from dino_mm.testing import parity_trajectory as trajectory
from dino_mm.utils import launch

from ..conftest import DATA, TOOLS

TRAJECTORIES = ['trajectory_vit.npz', 'trajectory_vit_bn_free_last_layer.npz']


@pytest.mark.parametrize('name', TRAJECTORIES)
def test_trajectory_and_features_match_the_recording(name: str) -> None:
    worst = trajectory.check_trajectory(str(DATA / name))
    assert set(worst) == set(trajectory.TOLERANCES)
    assert parity.beyond_tolerance(worst) == [], parity.format_table(worst)


def test_two_processes_match_the_recording_too() -> None:
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2']
    command += ['--standalone', '--local-addr=127.0.0.1', str(TOOLS / 'check_parity.py')]
    command += [str(DATA / TRAJECTORIES[0]), '--launcher', 'pytorch']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'weights' in done.stdout and 'BEYOND' not in done.stdout


def test_processes_are_counted_after_their_start_on_a_gpu_too(monkeypatch) -> None:
    """MMEngine's Runner would start them, which is built after the batches are divided."""
    started, counted = [], []
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(launch, 'init_dist', started.append)
    monkeypatch.setattr(parity, 'get_world_size', lambda: 2 if started else 1)

    def check(path, world_size, **kwargs):
        counted.append(world_size)
        return {}

    monkeypatch.setattr(parity, 'check_recording', check)
    with pytest.raises(SystemExit):
        parity.main(['any.npz', '--launcher', 'pytorch'])
    assert started == ['pytorch'] and counted == [2]


def test_a_changed_recording_is_beyond_tolerance(tmp_path, capsys) -> None:
    entries = dict(np.load(DATA / TRAJECTORIES[0]))
    entries['record/loss'] = entries['record/loss'] * 1.001
    entries['features/wide/cls'] = entries['features/wide/cls'] + 1e-3
    np.savez(tmp_path / 'changed.npz', **entries)
    with pytest.raises(SystemExit) as stop:
        parity.main([str(tmp_path / 'changed.npz')])
    assert stop.value.code == 1
    beyond = [line.split()[0] for line in capsys.readouterr().out.splitlines() if 'BEYOND' in line]
    assert beyond == ['loss', 'features']


def test_nan_counts_as_beyond() -> None:
    assert parity.beyond_tolerance({'loss': float('nan')}) == ['loss']


@pytest.mark.parametrize('accumulation', [2, 4])
def test_accumulated_batches_equal_the_whole_batch(accumulation: int) -> None:
    """Exact but for the center, which moves with every forward pass: here it stands still."""
    recording = trajectory.Recording(str(DATA / TRAJECTORIES[0]))
    still = dict(loss=dict(center_momentum=1.0))
    whole = trajectory.run_trajectory(recording, **still)
    parts = trajectory.run_trajectory(recording, accumulation=accumulation, **still)
    ours, theirs = (trajectory.trajectory_hook(run).record for run in (parts, whole))
    for key in ('lr', 'weight_decay', 'momentum', 'teacher_temp'):
        assert ours[key] == theirs[key]
    torch.testing.assert_close(
        torch.tensor(ours['loss']), torch.tensor(theirs['loss']), rtol=1e-5, atol=0
    )
    for name, value in whole.model.teacher.state_dict().items():
        if not name.endswith('attn.qkv.bias'):  # keys' biases have no gradient but rounding
            torch.testing.assert_close(
                parts.model.teacher.state_dict()[name], value, rtol=0, atol=1e-5
            )


def test_a_batch_that_does_not_split_is_refused() -> None:
    recording = trajectory.Recording(str(DATA / TRAJECTORIES[0]))
    with pytest.raises(ValueError, match='batch of 4 does not split'):
        trajectory.run_trajectory(recording, accumulation=3)


def test_a_file_that_is_no_trajectory_is_named(tmp_path) -> None:
    np.savez(tmp_path / 'other.npz', a=np.zeros(1))
    with pytest.raises(ValueError, match='other.npz is no trajectory'):
        trajectory.Recording(str(tmp_path / 'other.npz'))
