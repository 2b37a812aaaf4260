"""What several hooks ask of the Runner."""

import math

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a distributed wrapper."""
    return model.module if is_model_wrapper(model) else model


def optimizer_step(runner: Runner, done: int) -> tuple[int, int]:
    """Index of the optimiser step that iteration ``done`` belongs to, and their total number.

    With gradient accumulation several iterations share one step.
    """
    accumulated = runner.optim_wrapper._accumulative_counts
    return done // accumulated, math.ceil(runner.max_iters / accumulated)
