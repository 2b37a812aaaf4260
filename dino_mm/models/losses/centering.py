"""Targets of the teacher: against collapse by a moving center or by an even assignment."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModule
from torch import Tensor

from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number


@MODELS.register_module()
class MovingCenter(BaseModule):
    r"""Turns teacher logits into targets :math:`softmax((t - c) / \tau_t)` (paper section 3.1).

    The center c follows the mean logits, so that no prototype is preferred for all images.

    Args:
        out_dim (int): Number of prototypes K.
        momentum (float): How much of the center stays at an update.
    """

    def __init__(self, out_dim: int, momentum: float = 0.9) -> None:
        super().__init__()
        check_number('loss.center_momentum', momentum, at_least=0, at_most=1)
        self.momentum = momentum
        self.register_buffer('center', torch.zeros(1, out_dim))

    def prepare(self, logits: Tensor, temperature: float) -> None:
        """Nothing of the present batch is needed."""

    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        r""":math:`(t - c) / \tau_t` of logits (..., K): the targets are the softmax of this.

        Lower precisions become float32; float64 stays.
        """
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return (wide - self.center).div_(temperature)

    @torch.no_grad()
    def update(self, mean: Tensor) -> None:
        r""":math:`c \leftarrow m c + (1 - m)\, \overline{t}`, the mean taken over all processes.

        Args:
            mean (Tensor): (1, K) mean logits of this process, float32.
        """
        all_reduce(mean)
        mean /= get_world_size()
        moved = self.center * self.momentum + mean * (1 - self.momentum)
        # A center with one NaN would poison every later step.
        self.center.copy_(torch.where(moved.isfinite().all(), moved, self.center))


def log_sum_exp_over_processes(x: Tensor) -> Tensor:
    """Log-sum-exp over the rows (n, K) of all processes: (K,)."""
    top = x.amax(dim=0)
    all_reduce(top, 'max')
    total = (x - top).exp().sum(dim=0)
    all_reduce(total)
    return total.log() + top


@MODELS.register_module()
class SinkhornTargets(BaseModule):
    r"""Turns teacher logits into targets that use all prototypes evenly within a batch.

    The Sinkhorn-Knopp algorithm scales the rows (images) and columns (prototypes) of
    :math:`\exp(t / \tau_t)` in turn until every image has weight 1 and every prototype the same.
    Since the images come last, the result is :math:`softmax(t / \tau_t - b)`, with one offset b per
    prototype, worked out from the batches of all processes.

    Args:
        out_dim (int): Number of prototypes K.
        iterations (int): Rounds of scaling.

    Source: ``sinkhorn_knopp_teacher`` of DINOv2 (arXiv 2304.07193), after SwAV (arXiv 2006.09882).
    """

    def __init__(self, out_dim: int, iterations: int = 3) -> None:
        super().__init__()
        check_number('SinkhornTargets.iterations', iterations, whole=True, at_least=1)
        self.out_dim, self.iterations = out_dim, iterations
        self.offset: Tensor | None = None

    def prepare(self, logits: Tensor, temperature: float) -> None:
        """Works out the offset b from logits (G, B, K) of the whole batch."""
        x = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1) / temperature
        x = x - log_sum_exp_over_processes(x)  # each prototype has weight 1
        for _ in range(self.iterations - 1):
            x = x.log_softmax(dim=1)
            x = x - log_sum_exp_over_processes(x)
        # What the rounds took from each prototype is the same in all rows up to a constant.
        self.offset = logits[0, 0].to(x) / temperature - x[0]

    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        r""":math:`t / \tau_t - b` of logits (..., K): the targets are the softmax of this."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return (wide / temperature).sub_(self.offset)

    def update(self, mean: Tensor) -> None:
        """Keeps nothing for the next batch."""
