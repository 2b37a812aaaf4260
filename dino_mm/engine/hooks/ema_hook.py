"""Teacher as the moving average of the student."""

import torch
from mmengine.hooks import Hook
from torch import Tensor

from dino_mm.engine.schedulers import cosine_schedule
from dino_mm.registry import HOOKS

from .utils import optimizer_step, unwrap


@torch.no_grad()
def ema_update_(teacher: list[Tensor], student: list[Tensor], momentum: float) -> None:
    r"""In place and fused: :math:`t \leftarrow m\,t + (1 - m)\,s`.

    Example:
        >>> t, s = [torch.zeros(2)], [torch.ones(2)]
        >>> ema_update_(t, s, momentum=0.75); t
        [tensor([0.2500, 0.2500])]
    """
    torch._foreach_lerp_(teacher, student, 1 - momentum)


@HOOKS.register_module()
class EMAHook(Hook):
    """Moves the teacher after every optimiser step (paper section 3.1).

    The momentum rises by half a cosine over all optimiser steps; accumulated iterations count as
    one. Parameters only: buffers such as batch-norm statistics are the teacher's own, as in the
    reference.

    Args:
        momentum (float): Momentum of the first step.
        end_momentum (float): Momentum approached at the end.
    """

    def __init__(self, momentum: float = 0.996, end_momentum: float = 1.0) -> None:
        for key, value in dict(momentum=momentum, end_momentum=end_momentum).items():
            if not 0 <= value <= 1:
                raise ValueError(f'EMAHook.{key} must lie in [0, 1], got {value}')
        self.momentum, self.end_momentum = momentum, end_momentum

    def before_train(self, runner) -> None:
        model = unwrap(runner.model)
        self.teacher = list(model.teacher.parameters())
        self.student = list(model.student.parameters())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not runner.optim_wrapper.should_update():
            return
        step, total = optimizer_step(runner, runner.iter)
        momentum = cosine_schedule(step, total, self.momentum, self.end_momentum)
        ema_update_(self.teacher, self.student, momentum)
        runner.message_hub.update_scalar('train/momentum', momentum)
