"""The command, from images in the published layout."""

import json

import numpy as np
import pytest
from PIL import Image

from dino_mm.evaluation.voc import run as attention_voc

from .toys import BLACK, save_jpeg, scene, toy_arguments

#: Patches are 8 pixels wide; the square holds 16 of them.
SQUARE = (slice(16, 48), slice(24, 56))


def save_mask(mask, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    image.putpalette(list(range(256)) * 3)
    image.save(path)


@pytest.fixture
def voc(tmp_path):
    """A white square on dark scenes, which the first head sees, marked as an object."""
    root = tmp_path / 'VOC2012'
    for name, number in (('one', 0), ('two', 1), ('none', 2)):
        image = (scene(number) * 0.01).astype(np.uint8)
        image[SQUARE] = 255
        save_jpeg(image, root / f'JPEGImages/{name}.jpg')
        mask = np.zeros((64, 64), np.uint8)
        mask[60:, 60:] = 255  # void
        if name != 'none':
            mask[SQUARE] = 5
        if name == 'two':
            mask[:8, :8] = 9  # what the second head looks at
        save_mask(mask, root / f'SegmentationClass/{name}.png')
    lists = root / 'ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'val.txt').write_text('one\ntwo\nnone\n')
    (lists / 'nothing.txt').write_text('none\n')
    return root


def run(root, *options):
    arguments = [str(root), *toy_arguments(root.parent), '--image-size', '64', *options]
    return attention_voc.main(arguments)['scores']


def test_known_answer(voc, capsys) -> None:
    scores = run(voc)
    # of 16 equal patches those beyond 40 % of the mass: the 7th to the 16th
    square = 10 / 16
    assert scores['jaccard'] == pytest.approx((square + (square + 1) / 2) / 2)
    assert scores['single_heads'] == pytest.approx([(square + square / 2) / 2, (0 + 1 / 2) / 2])
    assert scores['images'] == 2 and scores['without_object'] == 1
    assert f'{100 * scores["jaccard"]:.2f}' in capsys.readouterr().out
    assert json.loads((voc.parent / 'work/attention_voc.json').read_text())['scores'] == scores


def test_all_of_the_mass_covers_the_square(voc) -> None:
    save_jpeg(np.zeros((64, 64, 3), np.uint8), voc / 'JPEGImages/one.jpg')
    image = np.zeros((64, 64, 3), np.uint8)
    image[SQUARE] = 255
    for name in ('one', 'two'):
        save_jpeg(image, voc / f'JPEGImages/{name}.jpg')
    assert run(voc, '--mass', '1.0')['jaccard'] == pytest.approx(1)


def test_bad_input(voc) -> None:
    with pytest.raises(ValueError, match='no mask of .*nothing.txt holds an object'):
        run(voc, '--split', 'nothing')
    with pytest.raises(FileNotFoundError, match='VOCdevkit/VOC2012'):
        run(voc.parent)
    with pytest.raises(ValueError, match='below one patch'):
        run(voc, '--image-size', '4')
    (voc / 'ImageSets/Segmentation/more.txt').write_text('one\nlost\n')
    with pytest.raises(FileNotFoundError, match='2 of 4 images and masks.*lost'):
        run(voc, '--split', 'more')
    save_jpeg(scene(0, size=48), voc / 'JPEGImages/one.jpg')
    with pytest.raises(ValueError, match=r'one.jpg is \(48, 48\) but its mask .*\(64, 64\)'):
        run(voc)


def test_attention_that_is_not_finite_is_refused(voc) -> None:
    save_jpeg(BLACK, voc / 'JPEGImages/two.jpg')
    with pytest.raises(ValueError, match='1 of 3 attention maps are not finite.*two.jpg'):
        run(voc, *toy_arguments(voc.parent, backbone='BlindViT'))
