"""``paramwise_cfg`` of pretraining: factors of learning rate and weight decay by name and kind."""

import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from dino_mm.engine.optimizers import regularized_names
from dino_mm.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

FROZEN = {'student.backbone': dict(lr_mult=0)}


def build_groups(model: nn.Module, paramwise_cfg: dict | None) -> list[dict]:
    optimizer = dict(type='AdamW', lr=0.1, weight_decay=0.04)
    wrapper = dict(optimizer=optimizer, accumulative_counts=2)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='DINOOptimWrapperConstructor',
            optim_wrapper_cfg=wrapper,
            paramwise_cfg=paramwise_cfg,
        )
    )
    return constructor(model).optimizer.param_groups


def settings(groups: list[dict]) -> dict[str, tuple]:
    """Group name, learning rate and weight decay by parameter."""
    return {
        name: (group['name'], pytest.approx(group['lr']), pytest.approx(group['weight_decay']))
        for group in groups
        for name in group['names']
    }


def test_without_it_the_groups_are_the_published_two(toy_model) -> None:
    model = MODELS.build(toy_model)
    for cfg in (None, {}):
        groups = build_groups(model, cfg)
        assert [group['names'] for group in groups] == list(regularized_names(model))
        assert not any({'lr_mult', 'decay_mult'} & group.keys() for group in groups)


def test_rates_decay_from_layer_to_layer_of_the_backbone(toy_model) -> None:
    model = MODELS.build(toy_model)
    cfg = dict(
        layer_decay_rate=0.5,
        custom_keys={'backbone.patch_embed': dict(lr_mult=0.2)},
    )
    found = settings(build_groups(model, cfg))
    last = len(model.student.backbone.blocks) + 1  # depth of the final norm
    base = 0.2  # two batches a step
    expected = {
        'backbone.norm.bias': ('no_decay', base, 0.0),
        'backbone.blocks.1.attn.qkv.weight': ('decay', base * 0.5 ** (last - 2), 0.04),
        'backbone.blocks.0.attn.qkv.weight': ('decay', base * 0.5 ** (last - 1), 0.04),
        'backbone.cls_token': ('decay', base * 0.5**last, 0.04),
        'backbone.patch_embed.proj.weight': ('decay', base * 0.5**last * 0.2, 0.04),
        'head.mlp.0.weight': ('decay', base, 0.04),
    }
    for name, setting in expected.items():
        assert found[f'student.{name}'] == setting, name


def test_custom_keys_multiply_and_the_longest_decides(toy_model) -> None:
    model = MODELS.build(toy_model)
    found = settings(
        build_groups(
            model,
            dict(
                custom_keys={
                    'backbone': dict(lr_mult=0.5),
                    'backbone.blocks.0': dict(lr_mult=0.1, decay_mult=2.0),
                    'pos_embed': dict(decay_mult=0.0),
                },
                bias_lr_mult=3.0,
            ),
        )
    )
    expected = {
        'backbone.cls_token': ('decay', 0.1, 0.04),
        'backbone.pos_embed': ('no_decay', 0.2, 0.0),
        'backbone.blocks.0.attn.qkv.weight': ('decay', 0.02, 0.08),
        'backbone.blocks.0.attn.qkv.bias': ('no_decay', 0.02, 0.0),
        'backbone.blocks.1.attn.qkv.weight': ('decay', 0.1, 0.04),
        'head.mlp.0.weight': ('decay', 0.2, 0.04),
        'head.mlp.0.bias': ('no_decay', 0.6, 0.0),
    }
    for name, setting in expected.items():
        assert found[f'student.{name}'] == setting, name
    assert found.keys() == {name for names in regularized_names(model) for name in names}


def test_factors_by_kind() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4), nn.Linear(4, 4))
    cfg = dict(bias_lr_mult=2.0, norm_decay_mult=0.5, dwconv_decay_mult=0.25, bias_decay_mult=1.0)
    assert settings(build_groups(model, cfg)) == {
        '0.weight': ('decay', 0.2, 0.01),
        '0.bias': ('decay', 0.4, 0.04),
        '1.weight': ('decay', 0.2, 0.02),
        '1.bias': ('decay', 0.2, 0.02),
        '2.weight': ('decay', 0.2, 0.04),
        '2.bias': ('decay', 0.4, 0.04),
    }


class Spy(Hook):
    """Keeps what the schedules set in each iteration."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.rows = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        groups = runner.optim_wrapper.optimizer.param_groups
        self.rows.append(
            {name: (g['lr'], g['weight_decay']) for g in groups for name in g['names']}
        )


def test_a_frozen_backbone_stays_and_schedules_keep_the_factors(make_runner) -> None:
    """Also at the end of the schedule, whose last learning rate is not 0."""
    keys = FROZEN | {'mlp.2': dict(lr_mult=0.5, decay_mult=0.1)}
    runner = make_runner(
        **{
            'optim_wrapper.paramwise_cfg': dict(custom_keys=keys),
            'param_scheduler.eta_min': 1e-3,
            'auto_scale_lr': dict(enable=True, base_batch_size=2),
        }
    )
    before = {key: value.clone() for key, value in runner.model.student.state_dict().items()}
    spy = Spy()
    runner.register_hook(spy)
    runner.train()
    after = runner.model.student.state_dict()
    frozen = [key for key in before if after[key].equal(before[key])]
    assert {key for key in before if key.startswith('backbone.')} <= set(frozen)
    assert not {'head.mlp.0.weight', 'head.mlp.2.weight'} & set(frozen)
    for row in spy.rows:
        (rate, decay), (rate_2, decay_2) = (row[f'student.head.mlp.{i}.weight'] for i in (0, 2))
        assert rate > 0 and decay > 0
        assert rate_2 == pytest.approx(rate / 2) and decay_2 == pytest.approx(decay / 10)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(custom_key={}), 'unknown key custom_key; .* knows custom_keys, '),
        (dict(layer_decay=0.7), 'unknown key layer_decay; .*, layer_decay_rate, '),
        (dict(bias_lr_mult=-1), 'paramwise_cfg.bias_lr_mult must be a number, at least 0'),
        (dict(custom_keys={'bakbone': dict(lr_mult=0)}), "'bakbone'. is part of no name"),
        (dict(custom_keys={'teacher': dict(lr_mult=0)}), "'teacher'. is part of no name"),
        (dict(custom_keys={'head': dict(lr=0)}), 'takes lr_mult and decay_mult and nothing'),
        (dict(custom_keys={'head': 0}), 'takes lr_mult and decay_mult and nothing'),
        (dict(custom_keys={'head': dict(lr_mult='0')}), "'head'..lr_mult must be a number"),
        (dict(custom_keys={'norm': dict(decay_mult=1)}), 'norm_decay_mult or flat_decay_mult'),
        ([0.5], 'paramwise_cfg must be a dict'),
    ],
)
def test_what_would_be_ignored_is_refused(cfg, message, toy_model) -> None:
    with pytest.raises(ValueError, match=message):
        build_groups(MODELS.build(toy_model), cfg)


def test_a_run_with_factors_resumes(toy_model) -> None:
    model = MODELS.build(toy_model)
    paramwise = dict(custom_keys=FROZEN)
    optimizers = [torch.optim.AdamW(build_groups(model, paramwise)) for _ in range(2)]
    optimizers[0].param_groups[2]['lr'] = 7.0
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    assert optimizers[1].param_groups[2]['lr'] == 7.0
