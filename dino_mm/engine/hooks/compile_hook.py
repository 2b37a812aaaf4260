"""Compiles what a step spends its time in."""

import logging
import time
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import nn

from dino_mm.registry import HOOKS
from dino_mm.utils.wrappers import unwrap


class CompiledInTraining:
    """A module's ``forward`` that is compiled code in training mode and plain code in evaluation.

    Evaluation brings other shapes, such as a last batch that is not full. Compiled too, each would
    count against the number of variants that PyTorch allows.
    """

    #: What the class computes; see :func:`dino_mm.models.backbones.layers.is_replaced`.
    is_same = True

    def __init__(self, module: nn.Module, options: dict[str, Any]) -> None:
        self.plain = MethodType(type(module).forward, module)
        self.compiled = torch.compile(self.plain, **options)

    def __call__(self, *args, **kwargs) -> Any:
        return (self.compiled if self.plain.__self__.training else self.plain)(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable, tuple]:  # copies of the module are not compiled
        return MethodType, (self.plain.__func__, self.plain.__self__)


class TellLimit(logging.Handler):
    """Says in the log of the run when PyTorch gives up compiling."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logging.WARNING)
        self.logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if 'recompile_limit' in text:
            self.logger.warning(
                'CompileHook: PyTorch allows no more compiled variants of one function, and calls '
                'of other shapes or settings run uncompiled and slower from here on. Give all '
                'training batches one size (train_dataloader.drop_last=True) or raise '
                f'torch._dynamo.config.recompile_limit. PyTorch says: {text}'
            )


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles each transformer block, the heads and the loss, in place and for fixed shapes.

    Small graphs compile once for all blocks, and nothing of the Runner is inside; ``compile=True``
    of MMEngine would take in backward pass and optimizer. Names of weights stay. The first
    iteration takes seconds to minutes longer, which the log tells. Evaluation runs uncompiled.

    Args:
        options: Of :func:`torch.compile`, such as ``mode='max-autotune-no-cudagraphs'``.
    """

    def __init__(self, **options) -> None:
        self.options = dict(dynamic=False) | options

    def compile(self, model: nn.Module) -> None:
        """Compiles in place what the model says; work is done on first use."""
        for module in model.parts_to_compile():
            module.forward = CompiledInTraining(module, self.options)
        for _, _, objective in model.named_objectives():
            objective.compile(**self.options)

    def before_train(self, runner) -> None:
        self.compile(unwrap(runner.model))
        self.tell_limit = TellLimit(runner.logger)
        logging.getLogger('torch._dynamo').addHandler(self.tell_limit)
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

    def after_train(self, runner) -> None:
        logging.getLogger('torch._dynamo').removeHandler(self.tell_limit)
