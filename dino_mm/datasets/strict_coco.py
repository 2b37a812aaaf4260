"""mmdet's COCO data set with its file checked; needs mmdet, named among ``custom_imports``."""

import logging

from mmdet.datasets import CocoDataset
from mmengine.logging import print_log

from dino_mm.registry import DATASETS

ADVICE = 'tools/dataset_converters/check_coco.py ANNOTATIONS IMAGES names all such entries'


@DATASETS.register_module()
class StrictCocoDataset(CocoDataset):
    """``CocoDataset`` that refuses files it cannot read as they are meant.

    mmdet numbers those categories of the file that ``metainfo`` names, in the file's order:
    a missing name or another order would give labels other names without a word.

    Raises:
        ValueError: Not all classes are in the file, or in another order; an entry of the file
            lacks a key or has one of a wrong type; a box lacks the mask that the pipeline loads;
            ``filter_cfg`` leaves no image.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if len(self._metainfo.get('palette', ())) < len(self._metainfo['classes']):
            # That of COCO's 80 classes: mmdet picks colors where there is none.
            self._metainfo.pop('palette', None)
        if self.test_mode and any(type(s).__name__ == 'Pad' for s in self.pipeline.transforms):
            print_log(
                f'{self.ann_file}: Pad makes the padding a part of the image, boxes are found in '
                'it: leave the step out and set model.data_preprocessor.pad_size_divisor',
                'current',
                logging.WARNING,
            )

    def load_data_list(self) -> list[dict]:
        try:
            items = super().load_data_list()
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f'{self.ann_file}: {type(error).__name__} {error} at reading its entries; {ADVICE}'
            ) from error
        self._check_classes()
        if any(getattr(step, 'with_mask', False) for step in self.pipeline.transforms):
            for item in items:
                if any('mask' not in instance for instance in item['instances']):
                    raise ValueError(
                        f'{self.ann_file}: a box in {item["img_path"]} has no segmentation, but '
                        f'the pipeline loads masks: take a config without masks; {ADVICE} (--masks)'
                    )
        return items

    def filter_data(self) -> list[dict]:
        kept = super().filter_data()
        if len(kept) < len(self.data_list):
            count = f'{len(kept)} of {len(self.data_list)} images'
            message = f'{self.ann_file}: filter_cfg={dict(self.filter_cfg)} leaves {count}'
            if not kept:
                raise ValueError(
                    f'{message}: images without boxes of the classes, and those with a side '
                    'below min_size, are not trained on'
                )
            print_log(message, 'current')
        return kept

    def COCOAPI(self, file: str):  # what mmdet reads the file by
        coco = CocoDataset.COCOAPI(file)
        if any('iscrowd' not in annotation for annotation in coco.dataset['annotations']):
            raise KeyError('iscrowd')  # as the metric would after the first epochs of training
        self.categories = [category['name'] for category in coco.dataset['categories']]
        return coco

    def _check_classes(self) -> None:
        classes, names = self.metainfo['classes'], self.categories
        if isinstance(classes, str):
            raise ValueError(f'metainfo.classes is text: write ({classes!r},) with a comma')
        if [name for name in names if name in classes] != list(classes):
            raise ValueError(
                f'{self.ann_file}: metainfo.classes are {list(classes)}, the categories of the '
                f'file {names}: name all or some of these, in their order'
            )
