"""mmdet's COCO data set with its file checked."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from dino_mm.datasets.converters import CocoBuilder, check_coco

from ..test_configs.leaves import CONFIGS
from ..test_configs.toy_detection import box, image_size, write_coco, write_images

pytest.importorskip('mmdet')


@pytest.fixture
def coco_folder(tmp_path) -> Path:
    write_coco(tmp_path, 'boxes.json', 'images', ('cat', 'dog', 'bird'))
    return tmp_path


def coco_dataset(root: Path, classes: tuple[str, ...] = ('cat', 'dog', 'bird'), **kwargs):
    from dino_mm.datasets.strict_coco import StrictCocoDataset

    init_default_scope('mmdet')  # of the transforms
    return StrictCocoDataset(
        data_root=str(root),
        ann_file='boxes.json',
        data_prefix=dict(img='images'),
        metainfo=dict(classes=classes),
        **kwargs,
    )


def test_boxes_without_area_or_outside_the_image_are_left_out(coco_folder) -> None:
    file = coco_folder / 'boxes.json'
    content = json.loads(file.read_text())
    good = content['annotations'][0]
    for i, bbox in enumerate(([5, 5, 0, 10], [5, 5, 10, 0], [70, 5, 10, 10], [-20, 5, 10, 10])):
        bad = dict(good, id=10 + i, image_id=0, bbox=bbox, area=bbox[2] * bbox[3])
        content['annotations'].append(bad)
    file.write_text(json.dumps(content))
    dataset = coco_dataset(coco_folder)
    x, y, w, h = box(0)
    assert [i['bbox'] for i in dataset.get_data_info(0)['instances']] == [[x, y, x + w, y + h]]


def test_an_annotation_without_its_image_names_the_file(coco_folder) -> None:
    (coco_folder / 'images' / '01.jpg').unlink()
    cfg = Config.fromfile(CONFIGS / 'detection' / 'faster-rcnn_vit-s16_lsj-100e_coco.py')
    dataset = coco_dataset(coco_folder, pipeline=cfg.train_pipeline)
    with pytest.raises(FileNotFoundError, match='01.jpg'):
        dataset[1]


@pytest.mark.parametrize('classes', [('cat', 'aardvark'), ('dog', 'cat')])
def test_classes_other_than_those_of_the_file_are_refused(classes, coco_folder) -> None:
    with pytest.raises(ValueError, match=r'boxes.json: metainfo.classes.*bird'):
        coco_dataset(coco_folder, classes)


def test_some_of_the_classes_of_a_file_may_be_taken(coco_folder) -> None:
    dataset = coco_dataset(coco_folder, ('cat', 'bird'))
    labels = [[i['bbox_label'] for i in dataset.get_data_info(k)['instances']] for k in range(4)]
    assert labels == [[0], [], [1], [0]]


@pytest.mark.parametrize(
    ('part', 'key'),
    [
        *(('images', key) for key in ('id', 'file_name', 'width', 'height')),
        *(('annotations', key) for key in ('id', 'image_id', 'category_id', 'bbox', 'area')),
        ('annotations', 'iscrowd'),
        *(('categories', key) for key in ('id', 'name')),
    ],
)
def test_an_entry_that_lacks_a_key_is_refused_before_training(coco_folder, part, key) -> None:
    file = coco_folder / 'boxes.json'
    content = json.loads(file.read_text())
    del content[part][0][key]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"boxes.json: KeyError '{key}'.*check_coco.py"):
        coco_dataset(coco_folder)


def test_a_bbox_of_three_numbers_names_the_file(coco_folder) -> None:
    file = coco_folder / 'boxes.json'
    content = json.loads(file.read_text())
    content['annotations'][0]['bbox'].pop()
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='boxes.json: ValueError.*check_coco.py'):
        coco_dataset(coco_folder)


def test_boxes_without_masks_are_refused_by_a_pipeline_with_masks(coco_folder) -> None:
    file = coco_folder / 'boxes.json'
    content = json.loads(file.read_text())
    del content['annotations'][1]['segmentation']
    file.write_text(json.dumps(content))
    masks = Config.fromfile(CONFIGS / 'detection' / 'mask-rcnn_vit-s16_lsj-100e_coco.py')
    with pytest.raises(ValueError, match=r'boxes.json.*01.jpg has no segmentation'):
        coco_dataset(coco_folder, pipeline=masks.train_pipeline)
    boxes = Config.fromfile(CONFIGS / 'detection' / 'faster-rcnn_vit-s16_lsj-100e_coco.py')
    assert len(coco_dataset(coco_folder, pipeline=boxes.train_pipeline)) == 4


def test_classes_as_text_are_refused(coco_folder) -> None:
    with pytest.raises(ValueError, match=r"write \('cat',\)"):
        coco_dataset(coco_folder, 'cat')


def test_images_that_are_not_trained_on_are_counted(coco_folder, capfd) -> None:
    chosen = dict(filter_empty_gt=True, min_size=38)
    assert len(coco_dataset(coco_folder, filter_cfg=chosen)) == 2  # the others are 36 high
    assert 'leaves 2 of 4 images' in ''.join(capfd.readouterr())
    with pytest.raises(ValueError, match=r'boxes.json: filter_cfg=.*leaves 0 of 4 images'):
        coco_dataset(coco_folder, filter_cfg=dict(min_size=50))


@pytest.mark.parametrize('test_mode', [True, False])
def test_padding_in_the_pipeline_of_a_test_is_warned_of(coco_folder, capfd, test_mode) -> None:
    coco_dataset(coco_folder, test_mode=test_mode, pipeline=[dict(type='Pad', size=(64, 64))])
    assert ('pad_size_divisor' in ''.join(capfd.readouterr())) == test_mode


def test_there_is_a_color_for_every_class(tmp_path) -> None:
    from mmdet.visualization import get_palette

    classes = tuple(f'class {i}' for i in range(90))
    write_coco(tmp_path, 'boxes.json', 'images', classes)
    palette = coco_dataset(tmp_path, classes).metainfo.get('palette')
    assert len(get_palette(palette, len(classes))) == len(classes)


def test_files_of_the_converters_pass_and_are_read(tmp_path) -> None:
    write_images(tmp_path / 'images')
    builder = CocoBuilder(['cat', 'dog', 'bird'])
    for index in range(3):
        builder.add_image(f'{index:02d}.jpg', *image_size(index))
        x, y, w, h = box(index)
        builder.add_box('dog', (x, y, x + w, y + h), crowd=index == 1)
    builder.write(tmp_path / 'boxes.json')
    assert not check_coco(tmp_path / 'boxes.json', tmp_path / 'images').errors
    assert 'info' in builder.content  # read by some releases of pycocotools
    flags = [item['instances'][0]['ignore_flag'] for item in coco_dataset(tmp_path)]
    assert flags == [0, 1, 0]
