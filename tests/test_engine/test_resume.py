"""Interrupted and resumed runs end where uninterrupted ones do."""

import os
import signal

import pytest
import torch
from mmengine.hooks import Hook


class Signal(Hook):
    """Sends the process a signal as one iteration begins."""

    def __init__(self, number: int, iteration: int) -> None:
        self.number, self.iteration = number, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)


SETTINGS = dict(
    PlainRunner={},
    FlexibleRunner=dict(runner_type='FlexibleRunner', env_cfg=dict(dist_cfg=dict(backend='gloo'))),
    stochastic_depth={'model.backbone.drop_path_rate': 0.5},
    half_teacher={'model.teacher_dtype': 'bfloat16'},
    half_precision={'optim_wrapper.dtype': 'bfloat16'},
    batch_norm={'model.head.norm': 'bn'},
    accumulation={'optim_wrapper.accumulative_counts': 2},
)


@pytest.mark.parametrize(
    'kind, number, iteration, when',
    [
        ('PlainRunner', signal.SIGINT, 0, 'during'),
        ('PlainRunner', signal.SIGTERM, 2, 'during'),  # the last iteration of an epoch
        ('PlainRunner', signal.SIGINT, 4, 'before'),
        ('FlexibleRunner', signal.SIGINT, 4, 'before'),
        ('FlexibleRunner', signal.SIGTERM, 4, 'during'),
        ('stochastic_depth', signal.SIGUSR1, 3, 'during'),
        ('half_teacher', signal.SIGUSR2, 3, 'during'),
        ('half_precision', signal.SIGINT, 3, 'during'),
        ('batch_norm', signal.SIGXCPU, 3, 'during'),
        ('accumulation', signal.SIGTERM, 1, 'during'),  # the last batch of a step
    ],
)
def test_an_interrupted_run_loses_and_repeats_nothing(
    make_runner, tmp_path, kind, number, iteration, when
) -> None:
    numbers = {} if kind == 'FlexibleRunner' else SETTINGS[kind]
    whole = make_runner(work_dir=str(tmp_path / 'whole'), **numbers)
    whole.train()
    interrupt = {'default_hooks.interrupt': dict(type='InterruptHook'), **SETTINGS[kind]}
    runner = make_runner(**interrupt)
    if kind.endswith('Runner'):
        assert type(runner).__name__ == kind
    # The lowest priority comes after the hook that is tested.
    priority = 'LOWEST' if when == 'during' else 'NORMAL'
    runner.register_hook(Signal(number, iteration), priority=priority)
    with pytest.raises(SystemExit) as stop:
        runner.train()
    assert stop.value.code == 128 + number
    resumed = make_runner(resume=True, **interrupt)
    seen = []
    resumed.register_hook(Count(seen))
    resumed.train()
    assert seen == list(range(iteration + (when == 'during'), 6))
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)


def test_an_interruption_waits_for_the_end_of_a_step(make_runner, tmp_path) -> None:
    changes = SETTINGS['accumulation']
    whole = make_runner(work_dir=str(tmp_path / 'whole'), **changes)
    whole.train()
    changes = changes | {'default_hooks.interrupt': dict(type='InterruptHook')}
    runner = make_runner(**changes)
    runner.register_hook(Signal(signal.SIGTERM, 2), priority='LOWEST')  # first of two batches
    with pytest.raises(SystemExit):
        runner.train()
    resumed, seen = make_runner(resume=True, **changes), []
    resumed.register_hook(Count(seen))
    resumed.train()
    assert seen == [4, 5]
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)


class Count(Hook):
    def __init__(self, seen: list) -> None:
        self.seen = seen

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.seen.append(runner.iter)


def test_a_run_on_repeated_images_resumed_after_an_epoch_ends_equal(
    make_runner, tmp_path, image_folder
) -> None:
    crop = dict(type='dino_mm.DINOMultiCrop', global_size=32, local_size=16, num_local=2)
    images = dict(
        type='dino_mm.UnlabelledImageFolder',
        data_root=str(image_folder),
        pipeline=[dict(type='dino_mm.LoadImage'), crop],
    )
    changes = {
        'train_cfg.max_epochs': 2,
        'train_dataloader.dataset': dict(
            _delete_=True, type='RepeatDataset', times=1, dataset=images
        ),
    }
    whole = make_runner(work_dir=str(tmp_path / 'whole'), **changes)
    whole.train()
    first = str(tmp_path / 'whole' / 'epoch_1.pth')
    resumed = make_runner(resume=True, load_from=first, **changes)
    resumed.train()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)


