"""Coding rate of the bottleneck: keeps the answers to different images apart."""

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.model import BaseModule
from torch import Tensor

from dino_mm.models.outputs import NetworkOutputs
from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number

#: Views of an image that the rate is taken of: the global ones.
NUM_VIEWS = 2


def coding_rate(gram: Tensor, count: int, eps: float) -> Tensor:
    r"""Nats that n unit vectors of width d need to be told apart up to a distortion ``eps``.

    .. math::
        R(Z) = \frac{\gamma}{2} \log\det\left(I_d + \frac{d}{n\,\epsilon} Z^T Z\right),
        \qquad \gamma = \frac{d + n}{d\,n}

    It is large where the vectors fill all directions and small where they lie on a line.

    Args:
        gram (Tensor): (..., d, d), the product :math:`Z^T Z` of n rows.
        count (int): n.
        eps (float): Distortion.

    Returns:
        Tensor: (...), NaN where the product is not finite.

    Source: arXiv 2006.08558, equation 1, with the factor of SimDINO (arXiv 2502.10385).
    """
    width = gram.shape[-1]
    identity = torch.eye(width, dtype=gram.dtype, device=gram.device)
    factor, failed = torch.linalg.cholesky_ex(identity + gram * (width / (count * eps)))
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    log_det = log_det.where(failed == 0, torch.nan)  # of vectors that are not finite
    return (width + count) / (width * count) / 2 * log_det


@MODELS.register_module()
class CodingRateLoss(BaseModule):
    """Minus the mean coding rate of the student's bottleneck vectors of the two global views.

    On few images the bottleneck of plain DINO shrinks to a line within 100 iterations, and its
    outputs stay uniform. This objective beside the loss of DINO prevents it::

        model = dict(objectives=dict(coding_rate=dict(type='CodingRateLoss', weight=1.0)))

    With several processes the vectors of all of them are rated together, so that the loss and its
    gradient are those of one process with the whole batch.

    Args:
        eps (float): Distortion; smaller values also spread vectors that are already far apart.
    """

    def __init__(self, eps: float = 0.05) -> None:
        super().__init__()
        check_number('CodingRateLoss.eps', eps, above=0)
        self.eps = eps

    def forward(
        self, student: NetworkOutputs, teacher: NetworkOutputs | None = None
    ) -> dict[str, Tensor]:
        """The loss, and ``coding_rate`` in nats.

        Raises:
            ValueError: The head has no bottleneck.
        """
        if student.bottleneck is None:
            raise ValueError(
                'CodingRateLoss rates the bottleneck vectors of the head, and this head returns '
                'none: use DINOHead, or return a Projection with a bottleneck'
            )
        with torch.autocast(student.bottleneck.device.type, enabled=False):
            z = student.by_view(student.bottleneck)[:NUM_VIEWS]  # (2, B, d)
            z = z.to(torch.promote_types(z.dtype, torch.float32))
            gram, count = z.mT @ z, z.new_tensor(z.shape[1])
            if is_distributed():
                # The gradient of a sum over processes is a sum too, which DDP averages.
                gram = torch.distributed.nn.functional.all_reduce(gram)
                all_reduce(count)
            rate = coding_rate(gram, int(count), self.eps).mean()
        return dict(loss=-rate, coding_rate=rate.detach())
