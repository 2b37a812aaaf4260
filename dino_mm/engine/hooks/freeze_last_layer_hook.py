"""Prototypes that wait for the features."""

from mmengine.hooks import Hook

from dino_mm.engine.progress import progress_of
from dino_mm.registry import HOOKS
from dino_mm.utils.progress import parse_length
from dino_mm.utils.wrappers import unwrap


@HOOKS.register_module()
class FreezeLastLayerHook(Hook):
    """Leaves the prototypes untouched at the start of training.

    Their gradients are removed right before the optimizer steps, so that it skips them entirely:
    no weight decay, no moment (``cancel_gradients_last_layer`` of the reference). Which parameters
    these are is the model's to say.

    Args:
        epochs (int | str): For how long: a number of epochs, or a text such as ``'500 steps'`` or
            ``'1%'`` of the run.
    """

    def __init__(self, epochs: int | str = 1) -> None:
        self.length = parse_length('FreezeLastLayerHook.epochs', epochs)

    def before_train(self, runner) -> None:
        late = unwrap(runner.model).late_parameters()

        def remove_gradients(*_) -> None:
            position, length = progress_of(runner).position(self.length)
            if position < length:
                for param in late:
                    param.grad = None

        self.handle = runner.optim_wrapper.optimizer.register_step_pre_hook(remove_gradients)

    def after_train(self, runner) -> None:
        self.handle.remove()
