"""Targets of the teacher: centering against collapse."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModule
from torch import Tensor

from dino_mm.utils.checks import check_number


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
