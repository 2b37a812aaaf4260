"""Teacher as the moving average of the student."""

import torch
from mmengine.hooks import Hook
from torch import Tensor

from dino_mm.registry import HOOKS
from dino_mm.utils.schedules import cosine_schedule
from dino_mm.utils.wrappers import unwrap

from .utils import optimizer_step


def round_at_random(x: Tensor) -> Tensor:
    """Float32 to bfloat16, up or down by chance so that the mean stays: no bias."""
    bits = x.view(torch.int32)
    noise = torch.randint_like(bits, 2**16)  # below the last bit that bfloat16 keeps
    return ((bits + noise) & -(2**16)).view(torch.float32).bfloat16()


@torch.no_grad()
def ema_update_(teacher: list[Tensor], student: list[Tensor], momentum: float) -> None:
    r"""In place and fused: :math:`t \leftarrow m\,t + (1 - m)\,s`.

    Steps are mostly smaller than what separates neighboring bfloat16 numbers: such teachers are
    rounded at random, so that they follow on average.

    Example:
        >>> t, s = [torch.zeros(2)], [torch.ones(2)]
        >>> ema_update_(t, s, momentum=0.75); t
        [tensor([0.2500, 0.2500])]
    """
    pairs = list(zip(teacher, student, strict=True))
    same = [(t, s) for t, s in pairs if t.dtype == s.dtype]
    if same:
        torch._foreach_lerp_([t for t, _ in same], [s for _, s in same], 1 - momentum)
    for t, s in pairs:
        if t.dtype != s.dtype:
            t.copy_(round_at_random(torch.lerp(t.float(), s.float(), 1 - momentum)))


@HOOKS.register_module()
class EMAHook(Hook):
    """Moves the teacher after every optimizer step (paper section 3.1).

    The momentum rises by half a cosine over all optimizer steps; accumulated iterations count as
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
