"""Compiles what a step spends its time in."""

import time

from mmengine.hooks import Hook
from torch import nn

from dino_mm.registry import HOOKS
from dino_mm.utils.wrappers import unwrap


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles each transformer block, the heads and the loss, in place and for fixed shapes.

    Small graphs compile once for all blocks, and nothing of the Runner is inside; ``compile=True``
    of MMEngine would take in backward pass and optimizer. Names of weights stay. The first
    iteration takes seconds to minutes longer, which the log tells.

    Args:
        options: Of :func:`torch.compile`, such as ``mode='max-autotune-no-cudagraphs'``.
    """

    def __init__(self, **options) -> None:
        self.options = dict(dynamic=False) | options

    def compile(self, model: nn.Module) -> None:
        """Compiles in place what the model says; work is done on first use."""
        for part in model.parts_to_compile():
            part.compile(**self.options)

    def before_train(self, runner) -> None:
        self.compile(unwrap(runner.model))
        self.first = runner.iter

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.first:
            self.start = time.perf_counter()
            runner.logger.info('Compiling: the first iteration takes seconds to minutes.')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.first:
            outputs['loss'].item()  # until the device is done
            seconds = time.perf_counter() - self.start
            runner.logger.info(f'Compiled: the first iteration took {seconds:.1f} s.')
