"""k-NN and linear classification by command, from images in class folders."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from dino_mm.evaluation.backbone import FrozenBackbone
from dino_mm.evaluation.features import FeatureFiles
from dino_mm.evaluation.functional import fit_linear_heads, knn_accuracy
from dino_mm.evaluation.linear_probe import probe
from dino_mm.evaluation.linear_probe import run as linear_probe
from dino_mm.evaluation.linear_probe.labeled import labeled_config
from dino_mm.evaluation.linear_probe.subjects import backbone_subject
from dino_mm.models import VisionTransformer
from dino_mm.registry import DATASETS, MODELS

from ..conftest import TOOLS
from ..labeled_images import write_colors
from .toys import toy_arguments

VIT = """
model = dict(backbone=dict(type='VisionTransformer', img_size=32, patch_size=8,
    arch=dict(embed_dims=24, num_layers=2, num_heads=2), weight_init='xavier'))
"""


@pytest.fixture
def colors(tmp_path):
    """Images of three colors and a tiny backbone."""
    (tmp_path / 'vit.py').write_text(VIT)
    return write_colors(tmp_path)


def arguments(folder, *options: str) -> list[str]:
    return [
        *(str(folder), '--config', str(folder / 'vit.py'), '--checkpoint', 'random'),
        *('--image-size', '32', '--layers', '1', '2', '--num-workers', '0', '--epochs', '20'),
        *('--work-dir', str(folder / 'work'), *options),
    ]


def test_known_answer_from_few_and_all_labels(colors, capsys) -> None:
    rows = linear_probe.main(arguments(colors, '--baselines', '--fractions', '0.2', '1'))
    assert [row['features'] for row in rows] == ['untrained'] * 2 + ['raw-pixels'] * 2
    assert [row['images'] for row in rows] == [3, 18] * 2
    for row in rows:
        # three or six images of each color vote, however large k is
        assert [row[f'{k}-NN'] for k in (10, 20, 100, 200)] == [100.0] * 4
        assert row['linear top-1'] == row['held out'] == row['top-5'] == 100.0
    output = capsys.readouterr().out
    assert 'raw-pixels' in output and '20 %' in output
    written = json.loads((colors / 'work/linear_probe.json').read_text())
    assert written['rows'] == rows and written['settings']['layers'] == [1, 2]
    assert written['subjects']['raw-pixels'] == dict(checkpoint='raw-pixels', size=32)


def test_wrong_labels_are_not_learned_from_pixels_of_others(colors) -> None:
    # all red images for blue and the other way round, in val only
    val = colors / 'val'
    (val / 'red').rename(val / 'other')
    (val / 'blue').rename(val / 'red')
    (val / 'other').rename(val / 'blue')
    [row] = linear_probe.main(arguments(colors, '--checkpoint', 'raw-pixels'))
    assert row['10-NN'] == pytest.approx(100 / 3) == row['linear top-1']


def test_a_class_without_training_images_counts_as_wrong(colors) -> None:
    for path in (colors / 'train/red').iterdir():
        path.unlink()
    (colors / 'train/red').rmdir()
    [row] = linear_probe.main(arguments(colors, '--checkpoint', 'raw-pixels'))
    assert row['10-NN'] == pytest.approx(200 / 3) == row['linear top-1']


def test_all_endings_of_image_files_count(colors) -> None:
    for number, ending in enumerate(('webp', 'tiff')):
        path = colors / f'train/red/red_{number}.png'
        Image.open(path).save(path.with_suffix(f'.{ending}'))
        path.unlink()
    [row] = linear_probe.main(arguments(colors, '--checkpoint', 'raw-pixels'))
    assert row['images'] == 18


def test_heads_are_trained_without_a_copy_of_the_features(colors, monkeypatch) -> None:
    seen, read_all = [], FeatureFiles.read_all
    monkeypatch.setattr(FeatureFiles, 'read_all', lambda s: (seen.append(read_all(s)), seen[0])[1])

    def fit(features, *args):
        seen.append(features)
        return fit_linear_heads(features, *args)

    monkeypatch.setattr(probe, 'fit_linear_heads', fit)
    linear_probe.main(arguments(colors, '--checkpoint', 'raw-pixels'))
    assert [part.data_ptr() for part in seen[1:]] == [seen[0][0].data_ptr()] * 2


def test_features_and_rows_are_reused_and_resumed(colors, monkeypatch) -> None:
    monkeypatch.setattr(linear_probe, 'FeatureFiles', partial(FeatureFiles, chunk_size=8))
    options = arguments(colors, '--checkpoint', 'raw-pixels', '--batch-size', '4')
    [first] = linear_probe.main(options)
    files = sorted((colors / 'work/features/raw-pixels').iterdir())
    assert len(files) == 4  # 27 images
    files[1].unlink()  # as if interrupted
    seen = []
    embed = linear_probe.embed_batch
    monkeypatch.setattr(
        linear_probe, 'embed_batch', lambda s, b: (seen.append(len(b['inputs'])), embed(s, b))[1]
    )
    assert linear_probe.main(options) == [first] and sum(seen) == 8
    with monkeypatch.context() as patch:
        patch.setattr(probe, 'probe', None)  # finished rows are kept
        linear_probe.main(options)
    seen.clear()
    next((colors / 'val/red').iterdir()).touch()
    linear_probe.main(options)
    assert sum(seen) == 27


@pytest.mark.parametrize('checkpoint', ['random', 'raw-pixels'])
def test_two_processes_share_the_extraction(colors, checkpoint) -> None:
    options = ['--checkpoint', checkpoint]
    [alone] = linear_probe.main(arguments(colors, *options))
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone']
    command += [str(TOOLS / 'eval_linear.py'), *arguments(colors, '--launcher', 'pytorch')]
    command += [*options, '--work-dir', str(colors / 'two')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    together = json.loads((colors / 'two/linear_probe.json').read_text())
    assert together['rows'] == [alone]
    assert done.stdout.count('Accuracy in percent') == 1  # two unconnected processes would both say


def test_parts_are_the_published_ones() -> None:
    torch.manual_seed(0)
    vit = VisionTransformer(
        dict(embed_dims=24, num_layers=3, num_heads=2), 32, 8, num_registers=2
    ).eval()
    backbone = FrozenBackbone(vit, dict(mean=(0.0,) * 3, std=(1.0,) * 3), dict(backbone=None))
    subject = backbone_subject('checkpoint', backbone, (1, 3))
    images = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8).to(backbone.device)
    with torch.no_grad():
        parts = subject.embed(images)
        layers = vit.get_intermediate_layers(backbone.normalize(images), 3)
    assert subject.choices == {
        '1 layer': [2],
        '1 layer + patches': [2, 3],
        '3 layers': [0, 1, 2],
        '3 layers + patches': [0, 1, 2, 3],
    }
    for place, layer in enumerate(layers):
        assert torch.equal(parts[:, place], layer[:, 0])
    assert torch.allclose(parts[:, 3], layers[-1][:, 3:].mean(1))  # without registers
    assert subject.knn_part == 2
    # the neck of the configs gives the same
    neck = MODELS.build(dict(type='LastLayers', avg_patches=True, num_prefix_tokens=3))
    assert torch.equal(neck(layers)[0], parts.flatten(1))
    with pytest.raises(ValueError, match='--layers 4: the backbone has 3 layers'):
        backbone_subject('checkpoint', backbone, (4,))


@pytest.mark.parametrize(
    'options, message',
    [
        (['--checkpoint', 'raw-pixels'], 'DATA_ROOT, or a --config'),
        (['--checkpoint', 'raw-pixels', '--config', 'vit.py'], 'no KNNDataset'),
        (['gone', '--checkpoint', 'raw-pixels'], "'gone' of the KNNDataset does not exist"),
    ],
)
def test_nothing_to_evaluate_on(tmp_path, monkeypatch, options, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'vit.py').write_text(VIT)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        linear_probe.main(options)


def test_one_image_per_class_leaves_nothing_to_choose_by(tmp_path) -> None:
    root = write_colors(tmp_path, train=1)
    with pytest.raises(ValueError, match='no training image is left'):
        linear_probe.main([str(root), '--checkpoint', 'raw-pixels', '--work-dir', str(root / 'w')])


def test_images_of_a_config(tmp_path) -> None:
    config = tmp_path / 'digits.py'
    config.write_text(
        f"{VIT}part = dict(type='EmbeddedDigits', data_root='{tmp_path}', indices=30,\n"
        "    pipeline=[dict(type='LoadImage'), dict(type='mmpretrain.PackInputs')])\n"
        "val_dataloader = dict(dataset=dict(type='KNNDataset', bank=dict(part, split='train'),\n"
        "    queries=dict(part, split='val')))\n"
    )
    options = ['--config', str(config), '--checkpoint', 'raw-pixels', '--epochs', '2']
    [row] = linear_probe.main(
        [*options, '--work-dir', str(tmp_path / 'work'), '--num-workers', '0']
    )
    assert row['images'] == 30
    with DefaultScope.overwrite_default_scope('dino_mm'):
        dataset = DATASETS.build(labeled_config(str(config)))
    pixels = torch.stack([item['inputs'] for item in dataset]).flatten(1) / 255
    labels = torch.cat([item['data_samples'].gt_label for item in dataset])
    expected = knn_accuracy(pixels[:30], labels[:30], pixels[30:], labels[30:], ks=(10,))
    assert 0 < row['10-NN'] == expected['k10_top1'] < 100


def test_features_that_are_not_finite_are_refused(colors) -> None:
    black = colors / 'train/green/green_2.png'
    Image.new('RGB', (40, 40)).save(black)
    options = [*arguments(colors), *toy_arguments(colors, backbone='BlindViT'), '--layers', '1']
    for _ in range(2):  # nothing of the first time is reused
        with pytest.raises(ValueError, match='1 of 27 untrained features are not finite.*green_2'):
            linear_probe.main(options)
    assert not list((colors / 'work').glob('features/*/*'))
