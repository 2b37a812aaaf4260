"""mmdet's COCO data set with its classes checked; needs mmdet, named among ``custom_imports``."""

from mmdet.datasets import CocoDataset

from dino_mm.registry import DATASETS


@DATASETS.register_module()
class StrictCocoDataset(CocoDataset):
    """``CocoDataset`` that refuses classes other than the file's.

    mmdet numbers those categories of the file that ``metainfo`` names, in the file's order:
    a missing name or another order would give labels other names without a word.

    Raises:
        ValueError: Not all classes are in the file, or in another order.
    """

    def COCOAPI(self, file: str):  # what mmdet reads the file by
        coco = CocoDataset.COCOAPI(file)
        classes = list(self.metainfo['classes'])
        names = [category['name'] for category in coco.dataset['categories']]
        if [name for name in names if name in classes] != classes:
            raise ValueError(
                f'{self.ann_file}: metainfo.classes are {classes}, the categories of the file '
                f'{names}: name all or some of these, in their order'
            )
        return coco
