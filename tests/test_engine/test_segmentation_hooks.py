"""Mistakes in data and configs of segmentation are told in words; predictions become pictures."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from dino_mm.engine.hooks import SegmentationCheckHook
from dino_mm.engine.hooks.segmentation_check_hook import (
    check_classes,
    check_files,
    check_sizes,
)
from dino_mm.visualization.segmentation import color

from ..segmentation_folders import write_camvid

mmseg_datasets = pytest.importorskip('mmseg.datasets')

IGNORE_VOID = dict(type='dino_mm.IgnoreLabels', ids=[11])


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    write_camvid(tmp_path)
    return tmp_path


def dataset(root: Path, *transforms: dict, **changes):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations'), *transforms]
    arguments = dict(
        data_root=str(root),
        img_suffix='.png',
        metainfo=dict(classes=[f'class {i}' for i in range(11)]),
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
        pipeline=[*pipeline, dict(type='mmseg.PackSegInputs')],
    )
    return mmseg_datasets.BaseSegDataset(**arguments | changes)


def model(num_classes: int = 11, **changes) -> nn.Module:
    settings = dict(size=(64, 32), crop_size=(32, 32), size_divisor=16) | changes
    out = nn.Module()
    out.backbone = SimpleNamespace(patch_size=16)
    out.decode_head = SimpleNamespace(num_classes=num_classes, ignore_index=255)
    out.data_preprocessor = SimpleNamespace(
        size=settings['size'], test_cfg=dict(size_divisor=settings['size_divisor'])
    )
    out.test_cfg = dict(mode='slide', crop_size=settings['crop_size'])
    return out


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        (dict(size=(64, 40)), 'data_preprocessor.size'),
        (dict(crop_size=(30, 32)), 'test_cfg.crop_size'),
        (dict(size_divisor=8), 'size_divisor'),
    ],
)
def test_crops_must_be_multiples_of_the_patch_size(change, key) -> None:
    check_sizes(model())
    with pytest.raises(ValueError, match=f'{key} is .* multiples of the patch size, 16'):
        check_sizes(model(**change))


def test_heads_must_have_the_classes_of_the_data(camvid) -> None:
    check_classes(model(), dataset(camvid), 'train_dataloader')
    with pytest.raises(ValueError, match=r'decode_head.num_classes is 12, .* 11 classes'):
        check_classes(model(12), dataset(camvid), 'train_dataloader')
    with pytest.raises(ValueError, match='metainfo.classes'):
        check_classes(model(), dataset(camvid, metainfo=None), 'train_dataloader')


def test_an_image_without_its_mask_is_an_error(camvid) -> None:
    (camvid / 'trainannot/1.png').unlink()
    with pytest.raises(FileNotFoundError, match='trainannot/1.png'):
        check_files(dataset(camvid), 'train_dataloader')


def test_a_listed_image_that_is_missing_is_an_error(camvid) -> None:
    (camvid / 'list.txt').write_text('0\nlost\n')
    with pytest.raises(FileNotFoundError, match='train/lost.png'):
        check_files(dataset(camvid, ann_file='list.txt'), 'train_dataloader')


def test_masks_without_an_image_are_told_unless_a_list_chooses(camvid) -> None:
    assert check_files(dataset(camvid), 'train_dataloader') == []
    (camvid / 'train/1.png').unlink()
    assert check_files(dataset(camvid), 'train_dataloader') == [str(camvid / 'trainannot/1.png')]
    (camvid / 'list.txt').write_text('0\n')
    assert check_files(dataset(camvid, ann_file='list.txt'), 'train_dataloader') == []


def test_a_set_without_masks_is_fine(camvid) -> None:
    bare = dataset(camvid, data_prefix=dict(img_path='train'))
    assert check_files(bare, 'test_dataloader') == []


def test_real_street_scenes_hold_known_ids() -> None:
    root = os.environ.get('DINO_MM_DATA')
    if root is None:
        pytest.skip('DINO_MM_DATA, a folder of real images with camvid/, is not set')
    scenes = dataset(Path(root, 'camvid'), IGNORE_VOID)
    assert len(scenes) > 10 and check_files(scenes, 'train_dataloader') == []
    for i in range(0, len(scenes), 20):
        labels = scenes[i]['data_samples'].gt_sem_seg.data
        assert labels[labels != 255].max() < 11


def test_wrapped_data_sets_are_checked_each(camvid) -> None:
    inner = [dataset(camvid), dataset(camvid)]
    wrapped = SimpleNamespace(datasets=inner, metainfo=inner[0].metainfo)
    runner = SimpleNamespace(model=model(), train_dataloader=SimpleNamespace(dataset=wrapped))
    os.remove(inner[1].get_data_info(1)['seg_map_path'])
    runner.val_loop = None
    with pytest.raises(FileNotFoundError, match='seg_map_path of an image, is missing'):
        SegmentationCheckHook().before_train(runner)


def test_unknown_ids_name_the_mask_and_the_mend(camvid) -> None:
    runner = SimpleNamespace(model=model())
    hook = SegmentationCheckHook()
    whole = dict(data_samples=[dataset(camvid)[i]['data_samples'] for i in range(3)])
    with pytest.raises(ValueError, match=r'trainannot/\d.png holds the ids \[11\].*IgnoreLabels'):
        hook.before_train_iter(runner, 0, whole)
    mended = dataset(camvid, IGNORE_VOID)
    hook.before_train_iter(
        runner, 0, dict(data_samples=[mended[i]['data_samples'] for i in (0, 1, 2)])
    )


def test_void_becomes_what_losses_and_metrics_skip(camvid) -> None:
    before = [dataset(camvid)[i]['data_samples'].gt_sem_seg.data for i in range(3)]
    after = [dataset(camvid, IGNORE_VOID)[i]['data_samples'].gt_sem_seg.data for i in range(3)]
    assert any((b == 11).any() for b in before)
    for b, a in zip(before, after, strict=True):
        assert a[b == 11].eq(255).all() and a[b != 11].equal(b[b != 11])


def test_colors_of_classes_and_of_ignored_pixels() -> None:
    painted = color(np.array([[0, 1, 255]]), [[1, 2, 3], [4, 5, 6]])
    assert painted.tolist() == [[[1, 2, 3], [4, 5, 6], [255, 255, 255]]]
