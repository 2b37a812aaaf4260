"""Tells early when training goes wrong."""

from mmengine.hooks import Hook

from dino_mm.registry import HOOKS

from .utils import unwrap


@HOOKS.register_module()
class MonitorHook(Hook):
    """Watches for collapse and non-finite gradients at every logging interval.

    Args:
        interval (int): Iterations between checks; use the logger's.
        margin (float): Relative distance of the teacher's entropy to its limits (0 and ln K)
            below which outputs count as collapsed.
        patience (int): Consecutive collapsed checks before the warning.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 50, margin: float = 0.002, patience: int = 5) -> None:
        self.interval, self.margin, self.patience = interval, margin, patience
        self.collapsed = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        wrapper = runner.optim_wrapper
        if not self.every_n_inner_iters(batch_idx, self.interval):
            return
        self._check_skipped(runner)
        if getattr(wrapper, 'grad_norm', None) is not None:
            runner.message_hub.update_scalar('train/grad_norm', float(wrapper.grad_norm))
        self._check_collapse(runner, float(outputs['teacher_entropy']))

    def _check_skipped(self, runner) -> None:
        wrapper = runner.optim_wrapper
        if not hasattr(wrapper, 'pop_skipped'):
            return
        skipped, culprit = wrapper.pop_skipped()
        if not skipped:
            return
        mend = 'lower optim_wrapper.optimizer.lr or optim_wrapper.clip_grad, or train without --amp'
        if skipped * wrapper._accumulative_counts >= self.interval:
            raise FloatingPointError(
                f'every optimiser step of the last {self.interval} iterations had non-finite '
                f'gradients, lately in {culprit}: {mend}'
            )
        runner.logger.warning(
            f'skipped {skipped} optimiser steps with non-finite gradients, lately in {culprit}; '
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
