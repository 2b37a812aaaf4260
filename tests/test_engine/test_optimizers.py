import copy
import traceback

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dino_mm.engine.optimizers import LARS, clip_each_grad_, regularized_names
from dino_mm.models import DINOHead
from dino_mm.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS


def build(model, **cfg):
    cfg = dict(optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.04)) | cfg
    return OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(type='DINOOptimWrapperConstructor', optim_wrapper_cfg=cfg)
    )(model)


def test_parameter_groups_are_the_published_ones(toy_model) -> None:
    toy_model['head']['norm_last_layer'] = False
    toy_model['backbone']['arch']['num_layers'] = 1
    decay, no_decay = regularized_names(MODELS.build(toy_model))
    block, head = 'student.backbone.blocks.0.', 'student.head.'
    assert decay == [
        'student.backbone.cls_token',
        'student.backbone.pos_embed',
        'student.backbone.patch_embed.proj.weight',
        *(f'{block}{n}.weight' for n in ('attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2')),
        *(f'{head}mlp.{i}.weight' for i in (0, 2, 4)),
        f'{head}last_layer.weight_g',
        f'{head}last_layer.weight_v',
    ]
    norms = [f'{block}norm{i}.{kind}' for i in (1, 2) for kind in ('weight', 'bias')]
    assert sorted(no_decay) == sorted(
        [
            'student.backbone.patch_embed.proj.bias',
            *norms,
            *(f'{block}{n}.bias' for n in ('attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2')),
            'student.backbone.norm.weight',
            'student.backbone.norm.bias',
            *(f'{head}mlp.{i}.bias' for i in (0, 2, 4)),
        ]
    )
    groups = build(MODELS.build(toy_model)).optimizer.param_groups
    assert [(g['name'], g['weight_decay'], len(g['params'])) for g in groups] == [
        ('decay', 0.04, len(decay)),
        ('no_decay', 0.0, len(no_decay)),
    ]


def test_learning_rate_counts_accumulated_batches(toy_model) -> None:
    wrapper = build(MODELS.build(toy_model), accumulative_counts=4)
    assert wrapper.optimizer.param_groups[0]['lr'] == pytest.approx(0.4)


@pytest.mark.parametrize('optimizer', ['AdamW', 'SGD', 'LARS'])
def test_optimizers_by_name(toy_model, optimizer) -> None:
    model = MODELS.build(toy_model)
    before = model.student.head.mlp[0].weight.detach().clone()
    wrapper = build(model, optimizer=dict(type=optimizer, lr=0.1))
    loss = model([torch.randn(4, 3, 32, 32)] * 2, mode='loss')['loss']
    wrapper.update_params(loss)
    assert not model.student.head.mlp[0].weight.equal(before)


def test_lars_follows_its_formula() -> None:
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3))
    optimizer = LARS([weight, bias], lr=0.5, weight_decay=0.1, momentum=0.9, eta=0.01)
    w, b = weight.detach().numpy().astype(float), bias.detach().numpy().astype(float)
    w_buffer, b_buffer = np.zeros_like(w), np.zeros_like(b)
    for _ in range(3):
        weight.grad, bias.grad = torch.randn(3, 4), torch.randn(3)
        update = weight.grad.numpy() + 0.1 * w
        update *= 0.01 * np.linalg.norm(w) / np.linalg.norm(update)
        w_buffer = 0.9 * w_buffer + update
        b_buffer = 0.9 * b_buffer + bias.grad.numpy()
        w, b = w - 0.5 * w_buffer, b - 0.5 * b_buffer
        optimizer.step()
        np.testing.assert_allclose(weight.detach().numpy(), w, atol=1e-5)
        np.testing.assert_allclose(bias.detach().numpy(), b, atol=1e-5)


