"""Pictures of what a segmentation or detection model predicts."""

import os
from collections.abc import Sequence
from typing import Any

import mmcv
import numpy as np
from mmengine.hooks import Hook
from torch import Tensor

from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number


def _picture(path: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned by EXIF as the model saw it."""
    return mmcv.imread(path, channel_order='rgb')


class PictureHook(Hook):
    """Draws predictions beside images and labels at every evaluation.

    ``predictions.png`` in the work directory shows the latest one, of images spread over the set.

    Args:
        num_images (int): Images to draw.
    """

    priority = 'LOW'

    def __init__(self, num_images: int = 6) -> None:
        check_number(f'{type(self).__name__}.num_images', num_images, whole=True, at_least=1)
        self.num_images = num_images

    def take(self, sample) -> tuple:
        """What is drawn of one predicted sample."""
        raise NotImplementedError

    def draw(self, path: str, samples: Sequence[tuple], meta: dict[str, Any]) -> None:
        """Draws what :meth:`take` returned of several, with the data set's ``metainfo``."""
        raise NotImplementedError

    def before_val_epoch(self, runner) -> None:
        self._start(runner.val_dataloader)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._collect(batch_idx, outputs)

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._finish(runner)

    def before_test_epoch(self, runner) -> None:
        self._start(runner.test_dataloader)

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._collect(batch_idx, outputs)

    def after_test_epoch(self, runner, metrics=None) -> None:
        self._finish(runner)

    def _start(self, loader) -> None:
        self.samples: list[tuple] = []
        self.meta = loader.dataset.metainfo
        # the first image of so many batches
        self.wanted = {
            int(i) for i in np.linspace(0, len(loader) - 1, min(self.num_images, len(loader)))
        }

    def _collect(self, batch_idx: int, outputs: Sequence) -> None:
        if batch_idx in self.wanted:
            self.samples.append(self.take(outputs[0]))

    def _finish(self, runner) -> None:
        if runner.rank == 0 and self.samples:
            path = os.path.join(runner.work_dir, 'predictions.png')
            self.draw(path, self.samples, self.meta)
            runner.logger.info(f'Drew {len(self.samples)} predictions: {path}')
        self.samples = []


@HOOKS.register_module()
class SegmentationPictureHook(PictureHook):
    """Pictures of semantic segmentation."""

    def take(self, sample) -> tuple:
        prediction = self._plane(sample.pred_sem_seg.data)
        labels = np.full(prediction.shape, 255)
        if 'gt_sem_seg' in sample:
            labels = self._plane(sample.gt_sem_seg.data)
        return _picture(sample.img_path), labels, prediction

    @staticmethod
    def _plane(labels: Tensor) -> np.ndarray:
        """(1, H, W) on any device to (H, W)."""
        return labels[0].cpu().numpy()

    def draw(self, path: str, samples: Sequence[tuple], meta: dict[str, Any]) -> None:
        from dino_mm.visualization import draw_segmentation

        draw_segmentation(path, samples, meta['classes'], meta['palette'])


@HOOKS.register_module()
class DetectionPictureHook(PictureHook):
    """Pictures of boxes and, where there are some, masks.

    Args:
        num_images (int): Images to draw.
        score_thr (float): Score from which on a prediction is drawn.
    """

    def __init__(self, num_images: int = 6, score_thr: float = 0.3) -> None:
        super().__init__(num_images)
        self.score_thr = score_thr

    def take(self, sample) -> tuple:
        found = sample.pred_instances
        found = self._objects(found[found.scores >= self.score_thr])
        known = self._objects(sample.gt_instances) if 'gt_instances' in sample else []
        return _picture(sample.img_path), known, found

    @staticmethod
    def _objects(instances) -> list[tuple]:
        """Box (4,), label, score or None and mask (H, W) or None of each."""
        boxes = getattr(instances.bboxes, 'tensor', instances.bboxes).cpu().numpy()
        nothing = [None] * len(boxes)
        masks = instances.get('masks', nothing)
        if isinstance(masks, Tensor):
            masks = masks.cpu().numpy()
        elif hasattr(masks, 'to_ndarray'):  # of mmdet's annotations
            masks = masks.to_ndarray()
        scores = instances.scores.tolist() if 'scores' in instances else nothing
        return list(zip(boxes, instances.labels.tolist(), scores, masks, strict=True))

    def draw(self, path: str, samples: Sequence[tuple], meta: dict[str, Any]) -> None:
        from dino_mm.visualization import draw_detections

        draw_detections(path, samples, meta['classes'])
