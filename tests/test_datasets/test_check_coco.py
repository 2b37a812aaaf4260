"""The checker of COCO files."""

import json
import math
import os
from pathlib import Path

import pytest
from PIL import Image

from dino_mm.datasets.converters import check, check_coco

REAL = os.environ.get('DINO_MM_DATA')
needs_data = pytest.mark.skipif(not REAL, reason='DINO_MM_DATA names no folder of data sets')


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def labeled(index, bbox):
    """A sound annotation."""
    x, y, w, h = bbox
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    return dict(
        id=index,
        image_id=1,
        category_id=7,
        bbox=bbox,
        area=w * h,
        iscrowd=0,
        segmentation=[polygon],
    )


@pytest.fixture
def coco(tmp_path):
    """A sound COCO file with two images; tests break it."""
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (40, 30)).save(tmp_path / name)
    return dict(
        images=[
            dict(id=1, file_name='a.png', width=40, height=30),
            dict(id=2, file_name='b.png', width=40, height=30),
        ],
        annotations=[labeled(1, [0, 0, 40, 30]), labeled(2, [5, 5, 35.5, 10])],
        categories=[dict(id=7, name='cat'), dict(id=9, name='dog')],
    )


def run_check(coco, folder, **options):
    return check_coco(write_json(folder / 'coco.json', coco), folder, **options)


def test_check_of_a_sound_file(coco, tmp_path):
    report = run_check(coco, tmp_path)
    assert not report.errors
    assert report.counts == {
        'images': 2,
        'images without boxes': 1,
        'boxes': 2,
        'boxes without a mask': 0,
        'boxes thinner than a pixel, not trained on': 0,
        '  cat': 2,
        '  dog': 0,
    }
    assert 'no errors' in report.text()
    # The second box reaches half a pixel beyond its image.
    assert list(run_check(coco, tmp_path, tolerance=0.25).errors) == ['box outside its image']


