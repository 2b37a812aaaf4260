"""What is inside a wrapper."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a distributed wrapper."""
    return model.module if is_model_wrapper(model) else model
