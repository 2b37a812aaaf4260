"""Tells early when training goes wrong."""

from mmengine.hooks import Hook

from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number
from dino_mm.utils.wrappers import unwrap

from .utils import is_logged

#: Logs in a row at which a value has to be near a limit before the hook warns.
PATIENCE = 5
MEND = (
    'lower optim_wrapper.optimizer.lr or optim_wrapper.clip_grad, or train in float32 '
    '(optim_wrapper.dtype=None)'
)


@HOOKS.register_module()
class MonitorHook(Hook):
    """Watches for collapse and non-finite values wherever the logger writes, and at the end.

    What tells of a collapse is the model's to say (:meth:`SelfDistillation.limits`).

    Args:
        max_skipped (int): Optimizer steps in a row, skipped for want of finite gradients, that end
            the run. A run of which every step was skipped ends with the same error.
        margin (float): Distance of a value to its limits, relative to the range between them,
            below which it counts as collapsed.

    Raises:
        FloatingPointError: Naming what was not finite.
    """

    priority = 'LOW'

    def __init__(self, max_skipped: int = 50, margin: float = 0.002) -> None:
        check_number('MonitorHook.max_skipped', max_skipped, whole=True, at_least=1)
        check_number('MonitorHook.margin', margin, at_least=0, below=0.5)
        self.max_skipped, self.margin = max_skipped, margin

    def before_train(self, runner) -> None:
        self.lost = 0  # steps in a row
        self.made = 0  # steps in all
        self.limits = unwrap(runner.model).limits()
        self.near = dict.fromkeys(self.limits, 0)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not is_logged(runner, batch_idx):
            return
        self._check_skipped(runner)
        if self.lost >= self.max_skipped:
            self._fail()
        if getattr(runner.optim_wrapper, 'grad_norm', None) is not None:
            norm = float(runner.optim_wrapper.grad_norm)
            runner.message_hub.update_scalar('train/grad_norm', norm)
        for key, limits in self.limits.items():
            warning = limits.reached(float(outputs[key]), self.margin)
            self.near[key] = self.near[key] + 1 if warning else 0
            if self.near[key] == PATIENCE:
                runner.logger.warning(f'Training looks collapsed. {warning}')

    def after_train(self, runner) -> None:
        self._check_skipped(runner)
        if self.lost and not self.made:
            self._fail()

    def _check_skipped(self, runner) -> None:
        if not hasattr(runner.optim_wrapper, 'pop_steps'):
            return
        steps, skipped, culprit = runner.optim_wrapper.pop_steps()
        self.made += steps - skipped
        if skipped:
            self.culprit = culprit
            runner.logger.warning(
                f'{skipped} of {steps} optimizer steps were skipped, the latest because {culprit} '
                f'was not finite. If this goes on, {MEND}.'
            )
        if steps:
            self.lost = self.lost + skipped if skipped == steps else 0

    def _fail(self) -> None:
        raise FloatingPointError(
            f'{self.culprit} was not finite, and the latest {self.lost} optimizer steps were '
            f'skipped: {MEND}'
        )
