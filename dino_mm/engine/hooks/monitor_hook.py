"""Tells early when training goes wrong."""

from mmengine.hooks import Hook

from dino_mm.registry import HOOKS
from dino_mm.utils.wrappers import unwrap

from .utils import is_logged


@HOOKS.register_module()
class MonitorHook(Hook):
    """Watches for collapse and non-finite values wherever the logger writes, and at the end.

    Args:
        max_skipped (int): Optimizer steps in a row, skipped for want of finite gradients, that end
            the run. At its end one does, unless float16 is about to find its loss scale.
        margin (float): Relative distance of the teacher's entropy to its limits (0 and ln K)
            below which outputs count as collapsed.
        patience (int): Consecutive collapsed checks before the warning.

    Raises:
        FloatingPointError: Naming what was not finite.
    """

    priority = 'LOW'

    def __init__(self, max_skipped: int = 50, margin: float = 0.002, patience: int = 5) -> None:
        self.max_skipped, self.margin, self.patience = max_skipped, margin, patience
        self.collapsed = 0

    def before_train(self, runner) -> None:
        self.started = self.checked = self.last_good = runner.iter
        self.lost = 0  # steps in a row

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not is_logged(runner, batch_idx):
            return
        self._check_skipped(runner, runner.iter + 1, self.max_skipped)
        if getattr(runner.optim_wrapper, 'grad_norm', None) is not None:
            norm = float(runner.optim_wrapper.grad_norm)
            runner.message_hub.update_scalar('train/grad_norm', norm)
        self._check_collapse(runner, float(outputs['teacher_entropy']))

    def after_train(self, runner) -> None:
        scaler = getattr(runner.optim_wrapper, 'scaler', None)
        scaling = scaler is not None and scaler.is_enabled() and self.last_good > self.started
        self._check_skipped(runner, runner.iter, self.max_skipped if scaling else 1)

    def _check_skipped(self, runner, done: int, limit: int) -> None:
        wrapper = runner.optim_wrapper
        if not hasattr(wrapper, 'pop_skipped'):
            return
        skipped, culprit = wrapper.pop_skipped()
        if skipped:
            self.culprit = culprit
        accumulated = wrapper._accumulative_counts
        steps = done // accumulated - self.checked // accumulated
        if skipped and skipped >= steps:
            self.lost += skipped
        elif steps:
            self.lost, self.last_good = 0, done
        self.checked = done
        mend = (
            'lower optim_wrapper.optimizer.lr or optim_wrapper.clip_grad, or train in float32 '
            '(optim_wrapper.dtype=None)'
        )
        if self.lost >= limit:
            raise FloatingPointError(
                f'{self.culprit} was not finite, and no optimizer step was made in '
                f'{done - self.last_good} iterations: {mend}'
            )
        if skipped:
            runner.logger.warning(
                f'skipped {skipped} optimizer steps, lately because {culprit} was not finite; '
                f'if this goes on, {mend}'
            )

    def _check_collapse(self, runner, entropy: float) -> None:
        limit = unwrap(runner.model).criterion.max_entropy
        uniform = entropy > limit * (1 - self.margin)
        single = entropy < limit * self.margin
        self.collapsed = self.collapsed + 1 if uniform or single else 0
        if self.collapsed != self.patience:
            return
        if uniform:
            what = f'the teacher prefers no prototype any more (entropy {entropy:.4f} = ln K)'
            mend = 'lower loss.teacher_temp or the learning rate, or lengthen the warm-ups'
        else:
            what = 'the teacher answers every image with one prototype (entropy 0)'
            mend = 'raise loss.teacher_temp, or lower loss.center_momentum'
        runner.logger.warning(f'Training looks collapsed: {what}. If it stays so, {mend}.')
