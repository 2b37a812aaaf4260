"""Label formats to COCO."""

import json
import math
import os
import runpy
import sys
from pathlib import Path

import mmcv
import pytest
from PIL import ExifTags, Image

from dino_mm.datasets.converters import CocoBuilder, bdd100k, check_coco, voc
from dino_mm.datasets.converters.bdd100k import convert_bdd100k
from dino_mm.datasets.converters.coco import image_size
from dino_mm.datasets.converters.voc import convert_voc

from ..conftest import TOOLS

REAL = os.environ.get('DINO_MM_DATA')
needs_data = pytest.mark.skipif(not REAL, reason='DINO_MM_DATA names no folder of data sets')


# Boxes


@pytest.fixture
def builder():
    builder = CocoBuilder(['cat', 'dog'])
    builder.add_image('a.jpg', 40, 30)
    return builder


def test_builder(builder):
    builder.add_box('dog', (1, 2, 11, 22))
    builder.add_image('b.jpg', 10, 10)
    builder.add_image('c.jpg', 10, 10)
    builder.add_box('cat', (0, 0, 10, 10), crowd=True)
    builder.add_box('cat', (0, 0, 5, 4))
    content = builder.content
    assert content['categories'] == [dict(id=1, name='cat'), dict(id=2, name='dog')]
    assert [image['id'] for image in content['images']] == [1, 2, 3]
    assert content['annotations'][0] == dict(
        id=1, image_id=1, category_id=2, bbox=[1, 2, 10, 20], area=200, iscrowd=0
    )
    assert [box['iscrowd'] for box in content['annotations']] == [0, 1, 0]
    assert [box['id'] for box in content['annotations']] == [1, 2, 3]
    assert [box['image_id'] for box in content['annotations']] == [1, 3, 3]
    counts = builder.counts
    assert (counts['images'], counts['images without boxes'], counts['boxes']) == (3, 1, 3)
    assert builder.boxes_of == {'cat': 2, 'dog': 1}
    assert '        2   cat' in builder.report().splitlines()


@pytest.mark.parametrize(
    ('box', 'reason'),
    [
        ((5, 5, 5, 9), 'no area'),
        ((5, 9, 8, 9), 'no area'),
        ((8, 5, 5, 9), 'no area'),
        ((41, 5, 50, 9), 'outside the image'),
        ((5, -9, 8, 0), 'outside the image'),
        ((math.nan, 5, 8, 9), 'undefined coordinates'),
        ((5, 5, math.inf, 9), 'undefined coordinates'),
    ],
)
def test_builder_leaves_out_useless_boxes(builder, box, reason):
    builder.add_box('cat', box)
    assert not builder.content['annotations']
    assert builder.counts[f'boxes left out: {reason}'] == 1
    assert builder.counts['boxes'] == 0 and builder.counts['images without boxes'] == 1


def test_builder_cuts_boxes_at_the_border(builder):
    builder.add_box('cat', (-5, 10, 45.5, 60))
    builder.add_box('cat', (0, 0, 40, 30))
    assert [box['bbox'] for box in builder.content['annotations']] == [
        [0, 10, 40, 20],
        [0, 0, 40, 30],
    ]
    assert builder.counts['boxes cut at the border'] == 1


def test_builder_refuses_an_image_twice(builder):
    with pytest.raises(ValueError, match='a.jpg is labeled twice'):
        builder.add_image('a.jpg', 40, 30)


def test_write_is_whole_or_not_at_all(builder, tmp_path):
    path = tmp_path / 'deep' / 'out.json'
    builder.write(path)
    before = path.read_text()
    builder.content['info'] = object()  # cannot be written
    with pytest.raises(TypeError):
        builder.write(path)
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ['out.json']


# BDD100K


