"""What changes from epoch to epoch."""

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from dino_mm.registry import HOOKS
from dino_mm.utils.wrappers import set_epoch_of, unwrap


@HOOKS.register_module()
class SetEpochHook(Hook):
    """Tells model (teacher temperature) and data pipeline (random draws) the epoch."""

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                'DINO goes by epochs (teacher temperature, last layer), which '
                f'{type(runner.train_loop).__name__} does not count: set train_cfg.type to '
                'ResumableTrainLoop and max_epochs'
            )

    def before_train_epoch(self, runner) -> None:
        unwrap(runner.model).set_epoch(runner.epoch)
        set_epoch_of(runner.train_dataloader.dataset, runner.epoch, runner.seed)


@HOOKS.register_module()
class FreezeLastLayerHook(Hook):
    """Leaves the prototypes untouched during the first epochs.

    Their gradients are removed right before the optimizer steps, so that it skips them entirely:
    no weight decay, no moment (``cancel_gradients_last_layer`` of the reference).

    Args:
        epochs (int): Number of epochs.
    """

    def __init__(self, epochs: int = 1) -> None:
        self.epochs = epochs

    def before_train(self, runner) -> None:
        frozen = list(unwrap(runner.model).student.head.last_layer.parameters())

        def remove_gradients(*_) -> None:
            if runner.epoch < self.epochs:
                for param in frozen:
                    param.grad = None

        self.handle = runner.optim_wrapper.optimizer.register_step_pre_hook(remove_gradients)

    def after_train(self, runner) -> None:
        self.handle.remove()
