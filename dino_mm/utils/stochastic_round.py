"""Rounding by chance, alike on all processes."""

import numpy as np
import torch
from torch import Tensor


def rounding_generator(seed: int, step: int, device: torch.device | str) -> torch.Generator:
    """Random stream of one optimizer step: all ranks draw the same numbers from it.

    Args:
        seed (int): Seed of the run, which all ranks share; not negative.
        step (int): Optimizer step, not negative.
        device (torch.device | str): Device of the tensors that are rounded.
    """
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)


def stochastic_round(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rounds to one of the two neighboring bfloat16 numbers, so that the mean stays: no bias.

    The nearer neighbor is the likelier one. Numbers that bfloat16 holds stay as they are, as do
    infinities and NaN.

    Args:
        x (Tensor): float32 of any shape.
        generator (torch.Generator): On the device of ``x``; see :func:`rounding_generator`.

    Returns:
        Tensor: bfloat16 of the same shape.

    Example:
        >>> x = torch.full((10_000,), 1 + 0.3 * 2**-7)  # less than half the way from 1 to 1 + 2**-7
        >>> y = stochastic_round(x, rounding_generator(seed=0, step=0, device='cpu'))
        >>> y.unique().tolist(), round((y > 1).double().mean().item(), 1)
        ([1.0, 1.0078125], 0.3)
    """
    bits = x.contiguous().view(torch.int32)
    # Below the last bit that bfloat16 keeps.
    noise = torch.randint(2**16, x.shape, generator=generator, dtype=torch.int32, device=x.device)
    rounded = ((bits + noise) & -(2**16)).view(torch.float32)
    # A GPU's NaN has all bits set: adding to them would make it zero.
    return torch.where(x.isfinite(), rounded, x).bfloat16()