def bdd_label(category, box=None, **fields):
    if box is not None:
        fields['box2d'] = dict(zip(('x1', 'y1', 'x2', 'y2'), box, strict=True))
    return dict(category=category, **fields)


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def test_bdd100k_of_2020(tmp_path):
    frames = [
        dict(
            name='a.jpg',
            labels=[
                bdd_label('pedestrian', (1.5, 2, 11.5, 22.25)),
                bdd_label('traffic sign', (1270, 0, 1290, 20)),
                bdd_label('bicycle', (3, 3, 9, 9), attributes=dict(crowd=True)),
                bdd_label('trailer', (3, 3, 9, 9)),
                bdd_label('car', (3, 3, 3, 9)),
                bdd_label('lane', poly2d=[]),
            ],
        ),
        dict(name='b.jpg'),
        dict(name='c.jpg', labels=None),
        dict(name='d.jpg', labels=[]),
    ]
    output = tmp_path / 'out.json'
    builder = convert_bdd100k(write_json(tmp_path / 'in.json', frames[:1]), output, None, 'det_20')
    assert builder.counts['labels left out: lane without a box'] == 1
    frames[0]['labels'].pop()
    builder = convert_bdd100k(write_json(tmp_path / 'in.json', frames), output)
    content = json.loads(output.read_text())
    assert [category['name'] for category in content['categories']] == [
        'pedestrian',
        'rider',
        'car',
        'truck',
        'bus',
        'train',
        'motorcycle',
        'bicycle',
        'traffic light',
        'traffic sign',
    ]
    assert [category['id'] for category in content['categories']] == list(range(1, 11))
    assert [image['file_name'] for image in content['images']] == [
        'a.jpg',
        'b.jpg',
        'c.jpg',
        'd.jpg',
    ]
    assert {(image['width'], image['height']) for image in content['images']} == {(1280, 720)}
    assert [
        (box['category_id'], box['bbox'], box['iscrowd']) for box in content['annotations']
    ] == [
        (1, [1.5, 2, 10, 20.25], 0),
        (10, [1270, 0, 10, 20], 0),
        (8, [3, 3, 6, 6], 1),
        (4, [3, 3, 6, 6], 1),  # trailer: ignored as truck
    ]
    assert builder.counts['images without boxes'] == 3
    assert builder.counts['boxes left out: no area'] == 1


def test_bdd100k_of_2018(tmp_path):
    labels = [
        bdd_label('person', (1, 2, 11, 22)),
        bdd_label('train', (0, 0, 5, 5)),
        bdd_label('drivable area', poly2d=[]),
        bdd_label('lane', poly2d=[]),
        bdd_label('lane', poly2d=[]),
    ]
    output = tmp_path / 'out.json'
    labels = write_json(tmp_path / 'in.json', [dict(name='a.jpg', labels=labels)])
    builder = convert_bdd100k(labels, output)
    content = json.loads(output.read_text())
    assert [category['name'] for category in content['categories']] == [
        'person',
        'rider',
        'car',
        'bus',
        'truck',
        'bike',
        'motor',
        'traffic light',
        'traffic sign',
        'train',
    ]
    assert [box['category_id'] for box in content['annotations']] == [1, 10]
    assert builder.counts['labels left out: drivable area without a box'] == 1
    assert builder.counts['labels left out: lane without a box'] == 2


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['car', 'pedestrian'], 'det_20'),
        (['car', 'other vehicle'], 'det_20'),
        (['car', 'motor'], '2018'),
        (['car', 'lane'], '2018'),
        (['car'], 'det_20'),
        ([], 'det_20'),
    ],
)
def test_bdd100k_format(names, expected):
    frames = [dict(name='a.jpg', labels=[bdd_label(name) for name in names]), dict(name='b.jpg')]
    assert bdd100k.detect_format(frames) == expected


def test_bdd100k_format_by_fields():
    labels = [bdd_label('car', manualShape=True)]
    assert bdd100k.detect_format([dict(name='a.jpg', labels=labels)]) == '2018'


@pytest.mark.parametrize(
    ('frames', 'message'),
    [
        ('{', 'in.json is not JSON'),
        ({'a.jpg': []}, 'in.json is not a list of frames.*det_train.json'),
        ([dict(labels=[])], 'in.json is not a list of frames'),
        ([dict(name='a.jpg', labels=[bdd_label('pedestrian'), bdd_label('bike')])], 'two formats'),
        ([dict(name='a.jpg', labels=[bdd_label('ufo', (1, 1, 2, 2))])], "a.jpg: unknown.*'ufo'"),
        ([dict(name='a.jpg'), dict(name='a.jpg')], 'in.json, a.jpg:.*twice'),
        ([dict(name='a.jpg', labels=[dict(id=1)])], "in.json, a.jpg: a label lacks 'category'"),
        ([dict(name='a.jpg', labels=[dict(category='car', box2d={})])], "lacks 'x1'"),
        ([dict(name='a.jpg', labels=[bdd_label('car', (None, 1, 2, 2))])], 'in.json, a.jpg'),
    ],
)
def test_bdd100k_bad_labels(tmp_path, frames, message):
    labels = tmp_path / 'in.json'
    labels.write_text(frames if isinstance(frames, str) else json.dumps(frames))
    with pytest.raises(ValueError, match=message):
        convert_bdd100k(labels, tmp_path / 'out.json')
    assert not (tmp_path / 'out.json').exists()