def test_a_run_without_a_seed_goes_on_with_the_images_it_had_not_seen(make_runner) -> None:
    orders = []
    for epochs in (1, 2):
        changes = {'train_cfg.max_epochs': epochs, 'randomness.seed': None}
        runner = make_runner(resume=epochs == 2, **changes)
        runner.train()
        sampler = runner.train_dataloader.sampler
        sampler.set_epoch(1)
        orders.append(list(sampler))
    assert orders[0] == orders[1]


@pytest.mark.parametrize('batch_size', [2, 6])
def test_resume_with_another_length_of_epoch_is_refused(make_runner, batch_size) -> None:
    make_runner(**{'train_cfg.max_epochs': 1}).train()
    runner = make_runner(resume=True, **{'train_dataloader.batch_size': batch_size})
    with pytest.raises(ValueError, match=f'had 3 .* has {12 // batch_size}'):
        runner.train()


class Rates(Hook):
    """Keeps what the schedules say at each iteration."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.rows = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        decay, _ = runner.optim_wrapper.optimizer.param_groups
        temperature = runner.model.criterion.teacher_temp
        self.rows.append((decay['lr'], decay['weight_decay'], temperature))


@pytest.mark.parametrize(
    'changes',
    [
        {'train_cfg.max_epochs': 4},
        {'optim_wrapper.optimizer.lr': 0.5},
        {'param_scheduler.warmup': '2 epochs'},
        {'param_scheduler.eta_min': 0.25},
        {
            'model.loss.teacher_temp': 0.09,
            'model.loss.warmup_teacher_temp_epochs': 2,
            'train_cfg.max_epochs': 3,
        },
    ],
)
def test_every_schedule_of_a_resumed_run_follows_the_new_config(make_runner, tmp_path, changes):
    hook = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1)}
    make_runner(**hook).train()
    anew, resumed = (
        make_runner(work_dir=str(tmp_path / name), **hook, **changes) for name in ('new', 'on')
    )
    resumed._resume, resumed._load_from = True, str(tmp_path / 'work' / 'epoch_1.pth')
    rows = []
    for runner in (anew, resumed):
        rates = Rates()
        runner.register_hook(rates)
        runner.train()
        rows.append(rates.rows)
    assert rows[1] == rows[0][3:]  # an epoch has three iterations


@pytest.mark.parametrize(
    'change, key',
    [
        ({'param_scheduler.warmup': 3}, 'param_scheduler.warmup=3 epochs'),
        ({'param_scheduler.warmup': '7 steps'}, 'param_scheduler.warmup=7 steps'),
        (
            {'default_hooks.freeze': dict(type='FreezeLastLayerHook', epochs=5)},
            'FreezeLastLayerHook.epochs=5 epochs',
        ),
        (
            {'model.loss.warmup_teacher_temp_epochs': 9},
            'model.loss.warmup_teacher_temp_epochs=9 epochs',
        ),
    ],
)
def test_schedules_longer_than_the_run_are_refused_by_key(make_runner, change, key) -> None:
    with pytest.raises(ValueError, match=f'{key} is longer than the whole run of 6 .*2 epochs'):
        make_runner(**change).train()


def test_an_epoch_without_an_end_is_refused(make_runner) -> None:
    sampler = {'train_dataloader.sampler': dict(type='InfiniteSampler', shuffle=True)}
    with pytest.raises(ValueError, match='InfiniteSampler never ends.*IterBasedTrainLoop'):
        make_runner(**sampler).train()


def test_too_few_images_for_one_batch(make_runner) -> None:
    with pytest.raises(ValueError, match='12 images over 1 processes.*batch_size=13'):
        make_runner(**{'train_dataloader.batch_size': 13}).train()
