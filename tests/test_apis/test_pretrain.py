"""One command from a folder to a backbone."""

import os
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import dino_mm
from dino_mm.apis import pretrain as module
from dino_mm.apis.pretrain import parse_args
from tests.conftest import TOOLS

SMALL = [
    *('model.backbone.arch.num_layers=1', 'train_cfg.max_epochs=2'),
    *('train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False'),
]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Forty images of two classes."""
    rng = np.random.default_rng(0)
    for index in range(40):
        path = tmp_path / 'images' / 'ab'[index % 2] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    return tmp_path / 'images'


def run(*arguments: object) -> str:
    command = [sys.executable, str(TOOLS / 'pretrain.py'), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='1')
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_folder_becomes_a_backbone_and_the_run_goes_on(folder, tmp_path, capsys) -> None:
    work_dir = tmp_path / 'work'
    common = [folder, '--work-dir', work_dir, '--cfg-options', *SMALL]
    said = run(*common[:3], '--labels', folder, '--hours', 0.5, *common[3:])
    for text in (
        'Looking at the images', '40 images', 'Color images, short side 40 pixels',
        'a ViT of width 128 on crops of 40 pixels', '40 images are few', 'step 1/4',
        'untrained backbone', 'linear/top1', 'starting',
    ):  # fmt: skip
        assert text in said, said
    names = {path.name for path in work_dir.iterdir()}
    assert names >= {
        'recipe.py', 'whole_recipe.py', 'backbone.pth', 'curves.png', 'neighbors.png',
        'attention.png', 'epoch_2.pth',
    }  # fmt: skip
    assert [*work_dir.glob('best_knn_k20_top1_*.pth')]
    recipe = (work_dir / 'recipe.py').read_text()
    assert 'max_epochs=1000,  # more would only repeat' in recipe
    cfg = Config.fromfile(work_dir / 'recipe.py')
    assert cfg.train_dataloader.dataset.data_root == str(folder)
    assert cfg.default_hooks.time_budget.hours == 0.5
    backbone = torch.load(work_dir / 'backbone.pth', weights_only=True)
    # Again, and longer: goes on by the recipe that is there.
    (work_dir / 'recipe.py').write_text(
        recipe.replace('model = ', '# edited by a person\nmodel = ')
    )
    options = dict(option.split('=') for option in SMALL)
    options = {key: literal_eval(value) for key, value in options.items()}
    longer = options | {'train_cfg.max_epochs': 3}
    path = dino_mm.pretrain(str(folder), str(work_dir), cfg_options=longer)
    assert 'Going on with the run' in capsys.readouterr().out
    assert 'edited by a person' in (work_dir / 'recipe.py').read_text()
    later = torch.load(path, weights_only=True)
    assert (backbone['meta']['iter'], later['meta']['iter']) == (4, 6)
    assert not backbone['state_dict']['cls_token'].equal(later['state_dict']['cls_token'])
    # Another run starts from the backbone.
    del options['model.backbone.arch.num_layers']
    dino_mm.pretrain(str(folder), str(tmp_path / 'on'), init=str(path), cfg_options=options)
    assert 'the network of' in capsys.readouterr().out
    second = Config.fromfile(tmp_path / 'on' / 'recipe.py')
    assert second.model.backbone.stem == 'conv'
    assert second.default_hooks.freeze_backbone.type == 'FreezeBackboneHook'


def test_defaults(folder, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = module.write_recipe(str(folder), tmp_path / 'recipe.py')
    hours = module.GPU_HOURS if torch.cuda.is_available() else module.HOURS
    assert recipe.value('default_hooks.time_budget.hours') == hours
    arguments = vars(parse_args(['some', '--hours', '2', '--labels', 'x', '--init', 'y']))
    assert arguments == dict(
        folder='some', work_dir=None, hours=2.0, labels='x', init='y', cfg_options=None
    )
    assert dino_mm.pretrain is module.pretrain


@pytest.mark.parametrize(
    'arguments, error, message',
    [
        (('nowhere',), FileNotFoundError, 'nowhere'),
        (('empty',), FileNotFoundError, 'no image'),
        (('images', None, -1.0), ValueError, '--hours'),
        (('images', None, 1.0, 'empty'), ValueError, 'labeled images .*a folder for each class'),
        (('images', None, 1.0, None, 'nowhere.pth'), FileNotFoundError, r'nowhere\.pth'),
    ],
)
def test_wrong_input_is_named(folder, tmp_path, monkeypatch, arguments, error, message) -> None:
    (tmp_path / 'empty').mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        module.pretrain(*arguments)
