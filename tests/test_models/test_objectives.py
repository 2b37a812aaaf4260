"""Objectives beside the loss of DINO, and targets by even assignment."""

import os
import socket

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dino_mm.models import CodingRateLoss, DINOLoss, KoLeoLoss, NetworkOutputs, SinkhornTargets
from dino_mm.models.losses.coding_rate import coding_rate
from dino_mm.models.losses.koleo import koleo

VIEWS, IMAGES, WIDTH, EPS = 4, 12, 6, 0.05


def vectors(dtype: torch.dtype = torch.float64, views: int = VIEWS) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(views * IMAGES, WIDTH, dtype=dtype, generator=generator)
    return F.normalize(rows, dim=-1).requires_grad_()


def plain_rate(z: Tensor) -> Tensor:
    """The formula of the paper, of rows (n, d)."""
    n, d = z.shape
    matrix = torch.eye(d, dtype=z.dtype) + d / (n * EPS) * z.T @ z
    return (d + n) / (d * n) / 2 * torch.logdet(matrix)


def whole_loss(z: Tensor) -> Tensor:
    first, second = z.unflatten(0, (-1, IMAGES))[:2]
    return -(plain_rate(first) + plain_rate(second)) / 2


def test_coding_rate_and_its_gradient_are_those_of_the_plain_formula() -> None:
    z = vectors()
    results = CodingRateLoss(EPS)(NetworkOutputs(IMAGES, bottleneck=z))
    plain = whole_loss(z)
    torch.testing.assert_close(results['loss'], plain, rtol=1e-12, atol=0)
    torch.testing.assert_close(results['coding_rate'], -plain.detach(), rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(results['loss'], z)
    (expected,) = torch.autograd.grad(plain, z)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)
    assert gradient[2 * IMAGES :].count_nonzero() == 0  # of the local views


def test_coding_rate_is_largest_where_the_vectors_fill_all_directions() -> None:
    line = F.normalize(torch.ones(WIDTH, WIDTH, dtype=torch.float64), dim=-1)
    apart = torch.eye(WIDTH, dtype=torch.float64)
    rates = [
        float(coding_rate(z.T @ z, WIDTH, EPS)) for z in (line, vectors().detach()[:WIDTH], apart)
    ]
    assert rates == sorted(rates) and rates[0] < 0.5 * rates[1]


def test_coding_rate_is_float32_under_autocast() -> None:
    z = vectors(torch.float32).detach()
    with torch.autocast('cpu', torch.bfloat16):
        results = CodingRateLoss(EPS)(NetworkOutputs(IMAGES, bottleneck=z))
    assert results['loss'].dtype == torch.float32
    torch.testing.assert_close(results['loss'], whole_loss(z), rtol=1e-5, atol=0)


def test_a_head_without_bottleneck_is_refused() -> None:
    with pytest.raises(ValueError, match='bottleneck'):
        CodingRateLoss()(NetworkOutputs(IMAGES, logits=torch.ones(2 * IMAGES, 3)))


def test_koleo_is_finite_and_of_the_nearest_neighbor() -> None:
    x = vectors()[:5].detach()
    distances = torch.cdist(x, x) + 9 * torch.eye(5)
    expected = -distances.amin(dim=1).log().mean()
    torch.testing.assert_close(koleo(3 * x), expected, rtol=1e-6, atol=1e-6)
    twice = x[:1].expand(4, -1).clone().requires_grad_()
    loss = koleo(twice)
    loss.backward()
    assert loss.isfinite() and twice.grad.isfinite().all()
    z = vectors()
    results = KoLeoLoss()(NetworkOutputs(IMAGES, class_tokens=z))
    views = z.unflatten(0, (-1, IMAGES))
    torch.testing.assert_close(results['loss'], (koleo(views[0]) + koleo(views[1])) / 2)


