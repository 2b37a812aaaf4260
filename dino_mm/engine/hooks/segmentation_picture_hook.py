"""Pictures of what a segmentation model predicts."""

import os
from collections.abc import Sequence

import numpy as np
from mmengine.hooks import Hook
from PIL import Image
from torch import Tensor

from dino_mm.registry import HOOKS
from dino_mm.visualization import draw_segmentation


def _plane(labels: Tensor) -> np.ndarray:
    """(1, H, W) on any device to (H, W)."""
    return labels[0].cpu().numpy()


@HOOKS.register_module()
class SegmentationPictureHook(Hook):
    """Draws predictions beside images and labels at every evaluation.

    ``predictions.png`` in the work directory shows the latest one, of images spread over the set.

    Args:
        num_images (int): Images to draw.
    """

    priority = 'LOW'

    def __init__(self, num_images: int = 6) -> None:
        self.num_images = num_images

    def before_val_epoch(self, runner) -> None:
        self._start(runner, runner.val_dataloader)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._collect(batch_idx, outputs)

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._draw(runner)

    def before_test_epoch(self, runner) -> None:
        self._start(runner, runner.test_dataloader)

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._collect(batch_idx, outputs)

    def after_test_epoch(self, runner, metrics=None) -> None:
        self._draw(runner)

    def _start(self, runner, loader) -> None:
        self.samples: list[tuple] = []
        self.meta = loader.dataset.metainfo
        # the first image of so many batches
        self.wanted = {
            int(i) for i in np.linspace(0, len(loader) - 1, min(self.num_images, len(loader)))
        }

    def _collect(self, batch_idx: int, outputs: Sequence) -> None:
        if batch_idx not in self.wanted:
            return
        sample = outputs[0]
        prediction = _plane(sample.pred_sem_seg.data)
        with Image.open(sample.img_path) as image:
            picture = np.asarray(image.convert('RGB'))
        labels = np.full(prediction.shape, 255)
        if 'gt_sem_seg' in sample:
            labels = _plane(sample.gt_sem_seg.data)
        self.samples.append((picture, labels, prediction))

    def _draw(self, runner) -> None:
        if runner.rank == 0 and self.samples:
            path = os.path.join(runner.work_dir, 'predictions.png')
            draw_segmentation(path, self.samples, self.meta['classes'], self.meta['palette'])
            runner.logger.info(f'Drew {len(self.samples)} predictions: {path}')
        self.samples = []
