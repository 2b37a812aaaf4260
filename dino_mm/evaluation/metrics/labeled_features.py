"""What metrics of frozen features with labels have in common."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.evaluator import BaseMetric
from torch import Tensor

from dino_mm.evaluation.functional import require_finite


def first_holder(index: Tensor) -> Tensor:
    """Which samples of this process (N,) are not repetitions, as a mask.

    Samplers repeat samples to fill the last batches. Of equal samples the first one counts, in the
    order of processes.

    Args:
        index (Tensor): (N,) places of the samples in the data set.
    """
    indices = all_gather_object(index)
    everything = torch.cat(indices)
    order = torch.arange(len(everything))
    first = torch.full((int(everything.max()) + 1 if len(everything) else 0,), len(everything))
    first.scatter_reduce_(0, everything, order, 'amin')
    own = order.split([len(part) for part in indices])[get_rank()]
    return first[index] == own


class LabeledFeatureMetric(BaseMetric):
    """Collects the features of a :class:`KNNDataset`: a bank with known labels, and queries.

    Each process keeps the features that it computed, in float32. The ImageNet features of ViT-S
    take 2 GB divided by the number of processes, and twice as much while batches are joined.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for in_bank in (True, False):
            part = [sample for sample in data_samples if sample['in_bank'] == in_bank]
            if part:
                labels = [torch.as_tensor(sample['gt_label']).reshape(-1)[0] for sample in part]
                features = torch.stack([sample['features'] for sample in part])  # (n, D)
                index = torch.tensor([sample['index'] for sample in part])
                self.results.append(
                    (in_bank, features.float().cpu(), torch.stack(labels).cpu(), index)
                )

    def evaluate(self, size: int) -> dict[str, float]:
        """The metrics, on every process; unlike MMEngine's, no process collects all features."""
        metrics = self.compute_metrics(self.results)
        self.results.clear()
        return {f'{self.prefix}/{key}': value for key, value in metrics.items()}

    def compute_metrics(self, results: list) -> dict[str, float]:
        return self.score(*self._part(results, in_bank=True), *self._part(results, in_bank=False))

    def score(
        self, bank: Tensor, bank_labels: Tensor, queries: Tensor, query_labels: Tensor
    ) -> dict[str, float]:
        """Metrics of this process's part of bank and queries, (n, D) features and (n,) labels."""
        raise NotImplementedError

    @staticmethod
    def _part(results: list, in_bank: bool) -> tuple[Tensor, Tensor]:
        """Features (n, D) and labels (n,) of this process, each sample of the data set once.

        Raises:
            ValueError: Features are not finite, on any process.
        """
        columns = list(zip(*(part[1:] for part in results if part[0] == in_bank), strict=True))
        empty = (torch.empty(0), torch.empty(0).long(), torch.empty(0).long())
        features, labels, index = map(torch.cat, columns) if columns else empty
        keep = first_holder(index)
        if not keep.all():
            features, labels, index = features[keep], labels[keep], index[keep]
        require_finite(
            features,
            f'features of the {"bank" if in_bank else "queries"}',
            lambda place: f'image {index[place]} of the data set',
            all_gather_object,
        )
        return features, labels
