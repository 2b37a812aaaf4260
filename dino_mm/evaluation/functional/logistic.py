"""Multinomial logistic regression on frozen features."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .finite import only_here, require_finite


def add_up(values: Tensor, gather: Callable[[Any], list]) -> Tensor:
    """The sum over all processes, added in the same order by each, so that all get equal bits."""
    return torch.stack(gather(values.cpu())).sum(dim=0).to(values.device)


def mean_and_deviation(x: Tensor, gather: Callable[[Any], list]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) of the rows (n, D) of all processes; 1 where nothing varies."""
    count = add_up(torch.tensor(float(len(x))), gather).to(x)
    mean = add_up(x.sum(dim=0), gather) / count
    deviation = (add_up((x - mean).square().sum(dim=0), gather) / count).sqrt()
    return mean, torch.where(deviation > 1e-12 * (1 + mean.abs()), deviation, 1.0)


def fit_logistic(
    x: Tensor,
    labels: Tensor,
    classes: int,
    weight_decay: float,
    max_iter: int,
    gather: Callable[[Any], list] = only_here,
) -> tuple[Tensor, Tensor]:
    r"""Weights and bias that minimize the regularized mean cross entropy.

    .. math::
        \frac1N \sum_i -\ln \mathrm{softmax}(W^\top x_i + b)_{y_i} + \frac\lambda2 \|W\|^2

    The minimum is unique up to a shift of :math:`b`, so the result depends neither on a seed nor on
    the order of the samples or their division among processes. It is found by L-BFGS with a line
    search, from zero on.

    Args:
        x (Tensor): (n, D) rows of this process, of N in all; of similar scale in each column.
        labels (Tensor): (n,) classes.
        classes (int): K.
        weight_decay (float): Lambda.
        max_iter (int): Steps of L-BFGS at most.
        gather (Callable): As of :func:`logistic_accuracy`.

    Returns:
        tuple: W (D, K) and b (K,).
    """
    count = add_up(torch.tensor(float(len(x))), gather).to(x)
    theta = x.new_zeros(x.shape[1] + 1, classes, requires_grad=True)  # W, then b

    def closure() -> Tensor:
        own = F.cross_entropy(x @ theta[:-1] + theta[-1], labels, reduction='sum') / count
        (gradient,) = torch.autograd.grad(own, theta)
        total = add_up(torch.cat([gradient.flatten(), own.detach()[None]]), gather)
        weight = theta.detach()[:-1]
        theta.grad = total[:-1].view_as(theta)
        theta.grad[:-1] += weight_decay * weight
        return total[-1] + weight_decay / 2 * weight.square().sum()

    optimizer = torch.optim.LBFGS(
        [theta], max_iter=max_iter, tolerance_grad=1e-6, line_search_fn='strong_wolfe'
    )
    optimizer.step(closure)
    return theta.detach()[:-1], theta.detach()[-1]


def logistic_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    weight_decay: float = 0.01,
    max_iter: int = 100,
    device: torch.device | str | None = None,
    gather: Callable[[Any], list] = only_here,
) -> float:
    """Accuracy in percent of a linear classifier that is trained on the features of the bank.

    Features are standardized by mean and deviation of the bank, and all is computed in float64.
    Processes may share the work: each keeps its part of bank and queries, and only gradients of
    the size of the classifier travel. Every process gets the whole result.

    Args:
        bank (Tensor): (N, D) features.
        bank_labels (Tensor): (N,) classes.
        queries (Tensor): (M, D) features.
        query_labels (Tensor): (M,) classes; those without an image in the bank count as wrong.
        weight_decay (float): Lambda of :func:`fit_logistic`.
        max_iter (int): Steps of L-BFGS at most.
        device (torch.device, optional): Where to compute; by default the device of the bank.
        gather (Callable): Lists what the processes pass, in the same order everywhere, such as
            :func:`mmengine.dist.all_gather_object`; by default this process holds all.

    Raises:
        ValueError: An empty bank, no query, or features that are not finite.
    """
    highest = int(bank_labels.max()) if len(bank) else -1
    width = bank.shape[1] if len(bank) else 0
    sizes = gather((len(bank), len(queries), highest, width))
    num_bank, num_queries = (sum(size[i] for size in sizes) for i in (0, 1))
    if num_bank == 0 or num_queries == 0:
        raise ValueError(
            f'a linear classifier needs features: {num_bank} in the bank, {num_queries} queries'
        )
    require_finite(bank, 'features of the bank', gather=gather)
    require_finite(queries, 'features of the queries', gather=gather)
    classes, width = (max(size[i] for size in sizes) for i in (2, 3))
    device = bank.device if device is None else device
    bank, queries = (part.reshape(len(part), width).to(device).double() for part in (bank, queries))
    mean, deviation = mean_and_deviation(bank, gather)
    weight, bias = fit_logistic(
        (bank - mean) / deviation,
        bank_labels.to(device),
        classes + 1,
        weight_decay,
        max_iter,
        gather,
    )
    answers = ((queries - mean) / deviation @ weight + bias).argmax(dim=1)
    return 100.0 * sum(gather(int((answers.cpu() == query_labels.cpu()).sum()))) / num_queries