def plain_sinkhorn(logits: Tensor, temperature: float, iterations: int) -> Tensor:
    """Targets (n, K): rows and columns of the exponentials are scaled in turn."""
    q = (logits / temperature).exp()
    for _ in range(iterations):
        q = q / q.sum(dim=0)
        q = q / q.sum(dim=1, keepdim=True)
    return q


@pytest.mark.parametrize('iterations', [1, 3, 60])
def test_sinkhorn_targets_are_those_of_scaling_in_turn(iterations: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 0.1 * torch.randn(2, IMAGES, 8, dtype=torch.float64, generator=generator)
    targets = SinkhornTargets(8, iterations)
    targets.prepare(logits, 0.04)
    q = targets(logits, 0.04).softmax(dim=-1).flatten(0, 1)
    expected = plain_sinkhorn(logits.flatten(0, 1), 0.04, iterations)
    torch.testing.assert_close(q, expected, rtol=1e-10, atol=1e-12)
    if iterations == 60:
        torch.testing.assert_close(q.sum(dim=0), torch.full((8,), 2 * IMAGES / 8).to(q))


@pytest.mark.parametrize('chunk_size', [0, 5])
def test_dino_loss_with_sinkhorn_targets(chunk_size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(VIEWS * IMAGES, 8, generator=generator).requires_grad_()
    teacher = 0.1 * torch.randn(2 * IMAGES, 8, generator=generator)
    criterion = DINOLoss(8, chunk_size=chunk_size, targets=dict(type='SinkhornTargets'))
    results = criterion(
        NetworkOutputs(IMAGES, logits=student), NetworkOutputs(IMAGES, logits=teacher)
    )
    q = plain_sinkhorn(teacher, 0.04, 3).unflatten(0, (2, IMAGES))
    log_p = (student / 0.1).log_softmax(dim=-1).unflatten(0, (VIEWS, IMAGES))
    pairs = [(t, v) for t in range(2) for v in range(VIEWS) if t != v]
    expected = -sum((q[t] * log_p[v]).sum() for t, v in pairs) / (len(pairs) * IMAGES)
    torch.testing.assert_close(results['loss'], expected)
    assert not criterion.state_dict()


def test_sinkhorn_targets_refuse_chunks_of_logits() -> None:
    criterion = DINOLoss(8, targets=dict(type='SinkhornTargets'))
    parts = NetworkOutputs(IMAGES, bottleneck=vectors(), prototypes=torch.ones(8, WIDTH))
    with pytest.raises(ValueError, match='remove model.logit_chunk'):
        criterion(parts, parts)


def on_a_process(rank: int, port: int, out: str) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1')
    os.environ['MASTER_PORT'] = str(port)
    torch.distributed.init_process_group('gloo')
    z = vectors()
    half = z.unflatten(0, (-1, IMAGES))[:, rank::2].flatten(0, 1)  # this process's images
    loss = CodingRateLoss(EPS)(NetworkOutputs(IMAGES // 2, bottleneck=half))['loss']
    (gradient,) = torch.autograd.grad(loss, z)
    torch.distributed.all_reduce(gradient)
    targets = SinkhornTargets(WIDTH)
    mine = half.detach().unflatten(0, (VIEWS, -1))[:2]
    targets.prepare(mine, 0.1)
    torch.save((loss.detach(), gradient / 2, targets(mine, 0.1).softmax(-1)), f'{out}/{rank}.pth')
    torch.distributed.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path) -> None:
    """The gradients' mean, which DDP takes, and the targets are those of the whole batch."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(on_a_process, (port, str(tmp_path)), nprocs=2)
    z = vectors()
    plain = whole_loss(z)
    (expected,) = torch.autograd.grad(plain, z)
    whole = z.detach().unflatten(0, (VIEWS, IMAGES))[:2]
    q = plain_sinkhorn(whole.flatten(0, 1), 0.1, 3).unflatten(0, (2, IMAGES))
    for rank in (0, 1):
        loss, gradient, targets = torch.load(tmp_path / f'{rank}.pth')
        torch.testing.assert_close(loss, plain.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(targets, q[:, rank::2], rtol=1e-10, atol=1e-12)
