"""What mmseg would answer with silence or a CUDA assertion, said in words."""

import os
from collections.abc import Sequence

from mmengine.hooks import Hook
from torch import nn
from torch.utils.data import Dataset

from dino_mm.registry import HOOKS
from dino_mm.utils.wrappers import parts_of, unwrap


def heads_of(model: nn.Module) -> dict[str, nn.Module]:
    """Decode and auxiliary heads of a segmentor by the config keys of theirs."""
    heads = {}
    for key in ('decode_head', 'auxiliary_head'):
        head = getattr(model, key, None)
        if isinstance(head, nn.ModuleList):
            heads |= {f'model.{key}.{i}': part for i, part in enumerate(head)}
        elif head is not None:
            heads[f'model.{key}'] = head
    return heads


def check_classes(model: nn.Module, dataset: Dataset, loader: str) -> None:
    """Refuses heads whose ``num_classes`` is not the number of the data set's classes."""
    classes = dataset.metainfo.get('classes')
    if classes is None:
        raise ValueError(f'{loader}.dataset.metainfo.classes: name the classes of the masks')
    for key, head in heads_of(model).items():
        if head.num_classes != len(classes):
            raise ValueError(
                f'{key}.num_classes is {head.num_classes}, but {loader}.dataset has '
                f'{len(classes)} classes: {", ".join(classes[:4])}, ...'
            )


def check_sizes(model: nn.Module) -> None:
    """Refuses crops that the patches of a ViT do not fill.

    The ViT leaves the rest at the right and below out, and the head would stretch what it
    predicts over it.
    """
    patch = getattr(model.backbone, 'patch_size', None)
    if not isinstance(patch, int):
        return
    preprocessor, test_cfg = model.data_preprocessor, model.test_cfg
    sizes = {'model.data_preprocessor.size': getattr(preprocessor, 'size', None)}
    if test_cfg.get('mode') == 'slide':
        sizes['model.test_cfg.crop_size'] = test_cfg['crop_size']
    test_pad = getattr(preprocessor, 'test_cfg', None) or {}
    sizes['model.data_preprocessor.test_cfg.size_divisor'] = (test_pad.get('size_divisor', 1),)
    for key, size in sizes.items():
        if size is not None and any(side % patch for side in size):
            side = size[0] if len(size) == 1 else tuple(size)
            raise ValueError(f'{key} is {side}: take multiples of the patch size, {patch}')


def check_files(dataset: Dataset, loader: str) -> list[str]:
    """Refuses images without a mask; returns masks without an image, which mmseg passes over.

    Where a list (``ann_file``) chooses images, other masks are no mistake and none is returned.
    """
    folders: dict[str, set[str]] = {}
    used = set()
    for item in (dataset.get_data_info(i) for i in range(len(dataset))):
        for key in ('img_path', 'seg_map_path'):
            if key not in item:  # a set without masks
                continue
            folder, name = os.path.split(item[key])
            if '://' in folder:  # not on a disk
                return []
            if folder not in folders:
                folders[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
            if name not in folders[folder]:
                raise FileNotFoundError(
                    f'{loader}.dataset: {item[key]}, {key} of an image, is missing. Add it, or '
                    'leave the image out by a list of names, dataset.ann_file'
                )
            if key == 'seg_map_path':
                used.add((folder, name))
    if os.path.isfile(getattr(dataset, 'ann_file', '')) or getattr(dataset, '_indices', None):
        return []
    suffix = getattr(dataset, 'seg_map_suffix', '.png')
    present = {(folder, name) for folder, _ in used for name in folders[folder]}
    return sorted(os.path.join(*mask) for mask in present - used if mask[1].endswith(suffix))


@HOOKS.register_module()
class SegmentationCheckHook(Hook):
    """Checks classes, crop sizes and files of mmseg's configs at the start, labels as they come.

    Raises:
        ValueError: Heads and data set differ in classes; crops are no multiples of the patch
            size; a mask holds an id that is neither a class nor ignored.
        FileNotFoundError: An image or its mask is missing.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        self._check(runner, 'train_dataloader')
        if runner.val_loop is not None:
            self._check(runner, 'val_dataloader')

    def before_test(self, runner) -> None:
        self._check(runner, 'test_dataloader')

    def _check(self, runner, loader: str) -> None:
        model, dataset = unwrap(runner.model), getattr(runner, loader).dataset
        check_classes(model, dataset, loader)
        check_sizes(model)
        for part in parts_of(dataset):
            lone = check_files(part, loader)
            if lone:
                runner.logger.warning(
                    f'{loader}: {len(lone)} masks have no image and are not used: {lone[0]}, ...'
                )

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._check_labels(runner, data_batch)

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._check_labels(runner, data_batch)

    def before_test_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._check_labels(runner, data_batch)

    def _check_labels(self, runner, data_batch: dict) -> None:
        head = unwrap(runner.model).decode_head
        samples = data_batch['data_samples']
        if isinstance(samples[0], Sequence):  # of test-time augmentation: the same labels in each
            samples = samples[0]
        for sample in samples:
            if 'gt_sem_seg' not in sample:
                continue
            labels = sample.gt_sem_seg.data
            unknown = (labels >= head.num_classes) & (labels != head.ignore_index)
            if unknown.any():
                ids = labels[unknown].unique().tolist()
                raise ValueError(
                    f'{sample.seg_map_path} holds the ids {ids}, but the classes are 0 to '
                    f'{head.num_classes - 1} and {head.ignore_index} is ignored. Add the classes '
                    "to dataset.metainfo and num_classes, or dict(type='dino_mm.IgnoreLabels', "
                    f'ids={ids}) to the pipeline after LoadAnnotations'
                )