def test_each_gradient_is_clipped_on_its_own() -> None:
    grads = [torch.full((4,), 3.0), torch.full((2, 2), 0.1), torch.tensor([0.0])]
    expected = [grad * min(1.0, 3.0 / (grad.norm().item() + 1e-6)) for grad in grads]
    clip_each_grad_(torch.stack([grad.norm() for grad in grads]), grads, 3.0)
    for ours, theirs in zip(grads, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert grads[0].norm().item() == pytest.approx(3.0, rel=1e-5)


FUSED = dict(type='AdamW', lr=0.1, weight_decay=0.04, fused=True)
OPTIMIZERS = {
    'fused AdamW': FUSED,
    'fused SGD': dict(type='SGD', lr=0.1, momentum=0.9, fused=True),
    'AdamW': FUSED | dict(fused=False),
    'LARS': dict(type='LARS', lr=0.1),
}


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_non_finite_gradients_skip_the_step_and_are_named(name) -> None:
    head = DINOHead(4, out_dim=3, hidden_dim=4, bottleneck_dim=2)
    wrapper = build(head, optimizer=OPTIMIZERS[name], clip_grad=3.0)
    x = torch.randn(2, 4)
    wrapper.update_params(head(x).logits.sum())
    before = [p.detach().clone() for p in head.parameters()]
    state = copy.deepcopy(wrapper.optimizer.state_dict()['state'])
    handle = head.mlp[2].bias.register_hook(lambda grad: grad * float('nan'))
    wrapper.update_params(head(x).logits.sum())
    handle.remove()
    assert all(p.equal(b) for p, b in zip(head.parameters(), before, strict=True))
    after = wrapper.optimizer.state_dict()['state']
    for index, moments in state.items():
        for key, value in moments.items():
            assert after[index][key].equal(value), key
    assert wrapper.pop_steps() == (2, 1, 'the gradient of mlp.2.bias')
    wrapper.update_params(head(x).logits.sum() * float('nan'))
    assert wrapper.pop_steps() == (1, 1, 'the loss')
    wrapper.update_params(head(x).logits.sum())
    assert wrapper.pop_steps() == (1, 0, '')
    assert not head.mlp[0].weight.equal(before[0])


def test_fused_sgd_of_late_and_skipped_steps_equals_the_plain_one(make_runner) -> None:
    """A last layer that thaws after an epoch, and a first step without finite gradients."""

    class SpoilFirstLoss(Hook):
        def before_train(self, runner) -> None:
            norm = runner.model.student.backbone.norm.bias
            norm.register_hook(lambda grad: grad * (1 if runner.iter else float('nan')))

    ends = []
    for fused in (True, False):
        optimizer = dict(_delete_=True, type='SGD', lr=0.1, momentum=0.9, fused=fused)
        freeze = dict(type='FreezeLastLayerHook', epochs=1)
        runner = make_runner(
            **{'optim_wrapper.optimizer': optimizer, 'default_hooks.freeze': freeze}
        )
        runner.register_hook(SpoilFirstLoss())
        runner.train()
        ends.append(runner.model.student.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], msg=name)


class Asked(TorchDispatchMode):
    """Notes where the host asks a tensor for its value."""

    def __init__(self) -> None:
        super().__init__()
        self.where: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            ours = [f for f in traceback.extract_stack() if '/dino_mm/' in f.filename]
            self.where.append(ours[-1].name)
        return func(*args, **(kwargs or {}))


def test_a_fused_step_asks_the_device_nothing(toy_model) -> None:
    model = MODELS.build(toy_model)
    wrapper = build(model, optimizer=FUSED, clip_grad=3.0)
    for fused in (True, False):
        wrapper.optimizer.param_groups[0]['fused'] = fused
        with Asked() as asked, wrapper.optim_context(model):
            outputs = model([torch.randn(2, 3, 32, 32)] * 2, mode='loss')
            wrapper.update_params(outputs['loss'])
            model.update_teacher(0.9)
        if fused:  # the loss looks at its own factor, on a CPU only
            assert asked.where == ['_scaled']
            wrapper.optimizer = torch.optim.AdamW(model.student.parameters())
        else:
            assert 'step' in asked.where


def test_a_fused_optimizer_equals_the_plain_one() -> None:
    heads = [DINOHead(4, out_dim=3, hidden_dim=4, bottleneck_dim=2) for _ in range(2)]
    heads[1].load_state_dict(heads[0].state_dict())
    wrappers = [
        build(head, optimizer=FUSED | dict(lr=1e-3, fused=fused))
        for head, fused in zip(heads, (True, False), strict=True)
    ]
    for _ in range(4):
        x = torch.randn(2, 4)
        for head, wrapper in zip(heads, wrappers, strict=True):
            wrapper.update_params(head(x).logits.square().sum())
    for ours, theirs in zip(*(head.parameters() for head in heads), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_bfloat16_autocast_on_this_device() -> None:
    head = DINOHead(4, out_dim=3, hidden_dim=4, bottleneck_dim=2)
    for dtype, expected in (('bfloat16', torch.bfloat16), (None, torch.float32)):
        wrapper = build(head, dtype=dtype)
        with wrapper.optim_context(head):
            assert head(torch.randn(2, 4)).logits.dtype is expected


def test_unknown_dtype_is_named() -> None:
    with pytest.raises(ValueError, match="optim_wrapper.dtype.*'half'"):
        build(DINOHead(4, out_dim=3), dtype='half')
