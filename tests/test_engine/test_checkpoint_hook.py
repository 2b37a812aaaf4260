"""One checkpoint is whole at every moment."""

from pathlib import Path

import pytest
import torch

from dino_mm.engine.hooks import CheckpointHook
from dino_mm.engine.work_dir import newest_checkpoint


def saved(work_dir: str) -> set[str]:
    return {path.name for path in Path(work_dir).glob('epoch_*.pth')}


def test_old_checkpoints_go_after_new_ones_are_written(make_runner, monkeypatch) -> None:
    hook = dict(type='CheckpointHook', interval=1, max_keep_ckpts=2)
    runner = make_runner(**{'default_hooks.checkpoint': hook, 'train_cfg.max_epochs': 4})
    there, save = [], torch.save

    def noted(*args, **kwargs) -> None:
        there.append(saved(runner.work_dir))
        save(*args, **kwargs)

    monkeypatch.setattr(torch, 'save', noted)
    runner.train()
    assert there[-1] == {'epoch_2.pth', 'epoch_3.pth'}  # when the fourth was to be written
    assert saved(runner.work_dir) == {'epoch_3.pth', 'epoch_4.pth'}
    pointer = Path(runner.work_dir, 'last_checkpoint').read_text()
    assert pointer == str(Path(runner.work_dir, 'epoch_4.pth'))


def test_a_kill_while_writing_leaves_the_one_before(make_runner, monkeypatch) -> None:
    hook = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
    runner = make_runner(**{'default_hooks.checkpoint': hook})
    save, calls = torch.save, []

    def cut(content, file, *args, **kwargs) -> None:
        calls.append(1)
        if len(calls) == 2:
            file.write(b'half of it')
            raise KeyboardInterrupt
        save(content, file, *args, **kwargs)

    monkeypatch.setattr(torch, 'save', cut)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    found = newest_checkpoint(runner.work_dir)
    assert found.path.name == 'epoch_1.pth' and not found.passed_over


def test_two_are_kept_at_least() -> None:
    assert CheckpointHook(max_keep_ckpts=1).max_keep_ckpts == 2
    assert CheckpointHook(max_keep_ckpts=5).max_keep_ckpts == 5
    assert CheckpointHook().max_keep_ckpts == -1
