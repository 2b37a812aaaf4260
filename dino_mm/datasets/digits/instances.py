"""Boxes and masks of the embedded digits, as mmdet's transforms and metrics take them."""

import numpy as np
from PIL import Image

from dino_mm.registry import DATASETS
from dino_mm.utils.checks import check_number

from .embedded import EmbeddedDigits


def encode_mask(mask: np.ndarray) -> dict:
    """Run-length code of COCO of a mask (H, W)."""
    from pycocotools.mask import encode  # comes with mmdet

    code = encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(code, counts=code['counts'].decode())


@DATASETS.register_module()
class DigitInstances(EmbeddedDigits):
    """Scenes of several digits for detection and instance segmentation.

    Every item has ``img_path``, ``img_id``, ``height``, ``width`` and ``instances``, a list of
    ``bbox`` (x1, y1, x2, y2 in pixels), ``bbox_label``, ``mask`` (run-length code) and
    ``ignore_flag``. Digits that others hide wholly are left out.

    Args:
        digits_per_scene (int): Instances per scene, at least 2.
        kwargs: See :class:`EmbeddedDigits`.
    """

    def __init__(self, digits_per_scene: int = 4, **kwargs) -> None:
        key = f'{type(self).__name__}.digits_per_scene'
        check_number(key, digits_per_scene, whole=True, at_least=2)
        super().__init__(digits_per_scene=digits_per_scene, **kwargs)

    def load_data_list(self) -> list[dict]:
        return [self._item(i, scene) for i, scene in enumerate(super().load_data_list())]

    def _item(self, index: int, scene: dict) -> dict:
        instances = np.asarray(Image.open(scene['instance_path']))  # (H, W), 0 is background
        boxes, labels = scene['gt_bboxes'].tolist(), scene['gt_labels'].tolist()
        return dict(
            img_path=scene['img_path'],
            img_id=index,
            height=instances.shape[0],
            width=instances.shape[1],
            instances=[
                dict(bbox=box, bbox_label=label, mask=encode_mask(instances == i), ignore_flag=0)
                for i, (box, label) in enumerate(zip(boxes, labels, strict=True), start=1)
                if (instances == i).any()
            ],
        )
