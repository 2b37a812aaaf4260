"""Rounding by chance."""

import pytest
import torch

from dino_mm.utils.stochastic_round import rounding_generator, stochastic_round


def rounded(x, seed=0, step=0):
    return stochastic_round(x, rounding_generator(seed, step, x.device))


@pytest.mark.parametrize('share', [0.1, 0.5, 0.75])
@pytest.mark.parametrize('low', [1.0, -1.0, 2.0**-20])
def test_mean_is_kept_between_the_two_neighbors(low, share):
    gap = abs(low) * 2**-7 * (1 if low > 0 else -1)  # away from zero
    y = rounded(torch.full((100_000,), low + share * gap)).double()
    assert sorted(y.unique().tolist()) == sorted([low, low + gap])
    # Five standard deviations of the mean of 100 000 draws.
    assert ((y.mean() - low) / gap).item() == pytest.approx(share, abs=0.008)


def test_seed_and_step_alone_decide():
    x = torch.randn(1000)
    first = rounded(x, seed=3, step=7)
    torch.manual_seed(123)  # the stream that data, dropout and other ranks move on
    state = torch.get_rng_state()
    assert torch.equal(rounded(x, seed=3, step=7), first)
    assert torch.equal(torch.get_rng_state(), state)
    for seed, step in ((3, 8), (4, 7), (7, 3)):
        assert not torch.equal(rounded(x, seed, step), first)


def test_what_bfloat16_holds_stays():
    x = torch.tensor([0.0, -0.0, 1.0, -3.5, torch.inf, -torch.inf])
    assert torch.equal(rounded(x).float().view(torch.int32), x.view(torch.int32))
    # The first of them is what a GPU computes.
    nan = torch.tensor([0x7FFFFFFF, 0x7FC00000, -1], dtype=torch.int32).view(torch.float32)
    assert rounded(nan.expand(100, 3)).isnan().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu():
    x = torch.full((100_000,), 1 + 2**-9, device='cuda')
    y = rounded(x)
    assert torch.equal(y, rounded(x))
    assert ((y.double().mean() - 1) * 2**7).item() == pytest.approx(0.25, abs=0.008)
    assert rounded(torch.zeros(1, device='cuda') / 0).isnan().all()
