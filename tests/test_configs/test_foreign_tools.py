"""The command lines of mmseg and mmpretrain on our configs."""

import importlib
import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from dino_mm.checkpoint import read_checkpoint

from . import test_classification, test_segmentation
from .leaves import CONFIGS


def call(package: str, tool: str, *arguments: object) -> None:
    """A tool of a package, in this process."""
    folder = Path(importlib.import_module(package).__path__[0]) / '.mim' / 'tools'
    if not folder.is_dir():
        pytest.skip(f'{package} was installed without its tools')
    argv, sys.argv = sys.argv, [tool, *map(str, arguments)]
    try:
        runpy.run_path(str(folder / tool), run_name='__main__')
    finally:
        sys.argv = argv


def segmentation(folder: Path, cache: Path) -> Config:
    path = CONFIGS / 'segmentation' / 'upernet_vit-tiny_digits.py'
    return test_segmentation.shrink_config(path, cache, folder)


def classification(folder: Path, cache: Path) -> Config:
    path = CONFIGS / 'linear_probe' / 'dino_vit-tiny_linear_digits.py'
    return test_classification.shrink_config(path, cache, folder, cache / 'digits')


@pytest.mark.parametrize(
    'package, build', [('mmseg', segmentation), ('mmpretrain', classification)]
)
def test_train_and_test_with_augmentation(package, build, tmp_path, tmp_path_factory) -> None:
    pytest.importorskip(f'{package}.apis')
    cfg = build(tmp_path, tmp_path_factory.getbasetemp())
    cfg.model.backbone.init_cfg = None
    cfg.dump(tmp_path / 'config.py')
    work = tmp_path / 'work'
    # mmpretrain's tool would ask for workers that stay, of which a shrunk config has none.
    alone = [] if package == 'mmseg' else ['--no-persistent-workers']
    call(package, 'train.py', tmp_path / 'config.py', '--work-dir', work, *alone)
    checkpoint = work / (work / 'last_checkpoint').read_text()
    assert 'state_dict' in read_checkpoint(checkpoint)
    for options in ((), ('--tta',)):
        out = tmp_path / f'out{len(options)}'
        written = ['--out', out if package == 'mmseg' else f'{out}.pkl']
        command = [tmp_path / 'config.py', checkpoint, '--work-dir', work, *written, *options]
        call(package, 'test.py', *command)
        assert any(tmp_path.glob(f'{out.name}*'))
