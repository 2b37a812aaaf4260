import copy
import math
import re
from pathlib import Path

import pytest
import torch

from dino_mm.models import DINOLoss
from dino_mm.models.losses.chunked import empty_in_large_pages
from dino_mm.models.losses.dino_loss import dino_cross_entropy, teacher_probabilities


def pairwise(student, targets, temperature):
    """The definition, pair by pair."""
    terms = [
        -(targets[t] * (student[v] / temperature).log_softmax(-1)).sum(-1).mean()
        for t in range(len(targets))
        for v in range(len(student))
        if v != t
    ]
    return sum(terms) / len(terms)


@pytest.mark.parametrize('views, num_global', [(2, 2), (10, 2), (3, 1), (5, 3)])
def test_value_and_gradient_equal_the_sum_over_pairs(views, num_global) -> None:
    torch.manual_seed(0)
    student = torch.randn(views, 3, 17, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(num_global, 3, 17, dtype=torch.float64).softmax(-1)
    expected = pairwise(student, targets, 0.1)
    (gradient,) = torch.autograd.grad(expected, student)
    ours = dino_cross_entropy(student, targets, 0.1)
    (our_gradient,) = torch.autograd.grad(ours, student)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(our_gradient, gradient, rtol=1e-4, atol=1e-7)


def plain_loss(criterion, student, teacher, views):
    """Loss of the module by the definition, in the inputs' precision."""
    targets = teacher_probabilities(teacher, criterion.center, criterion.teacher_temp)
    by_view = student.view(views, -1, student.shape[-1])
    return pairwise(by_view, targets.view(criterion.num_global, -1, student.shape[-1]), 0.1)


def problem(views=4, num_global=2, batch=5, dim=6, out_dim=33, dtype=torch.float64):
    """Embeddings and prototypes of student and teacher, and a criterion with a center."""
    torch.manual_seed(0)
    criterion = DINOLoss(out_dim, num_global=num_global).to(dtype)
    criterion.center.normal_(std=0.1)
    student, teacher = torch.randn(views * batch, dim), torch.randn(num_global * batch, dim)
    prototypes = torch.randn(2, out_dim, dim)
    inputs = [x.to(dtype) for x in (student, prototypes[0], teacher, prototypes[1])]
    return criterion, [x.requires_grad_(i < 2) for i, x in enumerate(inputs)]


@pytest.mark.parametrize('views, num_global', [(2, 2), (10, 2), (3, 1), (5, 3)])
@pytest.mark.parametrize('chunk_size', [None, 1, 3, 5])
def test_chunks_give_value_and_gradient_of_the_plain_loss(views, num_global, chunk_size) -> None:
    criterion, (z, prototypes, *teacher) = problem(views, num_global)
    criterion.chunk_size = chunk_size
    student, teacher = (z @ prototypes.T).detach().requires_grad_(), teacher[0] @ teacher[1].T
    expected = plain_loss(criterion, student, teacher, views)
    # A factor such as gradient accumulation's reaches the gradient.
    (gradient,) = torch.autograd.grad(expected / 4, student)
    out = criterion(student, teacher)
    (ours,) = torch.autograd.grad(out['loss'] / 4, student)
    torch.testing.assert_close(out['loss'], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours, gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize('chunk', [1, 2, 5, 9])
def test_never_holding_all_logits_gives_the_same(chunk) -> None:
    criterion, inputs = problem()
    z, prototypes, teacher, teacher_prototypes = inputs
    twin = copy.deepcopy(criterion)
    expected = twin(z @ prototypes.T, teacher @ teacher_prototypes.T)
    gradients = torch.autograd.grad(expected['loss'] * 3, (z, prototypes))
    out = criterion.from_embeddings(*inputs, chunk=chunk)
    ours = torch.autograd.grad(out['loss'] * 3, (z, prototypes))
    for key, value in expected.items():
        torch.testing.assert_close(out[key], value)
    torch.testing.assert_close(criterion.center, twin.center, rtol=1e-5, atol=1e-6)
    for found, wanted in zip(ours, gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize('dtype, tolerance', [(torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_half_precision_logits(dtype, tolerance) -> None:
    """Gradients come in the logits' type: half an ulp of the largest, and no underflow."""
    criterion, (z, prototypes, *teacher) = problem(views=10, batch=64, dtype=torch.float32)
    logits = (z @ prototypes.T).detach().to(dtype).requires_grad_()
    teacher = (teacher[0] @ teacher[1].T).to(dtype)
    wide = logits.detach().float().requires_grad_()
    factor = 2.0**14 if dtype is torch.float16 else 1  # float16 comes with loss scaling
    expected = plain_loss(criterion, wide, teacher.float(), 10)
    (gradient,) = torch.autograd.grad(expected * factor, wide)
    out = criterion(logits, teacher)
    (ours,) = torch.autograd.grad(out['loss'] * factor, logits)
    assert out['loss'].dtype is torch.float32 and ours.dtype is dtype
    torch.testing.assert_close(out['loss'], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        ours.float(), gradient, rtol=tolerance, atol=tolerance * 1e-3 * gradient.abs().max().item()
    )


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_embeddings_under_autocast(dtype) -> None:
    _, inputs = problem(dtype=torch.float32)
    results = []
    for fused in (True, False):
        criterion = DINOLoss(33)
        with torch.autocast('cpu', dtype):
            if fused:
                out = criterion.from_embeddings(*inputs, chunk=2)
            else:
                out = criterion(inputs[0] @ inputs[1].T, inputs[2] @ inputs[3].T)
        results.append((out['loss'], *torch.autograd.grad(out['loss'], inputs[:2])))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2 * theirs.abs().max().item())


def test_a_chunked_loss_refuses_a_second_backward_pass() -> None:
    criterion, (z, prototypes, *teacher) = problem()
    loss = criterion(z @ prototypes.T, teacher[0] @ teacher[1].T)['loss']
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match='loss.chunk_size=0'):
        loss.backward()


def test_large_gradients_lie_in_large_pages() -> None:
    maps = Path('/proc/self/smaps')
    if not maps.exists() or 'VmFlags' not in maps.read_text():
        pytest.skip('the system does not tell how memory is paged')
    x = empty_in_large_pages(torch.empty(8, 2**20).expand(2, 8, 2**20))
    assert x.shape == (2, 8, 2**20) and x.is_contiguous() and x.dtype is torch.float32
    middle = x.data_ptr() + x.nbytes // 2
    areas = re.findall(r'^(\w+)-(\w+) .*?^VmFlags:(.*?)$', maps.read_text(), re.M | re.S)
    flags = [f.split() for start, end, f in areas if int(start, 16) <= middle < int(end, 16)]
    assert len(flags) == 1 and 'hg' in flags[0]


def test_center_follows_the_teacher_after_the_loss() -> None:
    torch.manual_seed(0)
    criterion = DINOLoss(out_dim=6, center_momentum=0.8)
    center = torch.zeros(1, 6)
    for _ in range(3):
        student, teacher = torch.randn(12, 6), torch.randn(6, 6)
        targets = teacher_probabilities(teacher, center, 0.04).view(2, 3, 6)
        expected = pairwise(student.view(4, 3, 6), targets, 0.1)
        out = criterion(student, teacher)
        assert out['loss'].item() == pytest.approx(expected.item(), rel=1e-5)
        center = 0.8 * center + 0.2 * teacher.mean(0, keepdim=True)
        torch.testing.assert_close(criterion.center, center)


def test_statistics() -> None:
    criterion = DINOLoss(out_dim=8)
    flat = criterion(torch.zeros(6, 8), torch.zeros(4, 8))
    assert flat['loss'].item() == pytest.approx(math.log(8))
    assert flat['teacher_entropy'].item() == pytest.approx(criterion.max_entropy)
    assert flat['teacher_student_kl'].item() == pytest.approx(0, abs=1e-6)
    peaked = torch.zeros(4, 8)
    peaked[:, 3] = 10
    assert criterion(torch.zeros(6, 8), peaked)['teacher_entropy'].item() < 1e-3


def test_temperature_warms_up_by_epoch() -> None:
    criterion = DINOLoss(
        4, teacher_temp=0.07, warmup_teacher_temp=0.04, warmup_teacher_temp_epochs=4
    )
    temperatures = []
    for epoch in range(6):
        criterion.set_epoch(epoch)
        temperatures.append(criterion.teacher_temp)
    assert temperatures == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])


def test_float32_under_autocast() -> None:
    criterion = DINOLoss(out_dim=64)
    student, teacher = torch.randn(8, 64), torch.randn(4, 64)
    expected = DINOLoss(out_dim=64)(student, teacher)['loss']
    with torch.autocast('cpu', torch.bfloat16):
        loss = criterion(student, teacher)['loss']
    assert loss.dtype is torch.float32
    assert loss.item() == expected.item()


def test_a_broken_teacher_output_leaves_the_center_alone() -> None:
    criterion = DINOLoss(out_dim=4)
    criterion.update_center(torch.ones(1, 4))
    before = criterion.center.clone()
    criterion.update_center(torch.full((1, 4), float('nan')))
    assert criterion.center.equal(before)


@pytest.mark.parametrize('key', ['student_temp', 'teacher_temp', 'warmup_teacher_temp'])
def test_temperatures_must_be_positive(key) -> None:
    with pytest.raises(ValueError, match=f'loss.{key}'):
        DINOLoss(4, **{key: 0.0})
