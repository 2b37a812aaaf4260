"""Teacher as the moving average of the student."""

from mmengine.hooks import Hook

from dino_mm.engine.progress import progress_of
from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number
from dino_mm.utils.schedules import cosine_schedule
from dino_mm.utils.wrappers import unwrap


@HOOKS.register_module()
class EMAHook(Hook):
    """Moves the teacher after every optimizer step (paper section 3.1).

    The momentum rises by half a cosine over all optimizer steps; accumulated iterations count as
    one. MMEngine's hook of that name keeps an average beside the model for evaluation; the average
    of this one is the model's own teacher, which takes part in training.

    Args:
        momentum (float): Momentum of the first step.
        end_momentum (float): Momentum approached at the end.
    """

    def __init__(self, momentum: float = 0.996, end_momentum: float = 1.0) -> None:
        for key, value in dict(momentum=momentum, end_momentum=end_momentum).items():
            check_number(f'EMAHook.{key}', value, at_least=0, at_most=1)
        self.momentum, self.end_momentum = momentum, end_momentum

    def before_train(self, runner) -> None:
        if not unwrap(runner.model).has_ema_teacher:
            raise ValueError(
                "EMAHook moves a teacher, but the model has none that moves: set model.teacher='ema', "
                'or leave out the hook (default_hooks.ema=None)'
            )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not runner.optim_wrapper.should_update():
            return
        progress = progress_of(runner)
        momentum = cosine_schedule(
            progress.step, progress.total_steps, self.momentum, self.end_momentum
        )
        unwrap(runner.model).update_teacher(momentum, runner.seed, progress.step)
        runner.message_hub.update_scalar('train/momentum', momentum)
