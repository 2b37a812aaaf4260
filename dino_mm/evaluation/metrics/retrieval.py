"""Retrieval and copy detection as MMEngine metrics."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from dino_mm.evaluation.copy_detection.copydays import BLOCKS, ORIGINAL, positives_by_name
from dino_mm.evaluation.functional import (
    copy_detection_aps,
    rank_similarities,
    require_finite,
    retrieval_scores,
)
from dino_mm.evaluation.retrieval.revisited import read_ground_truth
from dino_mm.registry import METRICS
from dino_mm.utils.checks import check_numbers


class NamedFeaturesMetric(BaseMetric):
    """Collects ``features`` (D,) of data samples by their ``img_path``; subclasses score them."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            self.results.append((sample['img_path'], sample['features'].float().cpu()))

    def compute_metrics(self, results: list[tuple[str, Tensor]]) -> dict[str, float]:
        if results:
            features = torch.stack([feature for _, feature in results])
            require_finite(features, 'features', lambda index: results[index][0])
        return self.score(results)

    def score(self, results: list[tuple[str, Tensor]]) -> dict[str, float]:
        """Metrics of paths and finite features of all images."""
        raise NotImplementedError


@METRICS.register_module()
class RetrievalMetric(NamedFeaturesMetric):
    """mAP and mP@k in percent on revisited Oxford or Paris, for one data set over its ``jpg``.

    Images are used as they are: for queries cropped to their boxes and several scales use
    ``tools/eval_image_retrieval.py``.

    Args:
        ground_truth (str): Published ``gnd_*.pkl``.
        ks (Sequence[int]): Depths of mean precision.
    """

    default_prefix = 'retrieval'

    def __init__(
        self,
        ground_truth: str,
        ks: Sequence[int] = (1, 5, 10),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_numbers('RetrievalMetric.ks', ks, whole=True, at_least=1)
        self.path, self.truth, self.ks = ground_truth, read_ground_truth(ground_truth), tuple(ks)

    def score(self, results: list[tuple[str, Tensor]]) -> dict[str, float]:
        features = {Path(path).stem: feature for path, feature in results}
        missing = {*self.truth.database, *self.truth.queries} - features.keys()
        if missing:
            raise ValueError(
                f'{len(missing)} images of {self.path} are not in the data set: {min(missing)}.jpg'
            )
        database, queries = (
            torch.stack([features[name] for name in names])
            for names in (self.truth.database, self.truth.queries)
        )
        scores = retrieval_scores(rank_similarities(database, queries), self.truth.truths, self.ks)
        return {
            f'{protocol}_{name}': 100 * value
            for protocol, score in scores.items()
            for name, value in [
                ('mAP', score['map']),
                *((f'mP@{k}', value) for k, value in zip(self.ks, score['mp'], strict=True)),
            ]
        }


@METRICS.register_module()
class CopyDetectionMetric(NamedFeaturesMetric):
    """mAP per block in percent on Copydays, for one data set over the whole folder.

    For distractors and whitening use ``tools/eval_copy_detection.py``.
    """

    default_prefix = 'copydays'

    def score(self, results: list[tuple[str, Tensor]]) -> dict[str, float]:
        blocks: dict[str, list[tuple[Path, Tensor]]] = {}
        for path, feature in sorted(results, key=lambda result: result[0]):
            folders = Path(path).parent
            names = (folders.name, f'{folders.parent.name}/{folders.name}')
            block = next((name for name in names if name in BLOCKS), None)
            if block is None:
                raise ValueError(f'{path} is in no folder of Copydays: {", ".join(BLOCKS)}')
            blocks.setdefault(block, []).append((Path(path), feature))
        if ORIGINAL not in blocks:
            raise ValueError(f'the data set has no images in a folder {ORIGINAL}')
        paths = {block: [path for path, _ in part] for block, part in blocks.items()}
        features = {b: torch.stack([feature for _, feature in p]) for b, p in blocks.items()}
        return {
            block: 100
            * float(
                np.mean(
                    copy_detection_aps(
                        rank_similarities(features[ORIGINAL], features[block]).T,
                        positives_by_name(paths[block], paths[ORIGINAL]),
                    )
                )
            )
            for block in paths
        }
