"""Parts of the student that wait at the start of training."""

from mmengine.hooks import Hook
from torch import nn

from dino_mm.engine.progress import progress_of
from dino_mm.registry import HOOKS
from dino_mm.utils.progress import parse_length
from dino_mm.utils.wrappers import unwrap


class FreezeHook(Hook):
    """Leaves parameters untouched at the start of training.

    Their gradients are removed right before the optimizer steps, so that it skips them entirely:
    no weight decay, no moment (``cancel_gradients_last_layer`` of the reference).

    Args:
        epochs (int | str): For how long: a number of epochs, or a text such as ``'500 steps'`` or
            ``'1%'`` of the run.
    """

    def __init__(self, epochs: int | str = 1) -> None:
        self.length = parse_length(f'{type(self).__name__}.epochs', epochs)

    def frozen(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that wait."""
        raise NotImplementedError

    def before_train(self, runner) -> None:
        late = self.frozen(unwrap(runner.model))

        def remove_gradients(*_) -> None:
            position, length = progress_of(runner).position(self.length)
            if position < length:
                for param in late:
                    param.grad = None

        self.handle = runner.optim_wrapper.optimizer.register_step_pre_hook(remove_gradients)

    def after_train(self, runner) -> None:
        self.handle.remove()


@HOOKS.register_module()
class FreezeLastLayerHook(FreezeHook):
    """Leaves the prototypes untouched at the start. Which these are is the model's to say."""

    def frozen(self, model: nn.Module) -> list[nn.Parameter]:
        return model.late_parameters()


@HOOKS.register_module()
class FreezeBackboneHook(FreezeHook):
    """Leaves a pretrained backbone untouched until the new head fits it.

    The gradient of a head with random weights would undo what the backbone has learned.
    """

    def frozen(self, model: nn.Module) -> list[nn.Parameter]:
        return [*model.student.backbone.parameters()]
