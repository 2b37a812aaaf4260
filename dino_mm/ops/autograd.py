"""What the operators share: a common precision, and backward passes from forward ones."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor


def upcast(*tensors: Tensor) -> list[Tensor]:
    """The tensors in their common floating type, at least float32.

    Reduced precision is computed in float32, as torchvision does under autocast.
    """
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return [tensor.to(dtype) for tensor in tensors]


def write_gradients(
    outputs: Sequence[Tensor], function: Callable, inputs: Sequence[Tensor], grad_output: Tensor
) -> None:
    """Fills ``outputs`` with the gradients of ``(function(*inputs) * grad_output).sum()``.

    mmcv's backward passes are given no graph, so that the forward pass is computed again.
    """
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in upcast(*inputs)]
        result = function(*inputs)
        gradients = torch.autograd.grad(result, inputs, grad_output.to(result.dtype))
    for output, gradient in zip(outputs, gradients, strict=True):
        output.copy_(gradient)
