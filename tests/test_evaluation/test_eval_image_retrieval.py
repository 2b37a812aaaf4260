"""The command, from images in the published layout."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from dino_mm.evaluation.retrieval import run as image_retrieval

from ..conftest import TOOLS
from .toys import BLACK, save_jpeg, scene, toy_arguments

#: Where a query shows what it asks for.
BOX = [16.4, 16.0, 80.2, 80.0]


@pytest.fixture
def landmarks(tmp_path):
    """Eight scenes and three queries, each a scene within tiles of another one.

    Scene 5 is scene 1 again, scenes 6 and 7 are scene 2.
    """
    scenes = [scene(number) for number in range(5)]
    scenes += [scenes[1], scenes[2], scenes[2]]
    for number, image in enumerate(scenes):
        save_jpeg(image, tmp_path / f'roxford5k/jpg/scene_{number}.jpg')
    for number in range(3):
        image = np.tile(scenes[(number + 3) % 5], (3, 3, 1))
        image[16:80, 16:80] = scenes[number]
        save_jpeg(image, tmp_path / f'roxford5k/jpg/query_{number}.jpg')
    truths = [
        dict(bbx=BOX, easy=[0], hard=[], junk=[]),
        dict(bbx=BOX, easy=[1], hard=[5], junk=[]),
        # alike are first the junk, then an image that counts as wrong, then the positive
        dict(bbx=BOX, easy=[], hard=[7], junk=[2]),
    ]
    content = dict(
        imlist=[f'scene_{number}' for number in range(8)],
        qimlist=[f'query_{number}' for number in range(3)],
        gnd=truths,
    )
    (tmp_path / 'roxford5k/gnd_roxford5k.pkl').write_bytes(pickle.dumps(content, protocol=2))
    return tmp_path


def run(folder, *options):
    arguments = [str(folder), *toy_arguments(folder), '--image-size', '64', *options]
    return image_retrieval.main(arguments)['scores']


def test_known_answer(landmarks, capsys) -> None:
    scores = run(landmarks)
    second = (0 / 1 + 1 / 2) / 2
    assert scores['medium']['aps'] == pytest.approx([1, 1, second])
    assert scores['hard']['aps'][0] is None
    assert scores['hard']['aps'][1:] == pytest.approx([1, second])
    assert scores['medium']['map'] == pytest.approx(0.75)
    assert scores['hard']['map'] == pytest.approx((1 + second) / 2)
    # the search for the third query ends at its only positive, the second
    assert scores['medium']['mp'] == pytest.approx([2 / 3, 2.5 / 3, 2.5 / 3])
    output = capsys.readouterr().out
    assert '75.00' in output and '62.50' in output and 'mP@10' in output
    written = json.loads((landmarks / 'work/roxford5k.json').read_text())
    assert written['scores'] == scores
    assert written['settings'] == dict(
        dataset='roxford5k', image_size=64, scales=[1.0], crop_queries=True
    )


def test_queries_are_cropped_unless_told_otherwise(landmarks) -> None:
    # eight ninths of the picture show scene 3: the wanted one is second at best
    whole = run(landmarks, '--whole-queries', '--image-size', '192')
    assert whole['medium']['aps'][0] <= (0 / 1 + 1 / 2) / 2
    assert run(landmarks, '--image-size', '192')['medium']['aps'][0] == 1


def test_images_shrink_but_do_not_grow(tmp_path) -> None:
    save_jpeg(scene(0)[:48], tmp_path / 'wide.jpg')
    region = image_retrieval.load_region((tmp_path / 'wide.jpg', None), 32)
    assert region.shape == (3, 24, 32) and region.dtype == torch.uint8
    region = image_retrieval.load_region((tmp_path / 'wide.jpg', (8, 0, 24, 40)), 100)
    assert region.shape == (3, 40, 16)
    with pytest.raises(ValueError, match='wide.jpg is .* lies outside of it'):
        image_retrieval.load_region((tmp_path / 'wide.jpg', (70, 0, 90, 40)), 100)


def test_several_scales_find_the_same_scene(landmarks) -> None:
    assert run(landmarks, '--multi-scale')['medium']['aps'][:2] == [1, 1]


def test_features_are_reused_until_something_changes(landmarks, monkeypatch) -> None:
    first = run(landmarks)

    def refuse(*args, **kwargs):
        raise AssertionError('an image was read again')

    with monkeypatch.context() as patch:
        patch.setattr(image_retrieval, 'load_region', refuse)
        assert run(landmarks) == first
        with pytest.raises(AssertionError):
            run(landmarks, '--image-size', '32')
        save_jpeg(scene(9), landmarks / 'roxford5k/jpg/scene_0.jpg')
        with pytest.raises(AssertionError):
            run(landmarks)


def test_missing_images_are_named_before_the_run(landmarks) -> None:
    os.remove(landmarks / 'roxford5k/jpg/scene_3.jpg')
    with pytest.raises(FileNotFoundError, match=r'1 of 8 images of the database.*scene_3.jpg'):
        run(landmarks)
    with pytest.raises(FileNotFoundError, match='gnd_rparis6k.pkl'):
        run(landmarks, '--dataset', 'rparis6k')


@pytest.mark.parametrize(
    'options, message',
    [
        (['--checkpoint', 'random'], '--config or --arch'),
        (['--checkpoint', 'random', '--arch', 'dino_vits16', '--config', 'x.py'], 'not both'),
        (['--checkpoint', 'none.pth', '--arch', 'dino_vits16'], 'none.pth'),
    ],
)
def test_backbones_that_cannot_be(tmp_path, options, message) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        image_retrieval.main([str(tmp_path), *options])


def test_two_processes_share_the_images_and_need_no_matplotlib(landmarks) -> None:
    (landmarks / 'broken').mkdir()
    (landmarks / 'broken/matplotlib.py').write_text("raise ImportError('nothing is drawn')")
    paths = [str(landmarks / 'broken'), os.environ.get('PYTHONPATH', '')]
    config = landmarks / 'vit.py'
    config.write_text(
        "model = dict(backbone=dict(type='VisionTransformer', patch_size=16,"
        ' arch=dict(embed_dims=24, num_layers=1, num_heads=2)))'
    )
    options = ['--config', str(config), '--checkpoint', 'random', '--num-workers', '0']
    alone = image_retrieval.main([str(landmarks), *options, '--work-dir', str(landmarks / 'one')])
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2']
    command += ['--standalone', str(TOOLS / 'eval_image_retrieval.py'), str(landmarks)]
    command += [*options, '--work-dir', str(landmarks / 'two'), '--launcher', 'pytorch']
    environment = os.environ | dict(PYTHONPATH=os.pathsep.join(paths))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    together = json.loads((landmarks / 'two/roxford5k.json').read_text())
    for protocol, score in alone['scores'].items():
        for key in ('map', 'mp'):
            assert np.allclose(together['scores'][protocol][key], score[key])


def test_features_that_are_not_finite_are_refused(landmarks) -> None:
    save_jpeg(BLACK, landmarks / 'roxford5k/jpg/scene_3.jpg')
    with pytest.raises(ValueError, match='1 of 8 features are not finite.*scene_3.jpg'):
        run(landmarks, *toy_arguments(landmarks, backbone='BlindViT'))
    assert not list(landmarks.glob('work/features/*database.pt'))
