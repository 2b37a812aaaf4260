"""Each image brought to mean 0 and standard deviation 1."""

import numpy as np
from mmcv.transforms import BaseTransform

from dino_mm.registry import TRANSFORMS
from dino_mm.utils.renamed import register_old_name


@TRANSFORMS.register_module()
class StandardizePerImage(BaseTransform):
    """What ``MultiCropDataPreprocessor(per_image=True)`` does, as a step of a pipeline.

    For mmdet and mmseg, whose data preprocessors know fixed means only: leave out theirs.

    Changed key: ``img``, (H, W, C) uint8 to float32.
    """

    def transform(self, results: dict) -> dict:
        image = results['img'].astype(np.float32) / 255
        std = image.std(ddof=1) + 0.05  # the constant spares empty images their noise
        results['img'] = (image - image.mean()) / std
        return results


register_old_name(TRANSFORMS, 'StandardisePerImage', StandardizePerImage)
