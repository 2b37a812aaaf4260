"""LARS, for large batches of convolutional backbones."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from dino_mm.registry import OPTIMIZERS
from dino_mm.utils.checks import check_number


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    r"""Layer-wise adaptive rate scaling (https://arxiv.org/abs/1708.03888, ``utils.LARS``).

    For tensors that are not 1-D the update :math:`g + w\,\theta` is scaled by
    :math:`\eta \|\theta\| / \|g + w\,\theta\|`; then momentum, then the learning rate.

    Args:
        params (iterable): Parameters or groups.
        lr (float): Learning rate.
        weight_decay (float): Weight decay w of tensors that are not 1-D.
        momentum (float): Momentum.
        eta (float): Trust coefficient.
    """

    def __init__(
        self,
        params,
        lr: float = 0.0,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        eta: float = 0.001,
    ) -> None:
        for key, value in dict(lr=lr, weight_decay=weight_decay, eta=eta).items():
            check_number(f'LARS.{key}', value, at_least=0)
        check_number('LARS.momentum', momentum, at_least=0, below=1)
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum, eta=eta))

    @torch.no_grad()
    def step(self, closure=None) -> Tensor | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group['params']:
                if param.grad is not None:
                    self._update(param, group)
        return loss

    def _update(self, param: Tensor, group: dict) -> None:
        update = param.grad
        if param.ndim != 1:
            update = update.add(param, alpha=group['weight_decay'])
            param_norm, update_norm = param.norm(), update.norm()
            trust = group['eta'] * param_norm / update_norm
            usable = (param_norm > 0) & (update_norm > 0)
            update = update * torch.where(usable, trust, torch.ones_like(trust))
        state = self.state[param]
        if 'momentum_buffer' not in state:
            state['momentum_buffer'] = torch.zeros_like(param)
        buffer = state['momentum_buffer'].mul_(group['momentum']).add_(update)
        param.add_(buffer, alpha=-group['lr'])
