import copy
from collections.abc import Collection
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from dino_mm.engine.hooks import EMAHook
from dino_mm.models.algorithms import ema_update_
from dino_mm.registry import HOOKS
from dino_mm.utils.schedules import cosine_schedule


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


def test_teacher_and_weight_decay_by_optimizer_step(make_runner) -> None:
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


def test_the_frozen_backbone_waits_for_the_head(make_runner) -> None:
    freeze = {'default_hooks.freeze': dict(type='FreezeBackboneHook', epochs='3 steps')}
    _, rows = run(make_runner, **freeze)
    start = rows[0]['teacher']
    for name, value in rows[2]['student'].items():
        if name.startswith('backbone.'):
            assert value.equal(start[name])
            assert rows[2]['teacher'][name].equal(start[name])
    key = 'head.mlp.0.weight'
    assert not rows[1]['student'][key].equal(rows[0]['student'][key])
    key = 'backbone.norm.bias'
    assert not rows[3]['student'][key].equal(start[key])


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
def test_collapse_is_told_once(make_runner, entropy, expected) -> None:
    runner = make_runner()
    hook = HOOKS.build(dict(type='MonitorHook', margin=0.005))
    messages = []
    runner.logger.warning = messages.append
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    hook.before_train(runner)
    for index in (9, 19, 29, 39, 49, 59):  # where the logger writes
        hook.after_train_iter(runner, index, outputs=dict(teacher_entropy=torch.tensor(entropy)))
    assert len(messages) == bool(expected)
    assert not expected or expected in messages[0]


class Spoil(Hook):
    """Makes a weight infinite as some iterations begin, and mends it after them."""

    def __init__(self, iterations) -> None:
        self.iterations = iterations

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter in self.iterations:
            self.weight = runner.model.student.backbone.norm.weight
            self.kept = self.weight.detach().clone()
            self.weight.data.fill_(np.inf)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter in self.iterations:
            self.weight.data.copy_(self.kept)


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('interval', [1, 2, 50])
def test_steps_without_a_finite_gradient_end_the_run_by_name(make_runner, fused, interval) -> None:
    changes = {
        'default_hooks.monitor': dict(type='MonitorHook', max_skipped=3),
        'default_hooks.logger': dict(type='LoggerHook', interval=interval),
        'optim_wrapper.optimizer.fused': fused,
    }
    runner = make_runner(**changes)
    runner.register_hook(Spoil(range(6)), priority='HIGHEST')
    with pytest.raises(
        FloatingPointError, match='the loss was not finite.*latest [34] optimizer steps.*lr'
    ):
        runner.train()


@pytest.mark.parametrize('broken, fails', [(range(6), True), ((3, 4, 5), False)])
def test_only_a_run_without_a_single_good_step_fails_at_its_end(make_runner, broken, fails) -> None:
    runner = make_runner(**{'default_hooks.monitor': dict(type='MonitorHook')})
    runner.register_hook(Spoil(broken), priority='HIGHEST')
    told = pytest.raises(FloatingPointError, match='latest 6 optimizer steps were skipped')
    with told if fails else nullcontext():
        runner.train()


def test_single_broken_steps_are_skipped_and_told(make_runner) -> None:
    runner = make_runner(**{'default_hooks.monitor': dict(type='MonitorHook', max_skipped=2)})
    runner.register_hook(Spoil((1, 4)), priority='HIGHEST')
    messages = []
    runner.logger.warning = messages.append
    runner.train()
    assert [m.split(',')[0] for m in messages] == ['1 of 3 optimizer steps were skipped'] * 2
    assert all(v.isfinite().all() for v in runner.model.state_dict().values())


class Poison(Hook):
    """Spoils one iteration by what a network is given, by its loss, or by a gradient."""

    priority = 'VERY_LOW'

    def __init__(self, where: str, value: float, iterations: Collection[int]) -> None:
        self.where, self.value, self.iterations = where, value, iterations
        self.before, self.after = {}, {}

    def before_train(self, runner) -> None:
        model = runner.model

        def spoil(given: torch.Tensor) -> torch.Tensor:
            return given * self.value if runner.iter in self.iterations else given

        if self.where == 'input':
            for network in (model.student, model.teacher):
                first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
                first.register_forward_pre_hook(lambda _, given: (spoil(given[0]),))
        elif self.where == 'loss':
            model.criterion.register_forward_hook(
                lambda _, given, found: found | dict(loss=spoil(found['loss']))
            )
        else:
            model.student.head.mlp[0].weight.register_hook(spoil)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == min(self.iterations):
            self.before = copy.deepcopy(runner.model.state_dict())
            moments = runner.optim_wrapper.optimizer.state_dict()['state']
            self.moments = copy.deepcopy(moments)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == max(self.iterations):
            self.after = copy.deepcopy(runner.model.state_dict())
            assert runner.optim_wrapper.pop_steps()[1] == 1
            moments = runner.optim_wrapper.optimizer.state_dict()['state']
            for index, found in self.moments.items():
                assert all(moments[index][key].equal(value) for key, value in found.items())


