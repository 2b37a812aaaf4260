"""Weight decay by cosine schedule."""

from mmengine.hooks import Hook

from dino_mm.engine.progress import progress_of
from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number
from dino_mm.utils.schedules import cosine_schedule


@HOOKS.register_module()
class WeightDecayHook(Hook):
    """Cosine schedule of the regularized parameter groups only, each times its ``decay_mult``.

    MMEngine's ``CosineAnnealingParamScheduler`` would lift the unregularized group as well.

    Args:
        start (float): Weight decay of the first optimizer step.
        end (float): Weight decay approached at the end.
        group (str): ``name`` of the parameter group.
    """

    def __init__(self, start: float = 0.04, end: float = 0.4, group: str = 'decay') -> None:
        for key, value in dict(start=start, end=end).items():
            check_number(f'WeightDecayHook.{key}', value, at_least=0)
        self.start, self.end, self.group = start, end, group

    def before_train(self, runner) -> None:
        groups = runner.optim_wrapper.param_groups
        self.groups = [g for g in groups if g.get('name') == self.group]
        if not self.groups:
            raise ValueError(
                f'WeightDecayHook found no parameter group named {self.group!r}: set '
                "optim_wrapper.constructor='DINOOptimWrapperConstructor'"
            )

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        progress = progress_of(runner)
        value = cosine_schedule(progress.step, progress.total_steps, self.start, self.end)
        for group in self.groups:
            group['weight_decay'] = value * group.get('decay_mult', 1)
        runner.message_hub.update_scalar('train/weight_decay', value)
