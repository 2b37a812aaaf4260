"""Learning rate of DINO."""

from dataclasses import replace

from mmengine.optim import _ParamScheduler

from dino_mm.engine.optimizers.optim_wrapper import accumulation_of
from dino_mm.registry import PARAM_SCHEDULERS
from dino_mm.utils.checks import check_number
from dino_mm.utils.progress import Progress, parse_length
from dino_mm.utils.schedules import cosine_schedule


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Linear warm-up and cosine in one closed form, a function of the optimizer step.

    MMEngine's ``LinearLR`` and ``CosineAnnealingLR`` chained agree with it, but never leave a
    warm-up of one iteration, and advance within a step where gradients are accumulated.

    A resumed run follows its config and not the one of the checkpoint: base rates, warm-up, end and
    lowest rate may change, from the present step on.

    Args:
        optimizer (OptimWrapper): Optimizer or wrapper.
        warmup (int | str): Length of the warm-up: a text such as ``'10 epochs'``, ``'500 steps'``
            or ``'5%'`` of the run, or a number of iterations (of epochs with
            ``convert_to_iter_based=True``).
        eta_min (float): Learning rate approached at the end, times the ``lr_mult`` of a group.
        end (int): Iterations in all; the Runner fills in the length of training.
        epoch_length (int): Iterations of an epoch; the Runner fills it in.
    """

    def __init__(
        self,
        optimizer,
        warmup: int | str = 0,
        eta_min: float = 1e-6,
        *,
        end: int,
        epoch_length: int = 1,
        **kwargs,
    ) -> None:
        check_number('param_scheduler.eta_min', eta_min, at_least=0)
        self.warmup = parse_length('param_scheduler.warmup', warmup, 'iterations')
        self.eta_min = eta_min
        self.progress = Progress(0, end, epoch_length, accumulation_of(optimizer))
        super().__init__(optimizer, param_name='lr', end=end, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args,
        warmup: float | str = 0,
        end: float,
        epoch_length: int,
        by_epoch: bool = True,
        **kwargs,
    ) -> 'WarmupCosineLR':
        """Built by the Runner for ``convert_to_iter_based=True``: a plain number counts epochs."""
        kwargs |= dict(
            warmup=f'{warmup} epochs' if isinstance(warmup, (int, float)) else warmup,
            end=int(end * epoch_length),
            epoch_length=epoch_length,
        )
        return cls(*args, by_epoch=False, **kwargs)

    def follow(self, progress: Progress) -> None:
        """Goes to the present step of a run and sets the learning rates of that step."""
        self.progress, self.end = progress, progress.total_iterations
        self.last_step = self._global_step = progress.iteration
        for group, base, value in zip(
            self.optimizer.param_groups, self.base_values, self._get_value(), strict=True
        ):
            group['initial_lr'], group['lr'] = base, value
        self._last_value = [group['lr'] for group in self.optimizer.param_groups]

    def load_state_dict(self, state_dict: dict) -> None:
        """Takes over nothing but the step; see :meth:`follow`."""
        for key in ('last_step', '_global_step'):
            setattr(self, key, state_dict[key])

    def state_dict(self) -> dict:
        """The step alone."""
        return dict(last_step=self.last_step, _global_step=self._global_step)

    def _get_value(self) -> list[float]:
        progress = replace(self.progress, iteration=self.last_step)
        warmup, total = progress.steps(self.warmup), progress.total_steps
        ends = [self.eta_min * group.get('lr_mult', 1) for group in self.optimizer.param_groups]
        return [
            cosine_schedule(progress.step, total, base, end, warmup)
            for base, end in zip(self.base_values, ends, strict=True)
        ]
