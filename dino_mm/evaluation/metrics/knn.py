"""k-NN accuracy as an MMEngine metric."""

from collections.abc import Sequence

import torch
from mmengine.device import get_device
from mmengine.dist import all_gather_object, get_rank
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from dino_mm.evaluation.functional import knn_accuracy, require_finite
from dino_mm.registry import METRICS
from dino_mm.utils.checks import check_number, check_numbers


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


@METRICS.register_module()
class KNNMetric(BaseMetric):
    """Weighted k-NN accuracy of frozen features, for a :class:`KNNDataset`.

    Each process keeps the features that it computed, in float32. The ImageNet features of ViT-S
    take 2 GB divided by the number of processes, and twice as much while batches are joined.

    Args:
        ks (Sequence[int]): Numbers of neighbors. If the bank is smaller, all of it votes.
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
        check_numbers('KNNMetric.ks', ks, whole=True, at_least=1)
        check_number('KNNMetric.temperature', temperature, above=0)
        self.ks, self.temperature = tuple(ks), temperature

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
        bank, bank_labels = self._part(results, in_bank=True)
        queries, query_labels = self._part(results, in_bank=False)
        self._warn_of_unseen(bank_labels, query_labels)
        return knn_accuracy(
            bank,
            bank_labels,
            queries,
            query_labels,
            ks=self.ks,
            temperature=self.temperature,
            device=get_device(),
            gather=all_gather_object,
        )

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

    @staticmethod
    def _warn_of_unseen(bank_labels: Tensor, query_labels: Tensor) -> None:
        bank, asked = (
            set().union(*all_gather_object(set(labels.unique().tolist())))
            for labels in (bank_labels, query_labels)
        )
        if asked - bank:
            print_log(
                f'{len(asked - bank)} of {len(asked)} classes among the queries have no image in '
                'the bank: these queries count as wrong.',
                'current',
                30,
            )
