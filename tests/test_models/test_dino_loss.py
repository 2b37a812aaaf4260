import copy
import math
import re
from pathlib import Path

import pytest
import torch

from dino_mm.models import DINOLoss, NetworkOutputs
from dino_mm.models.losses.dino_loss import dino_cross_entropy
from dino_mm.models.losses.fused import empty_in_large_pages
from dino_mm.utils.progress import Progress


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


def teacher_probabilities(logits, center, temperature):
    """The definition of the targets."""
    return ((logits - center) / temperature).softmax(-1)


def apply(criterion, student, teacher, batch):
    """The loss of logits, or of pairs of bottleneck and prototypes."""

    def outputs(given) -> NetworkOutputs:
        if isinstance(given, torch.Tensor):
            return NetworkOutputs(batch, logits=given)
        return NetworkOutputs(batch, bottleneck=given[0], prototypes=given[1])

    return criterion(outputs(student), outputs(teacher))


def plain_loss(criterion, student, teacher, views):
    """Loss of the module by the definition, in the inputs' precision."""
    targets = teacher_probabilities(teacher, criterion.center, criterion.teacher_temp)
    by_view = student.view(views, -1, student.shape[-1])
    return pairwise(by_view, targets.view(-1, *by_view.shape[1:]), 0.1)


def problem(views=4, num_global=2, batch=5, dim=6, out_dim=33, dtype=torch.float64):
    """Embeddings and prototypes of student and teacher, and a criterion with a center."""
    torch.manual_seed(0)
    criterion = DINOLoss(out_dim).to(dtype)
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
    out = apply(criterion, student, teacher, 5)
    (ours,) = torch.autograd.grad(out['loss'] / 4, student)
    torch.testing.assert_close(out['loss'], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours, gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize('chunk', [1, 2, 5, 9])
def test_never_holding_all_logits_gives_the_same(chunk) -> None:
    criterion, inputs = problem()
    z, prototypes, teacher, teacher_prototypes = inputs
    twin = copy.deepcopy(criterion)
    expected = apply(twin, z @ prototypes.T, teacher @ teacher_prototypes.T, 5)
    gradients = torch.autograd.grad(expected['loss'] * 3, (z, prototypes))
    criterion.logit_chunk = chunk
    out = apply(criterion, inputs[:2], inputs[2:], 5)
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
    out = apply(criterion, logits, teacher, 64)
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
                criterion.logit_chunk = 2
                out = apply(criterion, inputs[:2], inputs[2:], 5)
            else:
                out = apply(criterion, inputs[0] @ inputs[1].T, inputs[2] @ inputs[3].T, 5)
        results.append((out['loss'], *torch.autograd.grad(out['loss'], inputs[:2])))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2 * theirs.abs().max().item())


def test_a_chunked_loss_refuses_a_second_backward_pass() -> None:
    criterion, (z, prototypes, *teacher) = problem()
    loss = apply(criterion, z @ prototypes.T, teacher[0] @ teacher[1].T, 5)['loss']
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
        out = apply(criterion, student, teacher, 3)
        assert out['loss'].item() == pytest.approx(expected.item(), rel=1e-5)
        center = 0.8 * center + 0.2 * teacher.mean(0, keepdim=True)
        torch.testing.assert_close(criterion.center, center)


def test_statistics() -> None:
    criterion = DINOLoss(out_dim=8)
    flat = apply(criterion, torch.zeros(6, 8), torch.zeros(4, 8), 2)
    assert flat['loss'].item() == pytest.approx(math.log(8))
    assert flat['teacher_entropy'].item() == pytest.approx(
        criterion.limits()['teacher_entropy'].high
    )
    assert flat['teacher_student_kl'].item() == pytest.approx(0, abs=1e-6)
    peaked = torch.zeros(4, 8)
    peaked[:, 3] = 10
    assert apply(criterion, torch.zeros(6, 8), peaked, 2)['teacher_entropy'].item() < 1e-3


def test_temperature_warms_up_by_epoch() -> None:
    criterion = DINOLoss(
        4, teacher_temp=0.07, warmup_teacher_temp=0.04, warmup_teacher_temp_epochs=4
    )
    temperatures = []
    for epoch in range(6):
        criterion.set_progress(Progress(5 * epoch + 2, 30, epoch_length=5))
        temperatures.append(criterion.teacher_temp)
    assert temperatures == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])


def test_float32_under_autocast() -> None:
    criterion = DINOLoss(out_dim=64)
    student, teacher = torch.randn(8, 64), torch.randn(4, 64)
    expected = apply(DINOLoss(out_dim=64), student, teacher, 2)['loss']
    with torch.autocast('cpu', torch.bfloat16):
        loss = apply(criterion, student, teacher, 2)['loss']
    assert loss.dtype is torch.float32
    assert loss.item() == expected.item()


def test_a_broken_teacher_output_leaves_the_center_alone() -> None:
    criterion = DINOLoss(out_dim=4)
    criterion.targets.update(torch.ones(1, 4))
    before = criterion.center.clone()
    criterion.targets.update(torch.full((1, 4), float('nan')))
    assert criterion.center.equal(before)


def test_temperature_warms_up_by_step_where_the_length_is_no_number_of_epochs() -> None:
    criterion = DINOLoss(
        4, teacher_temp=0.07, warmup_teacher_temp=0.04, warmup_teacher_temp_epochs='10%'
    )
    temperatures = []
    for iteration in range(6):
        criterion.set_progress(Progress(iteration, 40, epoch_length=5))
        temperatures.append(criterion.teacher_temp)
    assert temperatures == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])


@pytest.mark.parametrize(
    'change',
    [
        dict(student_temp=0.0),
        dict(teacher_temp=-0.04),
        dict(warmup_teacher_temp=0),
        dict(center_momentum=2),
        dict(chunk_size=-1),
        dict(out_dim=1),
        dict(warmup_teacher_temp_epochs=-1),
    ],
)
def test_wrong_options_are_named(change) -> None:
    with pytest.raises(ValueError, match=r'loss\.' + next(iter(change))):
        DINOLoss(**dict(out_dim=4) | change)


def test_the_center_is_saved_and_loaded_under_its_published_place() -> None:
    criterion, twin = DINOLoss(4), DINOLoss(4)
    criterion.center.normal_()
    assert list(criterion.state_dict()) == ['center']
    twin.load_state_dict(criterion.state_dict())
    assert twin.center.equal(criterion.center)
