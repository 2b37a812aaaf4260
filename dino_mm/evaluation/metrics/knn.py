"""k-NN accuracy as an MMEngine metric."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from dino_mm.evaluation.functional import knn_accuracy
from dino_mm.registry import METRICS


@METRICS.register_module()
class KNNMetric(BaseMetric):
    """Weighted k-NN accuracy of frozen features, for a :class:`KNNDataset`.

    Args:
        ks (Sequence[int]): Numbers of neighbours.
        temperature (float): Temperature of the vote.
    """

    default_prefix = 'knn'

    def __init__(
        self,
        ks: Sequence[int] = (10, 20, 100, 200),
        temperature: float = 0.07,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ks, self.temperature = tuple(ks), temperature

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            label = torch.as_tensor(sample['gt_label']).reshape(-1)[0].cpu()
            self.results.append((sample['features'].float().cpu(), label, sample['in_bank']))

    def compute_metrics(self, results: list) -> dict[str, float]:
        features = torch.stack([feature for feature, _, _ in results])
        labels = torch.stack([label for _, label, _ in results])
        bank = torch.tensor([in_bank for _, _, in_bank in results])
        return knn_accuracy(
            features[bank],
            labels[bank],
            features[~bank],
            labels[~bank],
            ks=self.ks,
            temperature=self.temperature,
        )
