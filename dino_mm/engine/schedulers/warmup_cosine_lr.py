"""Learning rate of DINO."""

import math

from mmengine.optim import _ParamScheduler

from dino_mm.registry import PARAM_SCHEDULERS
from dino_mm.utils.schedules import cosine_schedule


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Linear warm-up and cosine in one closed form, a function of the optimizer step.

    MMEngine's ``LinearLR`` and ``CosineAnnealingLR`` chained agree with it, but never leave a
    warm-up of one iteration, and advance within a step where gradients are accumulated.

    Args:
        optimizer (OptimWrapper): Optimizer or wrapper.
        warmup (int): Iterations of warm-up; epochs with ``convert_to_iter_based=True``.
        eta_min (float): Learning rate approached at the end, times the ``lr_mult`` of a group.
        end (int): Iterations in all; the Runner fills in the length of training.
    """

    def __init__(
        self, optimizer, warmup: int = 0, eta_min: float = 1e-6, *, end: int, **kwargs
    ) -> None:
        self.warmup, self.eta_min = warmup, eta_min
        super().__init__(optimizer, param_name='lr', end=end, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args,
        warmup: float = 0,
        end: float,
        epoch_length: int,
        by_epoch: bool = True,
        **kwargs,
    ) -> 'WarmupCosineLR':
        """Built by the Runner for ``convert_to_iter_based=True``: epochs become iterations."""
        warmup, end = int(warmup * epoch_length), int(end * epoch_length)
        return cls(*args, warmup=warmup, end=end, by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        accumulated = getattr(self.optimizer, '_accumulative_counts', 1)
        step, warmup = self.last_step // accumulated, round(self.warmup / accumulated)
        total = math.ceil(self.end / accumulated)
        ends = [self.eta_min * group.get('lr_mult', 1) for group in self.optimizer.param_groups]
        return [
            cosine_schedule(step, total, base, end, warmup)
            for base, end in zip(self.base_values, ends, strict=True)
        ]