BATCH_NORM = {
    'model.backbone': dict(_delete_=True, type='mmpretrain.ResNet', depth=18, base_channels=8),
    'model.neck': dict(type='GlobalAveragePool'),
    'model.head.in_dim': 64,
    'model.head.norm': 'bn',
}


@pytest.mark.parametrize(
    'where, value, accumulated',
    [
        ('input', np.nan, 1),
        ('input', np.inf, 2),
        ('loss', np.nan, 2),
        ('loss', np.inf, 1),
        ('gradient', np.nan, 1),
        ('gradient', np.inf, 2),
    ],
)
def test_a_skipped_step_leaves_everything_as_it_was(make_runner, where, value, accumulated) -> None:
    changes = BATCH_NORM | {'optim_wrapper.accumulative_counts': accumulated}
    runner = make_runner(**changes)
    poison = Poison(where, value, range(2, 2 + accumulated))
    runner.register_hook(poison)
    runner.train()
    for name, found in poison.after.items():
        if not name.startswith('teacher.') or 'running' in name or 'num_batches' in name:
            assert found.equal(poison.before[name]), name
    for name, found in runner.model.state_dict().items():
        assert found.isfinite().all(), name
    assert not runner.model.state_dict()['student.backbone.bn1.running_mean'].equal(
        poison.after['student.backbone.bn1.running_mean']
    )


def test_a_skipped_step_of_many_iterations_is_one(make_runner) -> None:
    changes = {
        'default_hooks.monitor': dict(type='MonitorHook', max_skipped=2),
        'default_hooks.logger': dict(type='LoggerHook', interval=2),
        'optim_wrapper.accumulative_counts': 2,
    }
    runner = make_runner(**changes)
    runner.register_hook(Spoil((0, 1)), priority='HIGHEST')
    runner.train()
    assert runner.iter == 6


def test_scalars_reach_the_host_only_where_they_are_logged(make_runner) -> None:
    calls = []

    class Watched(torch.Tensor):
        """Counts how often its value is asked for."""

        def item(self):
            calls.append('item')
            return super().item()

    runs = []
    for name in ('RuntimeInfoHook', 'DeferredRuntimeInfoHook'):
        calls.clear()
        runner = make_runner(
            **{
                'default_hooks.runtime_info': dict(type=name),
                'default_hooks.logger': dict(type='LoggerHook', interval=3),
            }
        )
        step = runner.model.train_step
        runner.model.train_step = lambda *args, step=step, **kwargs: {
            key: value.as_subclass(Watched) for key, value in step(*args, **kwargs).items()
        }
        runner.train()
        hub = runner.message_hub
        runs.append((len(calls), hub.get_scalar('train/loss').data[0].tolist()))
    (asked, plain), (deferred, ours) = runs
    assert asked == 18 and deferred == 0  # one list of all instead
    assert ours == plain and len(ours) == 6


def test_histories_stay_short(make_runner) -> None:
    hook = dict(type='DeferredRuntimeInfoHook', history=2)
    runner = make_runner(**{'default_hooks.runtime_info': hook, 'train_cfg.max_epochs': 4})
    runner.train()
    lengths = {k: len(v.data[0]) for k, v in runner.message_hub.log_scalars.items()}
    assert lengths['train/loss'] == lengths['train/lr'] == lengths['train/momentum'] == 2


def test_a_bfloat16_teacher_follows_without_drift() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(4000) * 0.02
    exact, rough = student.clone(), student.bfloat16()
    frozen = rough.clone()
    for _ in range(600):
        student = student + 1e-4
        ema_update_([exact, rough], [student, student], 0.996, generator)
        frozen = torch.lerp(frozen.float(), student, 0.004).bfloat16()
    ulp = exact.abs() * 2**-8
    error = rough.float() - exact
    assert (exact - frozen.float()).mean() > 0.003  # what rounding to nearest would do
    assert error.mean().abs() < 1e-4
    assert (error.abs() / ulp.clamp(min=1e-5)).median() < 6


def test_a_run_with_a_bfloat16_teacher(make_runner, toy_model) -> None:
    half, full = (
        run(make_runner, **{'model.teacher_dtype': dtype})[1][-1] for dtype in ('bfloat16', None)
    )
    key = 'backbone.blocks.0.mlp.fc1.weight'
    assert half['teacher'][key].dtype is torch.bfloat16
    assert half['teacher']['backbone.norm.weight'].dtype is torch.float32
    for name, value in full['teacher'].items():
        torch.testing.assert_close(half['teacher'][name].float(), value, rtol=0, atol=0.05)


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
