"""Accuracy of a linear classifier as an MMEngine metric."""

from mmengine.device import get_device
from mmengine.dist import all_gather_object
from torch import Tensor

from dino_mm.evaluation.functional import logistic_accuracy
from dino_mm.registry import METRICS
from dino_mm.utils.checks import check_number

from .labeled_features import LabeledFeatureMetric


@METRICS.register_module()
class LinearMetric(LabeledFeatureMetric):
    """``linear/top1``: a linear classifier on frozen features, for a :class:`KNNDataset`.

    It is trained anew at each evaluation, in seconds for some thousand images. The published
    protocol, with augmentation, has configs of its own (``configs/linear_probe``).

    Args:
        weight_decay (float): Penalty on the squared weights, for standardized features.
        max_iter (int): Steps of L-BFGS at most.
    """

    default_prefix = 'linear'

    def __init__(
        self,
        weight_decay: float = 0.01,
        max_iter: int = 100,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_number('LinearMetric.weight_decay', weight_decay, at_least=0)
        check_number('LinearMetric.max_iter', max_iter, whole=True, at_least=1)
        self.weight_decay, self.max_iter = weight_decay, max_iter

    def score(
        self, bank: Tensor, bank_labels: Tensor, queries: Tensor, query_labels: Tensor
    ) -> dict[str, float]:
        top1 = logistic_accuracy(
            bank,
            bank_labels,
            queries,
            query_labels,
            weight_decay=self.weight_decay,
            max_iter=self.max_iter,
            device='cuda' if get_device() == 'cuda' else 'cpu',  # not every device has float64
            gather=all_gather_object,
        )
        return dict(top1=top1)
