"""tools/slurm_train.sh against a srun that writes down how it was called."""

import os
import subprocess
from pathlib import Path

import pytest

from ..conftest import TOOLS

CONFIG = 'configs/dino_vit-s16_8xb64.py'


@pytest.fixture
def call(tmp_path):
    """Runs the script with arguments and variables; returns what srun was given, and the rest."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$CALLS"\n')
    srun.chmod(0o755)

    def run(*arguments: str, **variables: str) -> tuple[list[str], subprocess.CompletedProcess]:
        record = tmp_path / 'calls'
        plain = {k: v for k, v in os.environ.items() if not k.startswith('SLURM')}
        path = f'{tmp_path}:{os.environ["PATH"]}'
        done = subprocess.run(
            ['bash', str(TOOLS / 'slurm_train.sh'), *arguments],
            env=plain | dict(PATH=path, CALLS=str(record)) | variables,
            capture_output=True,
            text=True,
        )
        return record.read_text().splitlines() if record.exists() else [], done

    return run


@pytest.mark.parametrize(
    'variables, nodes, tasks_per_node, cpus',
    [
        ({}, 1, 8, 10),
        (dict(NODES='2'), 2, 8, 10),
        (dict(NODES='2', GPUS_PER_NODE='4', CPUS_PER_TASK='6'), 2, 4, 6),
        # As a job of sbatch, whose own counts win.
        (dict(SLURM_JOB_NUM_NODES='3', SLURM_NTASKS_PER_NODE='2', NODES='1'), 3, 2, 10),
    ],
)
def test_tasks_and_their_share_of_the_machines(call, variables, nodes, tasks_per_node, cpus):
    given, done = call('gpu', 'run1', CONFIG, **variables)
    assert done.returncode == 0, done.stderr
    assert {
        '--partition=gpu',
        '--job-name=run1',
        f'--nodes={nodes}',
        f'--ntasks={nodes * tasks_per_node}',
        f'--ntasks-per-node={tasks_per_node}',
        f'--gres=gpu:{tasks_per_node}',
        f'--cpus-per-task={cpus}',
        '--kill-on-bad-exit=1',
    } <= set(given)


def test_a_requeued_job_resumes_and_options_are_passed_on(call) -> None:
    options = ['--work-dir', 'my runs/a', '--cfg-options', 'optim_wrapper.clip_grad=0.3']
    given, _ = call('gpu', 'run1', CONFIG, *options, SRUN_ARGS='--quiet --exclusive')
    train = given.index('tools/train.py')
    assert given[train - 2 : train] == ['python', '-u'] and given[train + 1] == CONFIG
    assert given[train + 2 :] == ['--launcher', 'slurm', '--resume', *options]
    assert {'--quiet', '--exclusive'} <= set(given[: train - 2])


def test_too_few_arguments_print_the_usage(call) -> None:
    given, done = call('gpu', 'run1')
    assert done.returncode == 2 and not given
    assert 'tools/slurm_train.sh PARTITION JOB CONFIG' in done.stderr
    assert Path(TOOLS / 'slurm_train.sh').stat().st_mode & 0o100
