"""A line every few seconds, the same ones on all processes, and what a line says."""

import json
import os
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub

from dino_mm.engine.hooks import TimedLoggerHook, timed_logger_hook
from dino_mm.engine.log_processor import plain_evaluation, plain_line
from dino_mm.evaluation.linear_probe.labeled import folder_config

from ..labeled_images import write_colors


class Clock:
    """A clock that is moved by hand, in place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def lines_of(
    hook: TimedLoggerHook,
    clock: Clock,
    iterations: int,
    duration: Callable[[int], float],
    evaluated_after: Sequence[int] = (),
) -> list[tuple[int, float]]:
    """Iterations (counted from 1) that have a line and seconds since the start, in a run that takes
    ``duration`` of each iteration, and 100 seconds for each evaluation."""
    lines = []
    silent = SimpleNamespace(info=lambda text: None)
    runner = SimpleNamespace(
        iter=0,
        max_iters=iterations,
        hooks=[],
        message_hub=MessageHub('timed'),
        logger=silent,
        log_processor=SimpleNamespace(
            get_log_after_iter=lambda *_: ({}, ''), get_log_after_epoch=lambda *_: ({}, '')
        ),
        visualizer=SimpleNamespace(add_scalars=lambda *_, **__: None, _vis_backends={}),
        val_dataloader=[],
        _train_loop=None,
    )
    hook.before_train(runner)
    start = clock.now
    for runner.iter in range(iterations):
        hook.before_train_iter(runner, runner.iter)
        clock.now += duration(runner.iter)
        due = hook.is_due(runner, runner.iter)
        hook.after_train_iter(runner, runner.iter)
        assert hook.is_due(runner, runner.iter) is due  # other hooks ask before and after
        if due:
            lines.append((runner.iter + 1, clock.now - start))
        if runner.iter + 1 in evaluated_after:
            hook.before_val(runner)
            clock.now += 100
            hook.after_val_epoch(runner)
            hook.after_val(runner)
    lines_of.hub = runner.message_hub
    return lines


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timed_logger_hook, 'time', clock)
    return clock


def test_lines_come_at_once_then_by_time_and_more_and_more_rarely(clock) -> None:
    lines = lines_of(TimedLoggerHook(), clock, 100_000, lambda _: 0.05)
    assert lines[0] == (1, pytest.approx(0.05)) and lines[-1][0] == 100_000
    gaps = [later - earlier for (_, earlier), (_, later) in zip(lines, lines[1:], strict=False)]
    assert max(gaps) <= 60.1
    early = [gap for gap, (_, at) in zip(gaps, lines, strict=False) if 10 < at < 90]
    assert min(early) > 4.9 and max(early) < 5.1
    middle = [gap / at for gap, (_, at) in zip(gaps, lines, strict=False) if 120 < at < 1000]
    assert min(middle) > 0.049 and max(middle) < 0.051
    late = [gap for gap, (_, at) in zip(gaps, lines, strict=False) if 1300 < at < 4900]
    assert min(late) > 59


def test_every_slow_iteration_has_a_line(clock) -> None:
    lines = lines_of(TimedLoggerHook(), clock, 5, lambda _: 90.0)
    assert [iteration for iteration, _ in lines] == [1, 2, 3, 4, 5]


def test_a_slow_start_does_not_make_lines_rare_or_frequent(clock) -> None:
    lines = lines_of(TimedLoggerHook(), clock, 1000, lambda i: 20.0 if i == 0 else 0.125)
    assert [iteration for iteration, _ in lines[:5]] == [1, 2, 6, 22, 62]


def test_an_evaluation_neither_brings_lines_nor_hides_in_the_time_left(clock) -> None:
    hook = TimedLoggerHook()
    plain = lines_of(hook, clock, 400, lambda _: 0.1)
    lines = lines_of(hook, clock, 400, lambda _: 0.1, evaluated_after=[200])
    assert abs(len(lines) - len(plain)) <= 1
    assert lines_of.hub.get_scalar('val/seconds').current() == pytest.approx(100)
    share = lines_of.hub.get_scalar('val/percent_of_run').current()
    assert share == pytest.approx(100 * 100 / 120)


def test_the_time_left_counts_evaluations_as_they_came_so_far(clock) -> None:
    left = {}

    class Noting(TimedLoggerHook):
        def _plan(self, runner, now: float) -> None:
            left[runner.iter + 1] = runner.message_hub.get_info('eta')
            super()._plan(runner, now)

    lines_of(Noting(), clock, 400, lambda _: 0.1, evaluated_after=[200])
    assert left[1] == pytest.approx(0.1 * 399)
    late = max(step for step in left if step < 400)
    assert late > 200 and left[late] == pytest.approx((0.1 * late + 100) / late * (400 - late))
    assert left[400] == 0


def test_iterations_on_request(clock) -> None:
    lines = lines_of(TimedLoggerHook(interval=3), clock, 10, lambda _: 0.001)
    assert {3, 6, 9} <= {iteration for iteration, _ in lines}


def on_a_process(rank: int, port: int, out: str) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1')
    os.environ['MASTER_PORT'] = str(port)
    torch.distributed.init_process_group('gloo')
    clock = timed_logger_hook.time = Clock()
    # Each is slow at other times, and their clocks differ.
    clock.now += 77 * rank
    lines = lines_of(TimedLoggerHook(), clock, 600, lambda i: 0.3 if i // 100 % 2 == rank else 0.1)
    torch.save([iteration for iteration, _ in lines], f'{out}/{rank}.pth')
    torch.distributed.destroy_process_group()


def test_two_processes_log_at_the_same_iterations(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(on_a_process, (port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    assert first == second and len(first) > 10


def runner_at(step: int, **infos) -> SimpleNamespace:
    hub = MessageHub('words')
    for key, value in infos.items():
        hub.update_info(key, value)
    return SimpleNamespace(
        iter=step,
        max_iters=2000,
        max_epochs=40,
        message_hub=hub,
        train_dataloader=SimpleNamespace(batch_size=128),
    )


def test_a_line_in_words() -> None:
    tag = dict(epoch=3, iter=150, time=0.5, data_time=0.05, loss=2.34567, memory=2048)
    line = plain_line(runner_at(149, eta=754.2, verdict='learning (all is well)'), tag)
    assert line == (
        'epoch 3/40  step 150/2000 (8 %)  12 min 34 s left  256 images/s (10 % waiting for data)'
        '  2.0 GB of GPU memory  loss 2.346  learning (all is well)'
    )
    # of a loop that counts iterations, without timers and verdict
    assert plain_line(runner_at(149), dict(iter=150, loss=2.0)) == 'step 150/2000 (8 %)  loss 2.000'


@pytest.mark.parametrize(
    'time, speed', [(20.0, '6.4'), (0.5, '256'), (0.01, '12,800'), (1.3, '98.5')]
)
def test_images_per_second_are_plain_numbers(time, speed) -> None:
    tag = dict(iter=1, loss=1.0, time=time, data_time=0.0)
    assert f'  {speed} images/s (0 % waiting for data)  ' in plain_line(runner_at(0), tag)


def test_an_evaluation_in_words() -> None:
    tag = {'knn/k20_top1': 34.3751, 'linear/top1': 40.0, 'time': 0.1, 'data_time': 0.0}
    tag['seconds'] = 75.2
    text = 'evaluated at step 0  knn/k20_top1 34.38  linear/top1 40  (1 min 15 s)'
    assert plain_evaluation(runner_at(0), tag) == text
    tag['percent_of_run'] = 12.3
    assert plain_evaluation(runner_at(0), tag).endswith(
        '(1 min 15 s, 12 % of the run is evaluation)'
    )


class Slow(Hook):
    """Makes the clock of the logger run during validation."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.clock.now += 4