def test_bdd100k_images(tmp_path):
    """Sizes come from the images; a label without its image is an error or counted."""
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.jpg')
    frames = [
        dict(name='a.jpg', labels=[bdd_label('car', (10, 10, 100, 100))]),
        dict(name='gone.jpg', labels=[bdd_label('car', (10, 10, 100, 100))]),
    ]
    labels, output = write_json(tmp_path / 'in.json', frames), tmp_path / 'out.json'
    with pytest.raises(FileNotFoundError, match='gone.jpg is labeled in.*--skip-missing'):
        convert_bdd100k(labels, output, tmp_path)
    assert not output.exists()
    builder = convert_bdd100k(labels, output, tmp_path, skip_missing=True)
    assert builder.counts['frames left out: no such image'] == 1
    content = json.loads(output.read_text())
    assert [(image['width'], image['height']) for image in content['images']] == [(64, 48)]
    assert [box['bbox'] for box in content['annotations']] == [[10, 10, 54, 38]]
    (tmp_path / 'gone.jpg').write_text('no image')
    with pytest.raises(ValueError, match='gone.jpg is not a readable image'):
        convert_bdd100k(labels, output, tmp_path)


@needs_data
@pytest.mark.parametrize('split', ['train', 'val'])
def test_released_bdd100k_of_2020(tmp_path, split, capsys):
    root = Path(REAL) / 'bdd100k' / 'det_20'
    labels, output = root / 'labels' / 'det_20' / f'det_{split}.json', tmp_path / 'out.json'
    images = root / 'images' / '100k' / 'train'  # both files name the same two frames here
    bdd100k.main([str(labels), str(output), '--images', str(images)])
    assert '13 boxes' in capsys.readouterr().out
    content = json.loads(output.read_text())
    frames = json.loads(labels.read_text())
    names = {category['id']: category['name'] for category in content['categories']}
    released = [label for frame in frames for label in frame['labels']]
    assert len(released) == len(content['annotations']) == 13
    for label, box in zip(released, content['annotations'], strict=True):
        x, y, w, h = box['bbox']
        corners = [label['box2d'][key] for key in ('x1', 'y1', 'x2', 'y2')]
        assert [x, y, x + w, y + h] == pytest.approx(corners)
        assert names[box['category_id']] == label['category']
    assert not check_coco(output, images).errors
    coco = pytest.importorskip('pycocotools.coco').COCO(str(output))
    assert len(coco.getAnnIds()) == 13


@needs_data
def test_released_bdd100k_of_2018(tmp_path):
    labels = Path(REAL) / 'bdd100k' / 'format_2018' / 'bdd100k_labels_images_sample.json'
    builder = convert_bdd100k(labels, tmp_path / 'out.json')
    assert builder.counts['boxes'] == 12
    assert builder.counts['labels left out: lane without a box'] == 2
    assert builder.counts['labels left out: drivable area without a box'] == 1
    kept = {name: count for name, count in builder.boxes_of.items() if count}
    assert kept == {'car': 10, 'bus': 1, 'traffic sign': 1}


# Pascal VOC


def voc_object(name, box, difficult=0, extra=''):
    xmin, ymin, xmax, ymax = box
    return (
        f'<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>'
        f'<xmax>{xmax}</xmax><xmin>{xmin}</xmin><ymin>{ymin}</ymin><ymax>{ymax}</ymax>'
        f'</bndbox>{extra}</object>'
    )


PART = '<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>'


@pytest.fixture
def devkit(tmp_path):
    root = tmp_path / 'VOCdevkit'
    images = {
        'VOC2007': {
            '000005': voc_object('dog', (1, 1, 40, 30)) + voc_object('person', (3, 4, 5, 6), 1),
            '000007': '',
        },
        'VOC2012': {'2008_000008': voc_object('tvmonitor', (1.5, 2, 10.25, 12), extra=PART)},
    }
    for year, objects in images.items():
        for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
            (root / year / folder).mkdir(parents=True)
        for image_id, text in objects.items():
            Image.new('RGB', (40, 30)).save(root / year / 'JPEGImages' / f'{image_id}.jpg')
            annotation = root / year / 'Annotations' / f'{image_id}.xml'
            annotation.write_text(f'<annotation>{text}</annotation>')
        lists = root / year / 'ImageSets' / 'Main'
        (lists / 'trainval.txt').write_text('\n'.join(objects) + '\n')
        (lists / 'dog_trainval.txt').write_text(''.join(f'{i} -1\n' for i in objects))
    return root


