"""tools/test.py with a k-NN config, from images in class folders."""

import json
import re
import subprocess
import sys

import pytest
import torch
from mmengine.config import ConfigDict

from dino_mm.apis import test as test_api
from dino_mm.checkpoint import CheckpointError
from dino_mm.evaluation import loops
from dino_mm.evaluation.linear_probe import run as linear_probe
from dino_mm.models import VisionTransformer

from ..conftest import TOOLS
from ..labeled_images import write_colors

CONFIG = """
_base_ = '{root}/configs/knn/dino_vit-s16_knn_in1k.py'
model = dict(backbone=dict(img_size=64, patch_size=32, weight_init='xavier',
    arch=dict(_delete_=True, embed_dims=24, num_layers=2, num_heads=2)))
test_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data_root='{images}'))
test_cfg = dict(chunk_size=8)
log_level = 'WARNING'
"""


@pytest.fixture
def command(tmp_path) -> list[str]:
    """Config, checkpoint and work dir for images of three colors."""
    images = write_colors(tmp_path / 'images')
    config = tmp_path / 'toy.py'
    config.write_text(CONFIG.format(root=TOOLS.parent, images=images))
    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=2, num_heads=2)
    state = VisionTransformer(arch, 64, 32, weight_init='xavier').state_dict()
    # the student's would do too, but is another one
    other = {key: value + 1 for key, value in state.items()}
    torch.save(dict(teacher=state, student=other), tmp_path / 'weights.pth')
    return [str(config), str(tmp_path / 'weights.pth'), '--work-dir', str(tmp_path / 'work')]


def test_known_answer_with_cache_table_and_json(command, tmp_path, capsys, monkeypatch) -> None:
    metrics = test_api.main(command)
    assert metrics == {f'knn/k{k}_top{n}': 100.0 for k in (10, 20, 100, 200) for n in (1, 5)}
    written = json.loads((tmp_path / 'work/knn.json').read_text())
    assert written['metrics'] == metrics and 'weights.pth [teacher]' in written['checkpoint']
    assert (written['bank'], written['queries']) == (18, 9)
    assert '100.00' in capsys.readouterr().out
    files = sorted((tmp_path / 'work/features').iterdir())
    assert len(files) == 4  # 27 images, 8 to a file
    files[0].unlink()  # as if interrupted
    seen = []
    embed = loops.KNNTestLoop._embed
    monkeypatch.setattr(
        loops.KNNTestLoop, '_embed', lambda s, b: (seen.append(len(b['inputs'])), embed(s, b))[1]
    )
    assert test_api.main(command) == metrics and sum(seen) == 8
    # other weights: computed anew, with a message; files of others stay
    (tmp_path / 'work/features/mine.pt').touch()
    test_api.main([*command, '--network', 'student'])
    assert (tmp_path / 'work/features/mine.pt').is_file()
    assert sum(seen) == 8 + 27
    assert 'computed anew' in capsys.readouterr().err + (
        max((tmp_path / 'work').glob('*/*.log')).read_text()
    )


def test_features_that_are_not_finite_are_refused(command, tmp_path) -> None:
    state = torch.load(command[1])
    state['teacher']['norm.bias'][3] = torch.inf
    torch.save(state, command[1])
    with pytest.raises(ValueError, match='8 of 8 features are not finite.*train/blue/blue_0.png'):
        test_api.main(command)
    assert not list((tmp_path / 'work').glob('features/*'))


def stored_features(folder) -> torch.Tensor:
    paths = sorted(folder.glob('*.features.pt'))
    return torch.cat([torch.load(path)['features'] for path in paths])


