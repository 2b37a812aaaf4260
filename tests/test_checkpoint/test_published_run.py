"""Full files of the published code, gone on from."""

import argparse

import pytest
import torch

from dino_mm.checkpoint import CheckpointError
from dino_mm.checkpoint.published_run import main
from tests.test_checkpoint.conftest import randomize


@pytest.fixture
def full_file(make_runner, toy_model, tmp_path):
    """As ``main_dino.py`` would have saved the toy model after some epochs, and that model."""
    model = randomize(make_runner().model)
    state = model.state_dict()
    networks = {
        network: {
            prefix + key.removeprefix(f'{network}.'): value
            for key, value in state.items()
            if key.startswith(f'{network}.')
        }
        for network, prefix in (('student', 'module.'), ('teacher', ''))
    }
    content = dict(
        networks,
        dino_loss=dict(center=state['criterion.center']),
        optimizer=dict(state={}, param_groups=[]),
        epoch=7,
        args=argparse.Namespace(arch='vit_small'),
    )
    path = tmp_path / 'full.pth'
    torch.save(content, path)
    return path, state, content


def test_student_teacher_head_and_center_are_taken_over(full_file, make_runner, tmp_path) -> None:
    path, state, _ = full_file
    main([str(path), str(tmp_path / 'run.pth')])
    content = torch.load(tmp_path / 'run.pth', weights_only=True)
    assert content['meta']['published_epoch'] == 7
    assert content['meta']['args'] == dict(arch='vit_small')
    runner = make_runner(load_from=str(tmp_path / 'run.pth'))
    runner.load_or_resume()  # StrictLoadHook refuses what is missing or left over
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert runner.epoch == 0  # schedules begin anew


def test_what_is_missing_is_named(full_file, tmp_path) -> None:
    path, _, content = full_file
    for missing, message in (('student', 'no student with'), ('dino_loss', 'no center')):
        torch.save({k: v for k, v in content.items() if k != missing}, path)
        with pytest.raises(CheckpointError, match=f'{path} holds {message}'):
            main([str(path), str(tmp_path / 'run.pth')])
    assert not (tmp_path / 'run.pth').exists()
