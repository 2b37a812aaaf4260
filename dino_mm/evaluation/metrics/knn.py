"""k-NN accuracy as an MMEngine metric."""

from collections.abc import Sequence

from mmengine.device import get_device
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from torch import Tensor

from dino_mm.evaluation.functional import knn_accuracy
from dino_mm.registry import METRICS
from dino_mm.utils.checks import check_number, check_numbers

from .labeled_features import LabeledFeatureMetric


@METRICS.register_module()
class KNNMetric(LabeledFeatureMetric):
    """Weighted k-NN accuracy of frozen features, for a :class:`KNNDataset`.

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

    def score(
        self, bank: Tensor, bank_labels: Tensor, queries: Tensor, query_labels: Tensor
    ) -> dict[str, float]:
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
