"""Labels that neither training nor evaluation counts."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from dino_mm.registry import TRANSFORMS
from dino_mm.utils.checks import check_number, check_numbers


@TRANSFORMS.register_module()
class IgnoreLabels(BaseTransform):
    """Gives the void ids of a data set mmseg's own, which losses and metrics skip.

    Changed key: ``gt_seg_map``, (H, W) uint8. Images without labels pass, so that mmseg's inference
    APIs, which drop ``LoadAnnotations``, can use the pipeline of the tests.

    Args:
        ids (Sequence[int]): Void ids in the masks.
        ignore_index (int): What they become.
    """

    def __init__(self, ids: Sequence[int], ignore_index: int = 255) -> None:
        level = dict(whole=True, at_least=0, at_most=255)
        check_numbers('IgnoreLabels.ids', ids, **level)
        check_number('IgnoreLabels.ignore_index', ignore_index, **level)
        self.ids, self.ignore_index = list(ids), ignore_index

    def transform(self, results: dict) -> dict:
        if 'gt_seg_map' in results:
            labels = results['gt_seg_map']
            results['gt_seg_map'] = np.where(
                np.isin(labels, self.ids), np.uint8(self.ignore_index), labels
            )
        return results