def test_images_above_the_limit_of_pillow_are_named(coco, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert run_check(coco, tmp_path).errors['unreadable image'] == [
        str(tmp_path / name) for name in ('a.png', 'b.png')
    ]


def change(coco, key, index, **fields):
    coco[key][index].update(fields)


@pytest.mark.parametrize(
    ('breakage', 'kind', 'place'),
    [
        (('images', 0, dict(file_name='gone.png')), 'missing image', 'gone.png'),
        (('images', 0, dict(file_name='coco.json')), 'unreadable image', 'coco.json'),
        (('images', 1, dict(width=41)), 'size differs from the image', 'b.png: (41, 30)'),
        (('images', 1, dict(file_name='a.png')), 'file_name of images twice', 'a.png'),
        (('images', 1, dict(id=1)), 'id of images twice', '1'),
        (('images', 1, dict(height=None)), 'entry of images lacks height', 'b.png'),
        (('annotations', 1, dict(id=1)), 'id of annotations twice', '1'),
        (('annotations', 1, dict(category_id=8)), 'unknown category', 'annotation 2: 8'),
        (('annotations', 1, dict(image_id=5)), 'annotation of an unknown image', 'tion 2: 5'),
        (('annotations', 1, dict(bbox=[1, 1, 0, 5])), 'box without area', 'annotation 2'),
        (('annotations', 1, dict(bbox=[5, 5, -2, 5])), 'box without area', 'annotation 2'),
        (('annotations', 1, dict(bbox=[-2, 5, 5, 5])), 'box outside its image', 'a.png (40 x 30)'),
        (('annotations', 1, dict(bbox=[5, 5, 5, 27])), 'box outside its image', 'annotation 2'),
        (('categories', 1, dict(id=7)), 'id of categories twice', '7'),
        (('categories', 1, dict(name='cat')), 'name of categories twice', 'cat'),
    ],
)
def test_check_finds(coco, tmp_path, breakage, kind, place):
    key, index, fields = breakage
    change(coco, key, index, **fields)
    report = run_check(coco, tmp_path)
    assert kind in report.errors
    assert place in report.errors[kind][0]
    assert f'1 ERROR: {kind}' in report.text()


#: Every key that mmdet's data set and metric, or pycocotools, read; and values that they die of
#: or misread.
READ = dict(
    images=dict(id=[None, 1.5, [1]], file_name=[5], width=['40', 0, -4], height=['30', math.nan]),
    annotations=dict(
        id=[0, '1', 1.5],
        image_id=[[1], 1.5],
        category_id=[{}, None],
        bbox=['0 0 4 3', [1, 2, 3], [1, 2, 3, math.nan], ['1', 2, 3, 4]],
        area=['1200', 0, -1, math.nan],
        iscrowd=['0', 2, None],
    ),
    categories=dict(id=[1.5], name=[5]),
)
KEYS = [(part, key) for part, keys in READ.items() for key in keys]


@pytest.mark.parametrize(('part', 'key'), KEYS)
def test_check_finds_what_an_entry_lacks(coco, tmp_path, part, key):
    del coco[part][0][key]
    report = run_check(coco, tmp_path)
    assert len(report.errors[f'entry of {part} lacks {key}']) == 1


@pytest.mark.parametrize(
    ('part', 'key', 'value'), [(*place, v) for place in KEYS for v in READ[place[0]][place[1]]]
)
def test_check_finds_values_of_a_wrong_type(coco, tmp_path, part, key, value):
    coco[part][0][key] = value
    kinds = run_check(coco, tmp_path).errors
    kind = f'entry of {part} lacks {key}' if value is None else f'{key} of {part} is not '
    assert any(found.startswith(kind) for found in kinds)


@pytest.mark.parametrize('entry', [5, None, []])
@pytest.mark.parametrize('part', READ)
def test_check_finds_entries_of_another_kind(coco, tmp_path, part, entry):
    coco[part].append(entry)
    assert any(
        kind.startswith(f'entry of {part} lacks id') for kind in run_check(coco, tmp_path).errors
    )


def test_check_finds_ids_of_two_kinds(coco, tmp_path):
    coco['images'][1]['id'] = 'two'
    assert 'id of images is partly a number, partly text' in run_check(coco, tmp_path).errors


@pytest.mark.parametrize(
    ('mask', 'kind'),
    [
        ([[1, 1, 9, 1]], 'segmentation is not polygons'),
        ([[1, 1, 9, 1, 9, 9, 1]], 'segmentation is not polygons'),
        ([1, 1, 9, 1, 9, 9], 'segmentation is not polygons'),
        ([[1, 1, 9, 1, 9, math.nan]], 'segmentation is not polygons'),
        ('polygon', 'segmentation is neither'),
        (dict(size=[30, 40]), 'segmentation is neither'),
        (dict(size=[40, 30], counts=[1200]), 'size of a run-length code'),
        (dict(counts=[1200]), 'size of a run-length code'),
    ],
)
def test_check_finds_malformed_masks(coco, tmp_path, mask, kind):
    coco['annotations'][0]['segmentation'] = mask
    report = run_check(coco, tmp_path)
    assert [found.startswith(kind) for found in report.errors] == [True]


@pytest.mark.parametrize('mask', [None, [], dict(size=[30, 40], counts=[0, 1200])])
def test_masks_are_asked_for_on_demand(coco, tmp_path, mask):
    coco['annotations'][0]['segmentation'] = mask
    report, lacking = run_check(coco, tmp_path), not mask
    assert not report.errors and report.counts['boxes without a mask'] == lacking
    errors = run_check(coco, tmp_path, masks=True).errors
    assert list(errors) == ['annotation lacks segmentation'] * lacking


def test_thin_boxes_are_counted(coco, tmp_path):
    coco['annotations'][0].update(bbox=[1, 1, 0.5, 9], area=4.5)
    report = run_check(coco, tmp_path)
    assert report.counts['boxes thinner than a pixel, not trained on'] == 1 and not report.errors


@pytest.mark.parametrize('content', ['{', '[]', '{"images": [], "annotations": []}'])
def test_check_of_no_coco_file(tmp_path, content):
    path = tmp_path / 'coco.json'
    path.write_text(content)
    with pytest.raises(ValueError, match='coco.json is not'):
        check_coco(path, tmp_path)


def test_check_shows_some_examples_of_many(coco, tmp_path):
    coco['annotations'] += [
        dict(id=i, image_id=1, category_id=7, bbox=[0, 0, 0, 0]) for i in range(3, 15)
    ]
    text = run_check(coco, tmp_path).text(examples=2)
    assert '12 ERROR: box without area' in text and 'and 10 more' in text


def test_check_exit_status(coco, tmp_path, capsys):
    path = write_json(tmp_path / 'coco.json', coco)
    with pytest.raises(SystemExit) as status:
        check.main([str(path), str(tmp_path)])
    assert status.value.code == 0
    coco['images'][0]['file_name'] = 'gone.png'
    write_json(path, coco)
    with pytest.raises(SystemExit) as status:
        check.main([str(path), str(tmp_path)])
    assert status.value.code == 1
    assert 'missing image' in capsys.readouterr().out


@needs_data
def test_check_of_real_images():
    root = Path(REAL) / 'coco128'
    report = check_coco(
        root / 'annotations' / 'instances_train2017.json', root / 'train2017', tolerance=1.0
    )
    assert not report.errors
    assert report.counts['images'] == 128 and report.counts['boxes'] == 939
    assert report.counts['images without boxes'] == 2
