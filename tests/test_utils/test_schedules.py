import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper

from dino_mm.engine.schedulers import WarmupCosineLR
from dino_mm.utils.schedules import cosine_schedule, linear_warmup


def published(base, final, epochs, iterations, warmup_epochs=0):
    """The published schedule as NumPy has it."""
    warmup = np.linspace(0, base, warmup_epochs * iterations)
    steps = np.arange(epochs * iterations - len(warmup))
    decay = final + 0.5 * (base - final) * (1 + np.cos(np.pi * steps / len(steps)))
    return np.concatenate([warmup, decay])


@pytest.mark.parametrize('warmup', [0, 1, 3])
@pytest.mark.parametrize('iterations', [1, 7])
def test_cosine_equals_the_published_schedule(warmup, iterations) -> None:
    total = 5 * iterations
    ours = [cosine_schedule(i, total, 2.0, 0.1, warmup * iterations) for i in range(total)]
    np.testing.assert_allclose(ours, published(2.0, 0.1, 5, iterations, warmup), atol=1e-12)


def test_linear_warmup() -> None:
    expected = [*np.linspace(0.04, 0.07, 4), 0.07, 0.07]
    assert [linear_warmup(e, 0.04, 0.07, 4) for e in range(6)] == pytest.approx(expected)
    assert linear_warmup(0, 0.04, 0.07, 0) == 0.07
    assert linear_warmup(0, 0.04, 0.07, 1) == 0.04


@pytest.mark.parametrize('accumulation', [1, 3])
def test_learning_rate_by_optimizer_step(accumulation) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.5), accumulative_counts=accumulation)
    scheduler = WarmupCosineLR.build_iter_from_epoch(
        wrapper, warmup=1, end=4, epoch_length=6 * accumulation, eta_min=0.1
    )
    rates = []
    for _ in range(24 * accumulation):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        scheduler.step()
    expected = np.repeat(published(0.5, 0.1, 4, 6, 1), accumulation)
    np.testing.assert_allclose(rates, expected, atol=1e-12)
