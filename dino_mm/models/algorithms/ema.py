"""Moving average of weights."""

import torch
from torch import Tensor

from dino_mm.utils.stochastic_round import stochastic_round


@torch.no_grad()
def ema_update_(
    teacher: list[Tensor],
    student: list[Tensor],
    momentum: float,
    generator: torch.Generator | None = None,
) -> None:
    r"""In place and fused: :math:`t \leftarrow m\,t + (1 - m)\,s`.

    Steps are mostly smaller than what separates neighboring bfloat16 numbers: such teachers are
    rounded at random, so that they follow on average.

    Args:
        teacher (list[Tensor]): Moved in place.
        student (list[Tensor]): What it moves to.
        momentum (float): How much of the teacher stays.
        generator (torch.Generator, optional): Of the random rounding, where the types differ. All
            processes need an equal one, so that their teachers stay equal.

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
            t.copy_(stochastic_round(torch.lerp(t.float(), s.float(), 1 - momentum), generator))
