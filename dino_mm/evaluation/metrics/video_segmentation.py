"""J and F of video object segmentation as an MMEngine metric."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric

from dino_mm.evaluation.functional import object_scores
from dino_mm.registry import METRICS


@METRICS.register_module()
class DAVISMetric(BaseMetric):
    """Means over all objects of J and F (mean, recall, decay) in percent, as DAVIS 2017 scores.

    For any model that predicts masks of object ids: data samples as in mmsegmentation, with
    ``pred_sem_seg`` and ``gt_sem_seg`` (1, H, W) and an ``img_path`` ``.../SEQUENCE/FRAME.jpg``.
    The first and the last frame of a sequence are left out.
    """

    default_prefix = 'davis'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            masks = [sample[key]['data'][0] for key in ('gt_sem_seg', 'pred_sem_seg')]
            self.results.append(
                (sample['img_path'], *(np.asarray(m.cpu(), np.uint8) for m in masks))
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        sequences: dict[Path, list] = {}
        for path, truth, predicted in sorted(results, key=lambda result: result[0]):
            sequences.setdefault(Path(path).parent, []).append((truth, predicted))
        scores = []
        for folder, frames in sequences.items():
            if len(frames) < 3:
                raise ValueError(f'{folder} has {len(frames)} frames: first and last do not count')
            truth, predicted = (np.stack(masks) for masks in zip(*frames[1:-1], strict=True))
            for number in np.setdiff1d(frames[0][0], [0, 255]):
                scores.append(object_scores(truth == number, predicted == number))
        if not scores:
            raise ValueError('no first frame holds an object')
        means = {
            f'{metric}_{key}': 100 * float(np.mean([entry[metric][key] for entry in scores]))
            for metric in ('J', 'F')
            for key in ('mean', 'recall', 'decay')
        }
        return {'J&F_mean': (means['J_mean'] + means['F_mean']) / 2} | means
