"""KoLeo: spreads features evenly."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from dino_mm.models.outputs import NetworkOutputs
from dino_mm.registry import MODELS

#: Views of an image that are spread: the global ones.
NUM_VIEWS = 2


def koleo(features: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Minus the mean log distance of each unit vector to its nearest neighbor.

    .. math::
        -\frac{1}{n} \sum_i \log\left(\min_{j \ne i} \lVert x_i - x_j + \epsilon \rVert
        + \epsilon\right)

    The small number keeps the logarithm finite where two images are the same.

    Args:
        features (Tensor): (n, C), of any length.

    Returns:
        Tensor: Scalar.

    Source: ``KoLeoLoss`` of DINOv2 (arXiv 2304.07193), after arXiv 1806.03198.
    """
    x = F.normalize(features, dim=-1, eps=eps)
    with torch.no_grad():
        nearest = (x @ x.T).fill_diagonal_(-1).argmax(dim=1)
    return -(F.pairwise_distance(x, x[nearest], eps=eps) + eps).log().mean()


@MODELS.register_module()
class KoLeoLoss(BaseModule):
    """Mean of :func:`koleo` over the global views' class tokens, within each process.

    DINOv2 weighs it with 0.1::

        model = dict(objectives=dict(koleo=dict(type='KoLeoLoss', weight=0.1)))
    """

    def forward(
        self, student: NetworkOutputs, teacher: NetworkOutputs | None = None
    ) -> dict[str, Tensor]:
        """The loss, and ``koleo`` before it is weighed."""
        with torch.autocast(student.class_tokens.device.type, enabled=False):
            views = student.by_view(student.class_tokens)[:NUM_VIEWS]  # (2, B, C)
            views = views.to(torch.promote_types(views.dtype, torch.float32))
            loss = torch.stack([koleo(view) for view in views]).mean()
        return dict(loss=loss, koleo=loss.detach())
