"""Test-time augmentation of detection, with masks."""

from collections.abc import Sequence

from mmengine.model import BaseTTAModel
from mmengine.structures import BaseDataElement, InstanceData

from dino_mm.registry import MODELS

#: Axes of (..., H, W) that each ``flip_direction`` of mmcv's transforms turns round.
FLIPPED_AXES = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))


def flip_back(instances: InstanceData, shape: tuple[int, int], direction: str) -> InstanceData:
    """Boxes and masks predicted on a flipped image, in the coordinates of the image itself.

    Args:
        instances (InstanceData): ``bboxes`` (N, 4), x1, y1, x2, y2 in pixels, and, where there are
            some, ``masks`` (N, H, W).
        shape (tuple): (H, W) of the image.
        direction (str): ``'horizontal'``, ``'vertical'`` or ``'diagonal'`` (both).

    Returns:
        InstanceData: A copy.
    """
    instances, axes = instances.clone(), FLIPPED_AXES[direction]
    for axis in axes:
        first, last = (0, 2) if axis == -1 else (1, 3)
        ends = instances.bboxes[:, [last, first]]
        instances.bboxes[:, [first, last]] = shape[axis] - ends
    if 'masks' in instances:
        instances.masks = instances.masks.flip(axes)
    return instances


@MODELS.register_module()
class DetectionTTAModel(BaseTTAModel):
    """Joins what a detector finds in several views of an image, flipped or resized.

    The boxes of all views are suppressed together, and every box that is kept brings the mask of
    its own view. mmdet's ``DetTTAModel`` does the same for boxes and refuses masks. Samples need
    ``ori_shape`` and ``flip_direction``.

    Args:
        tta_cfg (dict): ``nms`` (dict), as mmcv's ``batched_nms`` takes it, and ``max_per_img``.
        kwargs: See mmengine's ``BaseTTAModel``.
    """

    def __init__(self, tta_cfg: dict, **kwargs) -> None:
        super().__init__(**kwargs)
        self.nms, self.max_per_img = dict(tta_cfg['nms']), tta_cfg['max_per_img']

    def merge_preds(self, data_samples_list: Sequence[Sequence]) -> list[BaseDataElement]:
        """One sample per image, the first of its views, with the joined predictions."""
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: Sequence[BaseDataElement]) -> BaseDataElement:
        from mmcv.ops import batched_nms  # after dino_mm.ops, where nothing is compiled

        found = InstanceData.cat(
            [
                flip_back(view.pred_instances, view.ori_shape, view.flip_direction)
                if view.flip_direction
                else view.pred_instances
                for view in views
            ]
        )
        boxes, kept = batched_nms(found.bboxes, found.scores, found.labels, self.nms)
        merged = found[kept[: self.max_per_img]]
        merged.scores = boxes[: self.max_per_img, 4]  # some kinds of suppression lower them
        views[0].pred_instances = merged
        return views[0]