def test_voc(devkit, tmp_path):
    output = tmp_path / 'out.json'
    builder = convert_voc(devkit, output, ['VOC2007/trainval', 'VOC2012/trainval'])
    content = json.loads(output.read_text())
    assert [image['file_name'] for image in content['images']] == [
        'VOC2007/JPEGImages/000005.jpg',
        'VOC2007/JPEGImages/000007.jpg',
        'VOC2012/JPEGImages/2008_000008.jpg',
    ]
    # Pixels 1 to 40 of an image 40 wide are all of it.
    assert [
        (box['image_id'], box['category_id'], box['bbox'], box['iscrowd'])
        for box in content['annotations']
    ] == [
        (1, 12, [0, 0, 40, 30], 0),
        (1, 15, [2, 3, 3, 3], 1),
        (3, 20, [0.5, 1, 9.75, 11], 0),
    ]
    names = [category['name'] for category in content['categories']]
    assert len(names) == 20 and names == sorted(names)
    assert builder.counts['images without boxes'] == 1
    assert builder.counts['boxes marked as crowd'] == 1
    assert not check_coco(output, devkit).errors


def test_voc_list_of_a_class(devkit, tmp_path):
    assert convert_voc(devkit, tmp_path / 'o.json', ['VOC2007/dog_trainval']).counts['images'] == 2


def test_voc_missing_files(devkit, tmp_path):
    output, parts = tmp_path / 'out.json', ['VOC2007/trainval']
    with pytest.raises(FileNotFoundError, match='test.txt does not exist.*VOC2007/trainval'):
        convert_voc(devkit, output, ['VOC2007/test'])
    (devkit / 'VOC2007' / 'JPEGImages' / '000007.jpg').unlink()
    with pytest.raises(FileNotFoundError, match='000007.jpg is missing.*--skip-missing'):
        convert_voc(devkit, output, parts)
    builder = convert_voc(devkit, output, parts, skip_missing=True)
    assert builder.counts['ids left out: no such image'] == builder.counts['images'] == 1
    (devkit / 'VOC2007' / 'Annotations' / '000005.xml').unlink()
    with pytest.raises(FileNotFoundError, match='000005.xml is missing'):
        convert_voc(devkit, output, parts, skip_missing=True)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<annotation><object>', '000005.xml'),
        (voc_object('ufo', (1, 1, 2, 2)), "000005.xml: unknown category 'ufo'"),
        (voc_object('dog', ('a', 1, 2, 2)), '000005.xml'),
        ('<object><name>dog</name></object>', '000005.xml: <object> lacks <bndbox/xmin>'),
        (voc_object('dog', (1, 1, 2, 2)).replace('name', 'nom'), 'lacks <name>'),
    ],
)
def test_voc_bad_xml(devkit, tmp_path, text, message):
    path = devkit / 'VOC2007' / 'Annotations' / '000005.xml'
    path.write_text(text if 'annotation' in text else f'<annotation>{text}</annotation>')
    with pytest.raises(ValueError, match=message):
        convert_voc(devkit, tmp_path / 'out.json', ['VOC2007/trainval'])


def test_voc_boxes_without_area(devkit, tmp_path):
    path = devkit / 'VOC2007' / 'Annotations' / '000005.xml'
    objects = voc_object('dog', (9, 9, 8, 12)) + voc_object('cat', (60, 1, 70, 9))
    path.write_text(f'<annotation>{objects}</annotation>')
    builder = convert_voc(devkit, tmp_path / 'out.json', ['VOC2007/trainval'])
    assert builder.counts['boxes left out: no area'] == 1
    assert builder.counts['boxes left out: outside the image'] == 1
    assert builder.counts['boxes'] == 0


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.tif'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_sizes_are_those_of_images_as_mmcv_loads_them(name, orientation, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new('RGB', (40, 30)).save(tmp_path / name, exif=exif)
    height, width, _ = mmcv.imread(tmp_path / name).shape
    assert (width, height) == ((40, 30) if orientation < 5 else (30, 40))
    assert image_size(tmp_path / name) == (width, height)


def test_tools(devkit, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', [*sys.path])
    output = tmp_path / 'out.json'
    for name, *arguments in (
        ['voc2coco.py', devkit, output, 'VOC2007/trainval'],
        ['check_coco.py', output, devkit],
        ['bdd100k2coco.py', '--help'],
    ):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(TOOLS / 'dataset_converters' / name), run_name='__main__')
        except SystemExit as error:
            status = error.code
        assert status == 0
    assert json.loads(output.read_text())['images']


def test_voc_command_line(devkit, tmp_path, capsys):
    voc.main([str(devkit), str(tmp_path / 'out.json'), 'VOC2007/trainval'])
    assert '        2 images\n' in capsys.readouterr().out
