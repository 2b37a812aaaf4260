import math

import pytest
import torch

from dino_mm.models import DINOLoss
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
    criterion.update_center(torch.ones(2, 4))
    before = criterion.center.clone()
    criterion.update_center(torch.full((2, 4), float('nan')))
    assert criterion.center.equal(before)


@pytest.mark.parametrize('key', ['student_temp', 'teacher_temp', 'warmup_teacher_temp'])
def test_temperatures_must_be_positive(key) -> None:
    with pytest.raises(ValueError, match=f'loss.{key}'):
        DINOLoss(4, **{key: 0.0})
