"""Focal losses (arXiv 1708.02002). input (N, C), target (N,), weight of the classes (C,) or empty."""

import torch
import torchvision.ops
from torch import Tensor

from .autograd import upcast, write_gradients

__all__ = [
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
]


def _sigmoid(
    logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:  # (N, C)
    classes = torch.arange(logits.shape[1], device=logits.device)
    one_hot = (target[:, None] == classes).to(logits.dtype)
    loss = torchvision.ops.sigmoid_focal_loss(logits, one_hot, alpha, gamma)
    return loss * weight[target][:, None] if len(weight) else loss


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """-alpha_t (1 - p_t)^gamma log(p_t) per element (N, C).

    A target of C is background and has no column; nor has it a weight, so that the two together
    are an error.
    """
    output.copy_(_sigmoid(*upcast(input), target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    def loss(logits: Tensor) -> Tensor:
        return _sigmoid(logits, target, weight, gamma, alpha)

    write_gradients([grad_input], loss, [input], torch.ones_like(input))


def _softmax(
    logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:  # (N,)
    label = target.clamp(min=0)
    log_p = logits.log_softmax(dim=1).gather(1, label[:, None])[:, 0]
    loss = -alpha * (1 - log_p.exp()) ** gamma * log_p
    if len(weight):
        loss = loss * weight[label]
    return torch.where(target >= 0, loss, 0.0)


def _logits(softmax: Tensor) -> Tensor:
    """Logits of given probabilities, up to a constant per row, that softmax does not see."""
    (softmax,) = upcast(softmax)
    return softmax.clamp(min=torch.finfo(torch.float32).tiny).log()


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """-alpha (1 - p_t)^gamma log(p_t) per row (N,), 0 for negative targets; input is softmax."""
    output.copy_(_softmax(_logits(input), target, weight, gamma, alpha))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """The gradient with respect to the logits (N, C), whose softmax is the input."""

    def loss(logits: Tensor) -> Tensor:
        return _softmax(logits, target, weight, gamma, alpha)

    write_gradients([grad_input], loss, [_logits(input)], input.new_ones(len(input)))