def test_lines_of_a_run(make_runner, tmp_path, clock) -> None:
    images = write_colors(tmp_path / 'colors', train=2, val=1)
    runner = make_runner(
        log_level='INFO',
        log_processor=dict(type='PlainLogProcessor'),
        val_dataloader=dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=folder_config(str(images), 32),
        ),
        val_evaluator=[dict(type='KNNMetric', ks=(1,)), dict(type='LinearMetric')],
        val_cfg=dict(),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        **{
            'default_hooks.logger': dict(
                type='TimedLoggerHook', interval=1, log_metric_by_epoch=False
            )
        },
    )
    runner.register_hook(Slow(clock))
    runner.train()
    log = Path(runner.logger.log_file).read_text()
    steps = re.findall(r'epoch \d/2  step (\d)/6 \(\d+ %\)  .* left  .* images/s .*loss ', log)
    assert [int(step) for step in steps] == [1, 2, 3, 4, 5, 6], log
    evaluated = re.findall(r'evaluated at step (\d)  knn/k1_top1 .* linear/top1 .*\((.*)\)', log)
    assert evaluated == [
        ('3', '20 s, 100 % of the run is evaluation'),
        ('6', '20 s, 100 % of the run is evaluation'),
    ], log
    scalars = (Path(runner.log_dir) / 'vis_data' / 'scalars.json').read_text().splitlines()
    rows = [json.loads(row) for row in scalars]
    assert [row['step'] for row in rows if 'linear/top1' in row] == [3, 6]
    assert [row['seconds'] for row in rows if 'seconds' in row] == [20, 20]


def test_a_long_evaluation_says_how_far_it_is(clock) -> None:
    told = []
    runner = SimpleNamespace(
        hooks=[],
        message_hub=MessageHub('evaluation'),
        logger=SimpleNamespace(info=told.append),
        log_processor=SimpleNamespace(
            get_log_after_iter=lambda runner, batch, mode: ({}, f'{mode} {batch}')
        ),
    )
    hook = TimedLoggerHook()
    hook.before_val(runner)
    for batch in range(10):
        clock.now += 2
        hook.after_val_iter(runner, batch)
    assert told == ['val 2', 'val 5', 'val 8']
