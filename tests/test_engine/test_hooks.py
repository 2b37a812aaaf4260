import logging

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from dino_mm.engine.hooks import EMAHook, ema_update_
from dino_mm.engine.schedulers import cosine_schedule
from dino_mm.registry import HOOKS


def test_moving_average() -> None:
    teacher, student = [torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 0.0])]
    ema_update_(teacher, student, 0.75)
    assert teacher[0].tolist() == [1.5, 1.5]


@pytest.mark.parametrize('key', ['momentum', 'end_momentum'])
def test_momentum_outside_its_range_is_named(key) -> None:
    with pytest.raises(ValueError, match=f'EMAHook.{key}'):
        EMAHook(**{key: 1.5})


class Spy(Hook):
    """Keeps what a run looked like after each iteration."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.rows = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        last = runner.model.student.head.last_layer.weight_v
        group, other = runner.optim_wrapper.optimizer.param_groups
        self.rows.append(
            dict(
                student={k: v.clone() for k, v in runner.model.student.state_dict().items()},
                teacher={k: v.clone() for k, v in runner.model.teacher.state_dict().items()},
                weight_decay=group['weight_decay'],
                other_decay=other['weight_decay'],
                state=last in runner.optim_wrapper.optimizer.state,
            )
        )


def run(make_runner, **changes) -> tuple:
    runner = make_runner(**changes)
    spy = Spy()
    runner.register_hook(spy)
    runner.train()
    return runner, spy.rows


def test_teacher_and_weight_decay_by_optimiser_step(make_runner) -> None:
    _, rows = run(make_runner, **{'optim_wrapper.accumulative_counts': 2})
    assert len(rows) == 6
    key = 'backbone.norm.bias'
    decays = [cosine_schedule(i // 2, 3, 0.04, 0.4) for i in range(6)]
    assert [row['weight_decay'] for row in rows] == pytest.approx(decays)
    assert {row['other_decay'] for row in rows} == {0.0}
    for i in range(1, 6):
        before, after = rows[i - 1]['teacher'][key], rows[i]['teacher'][key]
        if i % 2 == 0:  # first half of a step
            assert after.equal(before)
        else:
            m = cosine_schedule(i // 2, 3, 0.9, 1.0)
            torch.testing.assert_close(after, m * before + (1 - m) * rows[i]['student'][key])


def test_the_frozen_last_layer_is_skipped_entirely(make_runner) -> None:
    freeze = {'default_hooks.freeze': dict(type='FreezeLastLayerHook', epochs=1)}
    _, rows = run(make_runner, **freeze)
    key = 'head.last_layer.weight_v'
    for row in rows[:3]:
        assert row['student'][key].equal(rows[0]['teacher'][key])
        assert not row['state']  # no moments, and no decay
    assert rows[3]['state'] and not rows[3]['student'][key].equal(rows[2]['student'][key])
    assert not rows[1]['student']['head.mlp.0.weight'].equal(
        rows[0]['student']['head.mlp.0.weight']
    )


def test_weight_decay_hook_asks_for_the_constructor(make_runner) -> None:
    changes = {'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor'}
    with pytest.raises(ValueError, match='DINOOptimWrapperConstructor'):
        make_runner(**changes).train()


def test_a_run_repeats_from_its_seed_whatever_the_workers(make_runner) -> None:
    runs = [
        run(make_runner, **{'train_dataloader.num_workers': workers})[1] for workers in (0, 0, 2)
    ]
    for name, value in runs[0][-1]['student'].items():
        assert runs[1][-1]['student'][name].equal(value)
        assert runs[2][-1]['student'][name].equal(value)


@pytest.mark.parametrize(
    'entropy, expected', [(3.46, 'prefers no prototype'), (0.001, 'with one prototype'), (2.0, '')]
)
def test_collapse_is_told_once(make_runner, caplog, entropy, expected) -> None:
    runner = make_runner()
    hook = HOOKS.build(dict(type='MonitorHook', interval=1, patience=3, margin=0.005))
    caplog.set_level(logging.WARNING)
    messages = []
    runner.logger.warning = messages.append
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    for index in range(6):
        hook.after_train_iter(runner, index, outputs=dict(teacher_entropy=torch.tensor(entropy)))
    assert len(messages) == bool(expected)
    assert not expected or expected in messages[0]


def test_steps_without_a_finite_gradient_end_the_run_by_name(make_runner) -> None:
    runner = make_runner(**{'default_hooks.monitor': dict(type='MonitorHook', interval=2)})
    with torch.no_grad():
        runner.model.student.backbone.norm.weight.fill_(np.inf)
    with pytest.raises(FloatingPointError, match=r'last 2 iterations.*student\..*learning|lr'):
        runner.train()


@pytest.mark.parametrize('damage', ['missing', 'left over', 'other shape'])
def test_a_checkpoint_that_does_not_fit_is_refused(make_runner, tmp_path, damage) -> None:
    runner = make_runner()
    state = runner.model.state_dict()
    if damage == 'missing':
        del state['student.backbone.norm.bias']
    elif damage == 'left over':
        state['student.backbone.extra'] = torch.zeros(1)
    else:
        state['criterion.center'] = torch.zeros(1, 5)
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=f'other.pth does not fit.*1 {damage}'):
        make_runner(load_from=str(tmp_path / 'other.pth')).train()


def test_a_fitting_checkpoint_is_taken_over(make_runner, tmp_path) -> None:
    source = make_runner()
    source.train()
    path = str(tmp_path / 'work' / 'epoch_2.pth')
    runner = make_runner(load_from=path)
    runner._init_model_weights()
    runner.load_or_resume()
    for name, value in source.model.state_dict().items():
        assert runner.model.state_dict()[name].equal(value)