def test_images_are_normalized_as_the_checkpoint_was_trained(command, tmp_path) -> None:
    weights = torch.load(command[1])['teacher']
    backbone = dict(
        type='VisionTransformer',
        arch=dict(embed_dims=24, num_layers=2, num_heads=2),
        img_size=64,
        patch_size=32,
    )
    preprocessor = dict(mean=[0.5] * 3, std=[0.1] * 3)
    model = f"model = dict(type='DINO', data_preprocessor={preprocessor}, backbone={backbone})"
    torch.save(dict(state_dict=weights, meta=dict(cfg=model)), command[1])
    test_api.main(command)
    ours = stored_features(tmp_path / 'work/features')
    options = ['--checkpoint', command[1], '--work-dir', str(tmp_path / 'linear'), '--epochs', '1']
    options += ['--num-workers', '0', '--layers', '1']
    for source in ([], ['--config', command[0]]):
        linear_probe.main([str(tmp_path / 'images'), *source, *options])
        theirs = stored_features(tmp_path / 'linear/features/checkpoint')[:, 0]  # class token
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'own, meta, used, log, level',
    [
        (None, dict(), None, "ImageNet's mean", 20),
        (None, dict(mean=[0.5]), dict(mean=[0.5]), 'checkpoint says.*mean', 20),
        (dict(non_blocking=False), dict(mean=[0.5]), dict(non_blocking=False, mean=[0.5]), '', 20),
        (dict(mean=(0.5,)), dict(), dict(mean=(0.5,)), 'config says.*mean', 20),
        (dict(mean=(0.5,)), dict(mean=[0.5]), dict(mean=(0.5,)), 'config says', 20),
        (
            dict(mean=None, std=None),
            dict(mean=[0.5]),
            dict(mean=None, std=None),
            'trained with',
            30,
        ),
        (dict(type='Other'), dict(mean=[0.5]), dict(type='Other'), 'config says.*trained wi', 30),
    ],
)
def test_whose_normalization_counts(own, meta, used, log, level) -> None:
    model = ConfigDict(type='FeatureExtractor') | (dict(data_preprocessor=own) if own else {})
    model = ConfigDict(model)
    text = f"model = dict(type='DINO', data_preprocessor={meta})"
    told = test_api.follow_normalization(model, dict(config=text))
    assert model.get('data_preprocessor') == used
    assert re.search(log, told[0]) and told[1] == level


def test_two_processes_share_images_and_bank(command, tmp_path) -> None:
    alone = test_api.main(command)
    together = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone']
    together += [str(TOOLS / 'test.py'), *command[:2], '--launcher', 'pytorch']
    together += ['--work-dir', str(tmp_path / 'two')]
    done = subprocess.run(together, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / 'two/knn.json').read_text())
    assert written['metrics'] == alone
    assert len(list((tmp_path / 'two/features').iterdir())) == 4


def test_files_that_cannot_be_tested(command, tmp_path) -> None:
    config, _, *rest = command
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        test_api.main([config, 'gone.pth', *rest])
    torch.save(dict(head=torch.zeros(2)), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='other.pth'):
        test_api.main([config, str(tmp_path / 'other.pth'), *rest])


def test_other_data_sets_are_named(command) -> None:
    option = 'test_dataloader.dataset._delete_=True'
    bank = 'test_dataloader.dataset.type=EmbeddedDigits'
    with pytest.raises(TypeError, match='KNNDataset, not EmbeddedDigits'):
        test_api.main([*command, '--cfg-options', option, bank])


class Harmful:
    """Would run code when unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('the file ran code')",)


def test_whole_models_are_read_safely_and_strictly(command, tmp_path) -> None:
    quickstart = str(TOOLS.parent / 'configs/quickstart/dino_vit-tiny_digits.py')
    torch.save(dict(state_dict={}, extra=Harmful()), tmp_path / 'harmful.pth')
    with pytest.raises(CheckpointError, match='refused'):
        test_api.main([quickstart, str(tmp_path / 'harmful.pth'), *command[2:]])
    cfg = test_api.build_config(test_api.parse_args([quickstart, *command[1:]]))
    assert cfg.default_hooks['strict_load'].type == 'dino_mm.StrictLoadHook'
    assert cfg.load_from == command[1]
