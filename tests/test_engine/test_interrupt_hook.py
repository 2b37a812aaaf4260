"""Where interruption works, and what becomes of data workers."""

import multiprocessing
import os
import signal
import threading
import time

import pytest
from mmengine.hooks import Hook

from dino_mm.checkpoint import read_checkpoint
from dino_mm.engine.hooks import ReportHook
from dino_mm.engine.hooks.interrupt_hook import SIGNALS, start_worker

INTERRUPT = {'default_hooks.interrupt': dict(type='InterruptHook')}


class Interrupt(Hook):
    """Sends this process a signal during the second iteration."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def interrupted(make_runner, tmp_path) -> None:
    runner = make_runner(**INTERRUPT)
    runner.register_hook(Interrupt())
    with pytest.raises(SystemExit) as stop:
        runner.train()
    assert stop.value.code == 128 + signal.SIGTERM
    assert (tmp_path / 'work' / 'interrupted_iter_2.pth').is_file()


def test_pictures_are_drawn_and_trackers_closed_at_an_interruption(make_runner, tmp_path) -> None:
    """Once the checkpoint is safe, of the network as it is then."""
    runner = make_runner(
        **INTERRUPT,
        **{
            'default_hooks.logger': dict(type='TimedLoggerHook'),
            'default_hooks.report': dict(type='ReportHook', attention_images=2),
        },
    )
    order = []
    monitored = dict(save=runner.save_checkpoint, close=runner.visualizer.close)

    def noting(name: str):
        def call(*args, **kwargs):
            order.append(name)
            return monitored[name](*args, **kwargs)

        return call

    runner.save_checkpoint, runner.visualizer.close = noting('save'), noting('close')
    runner.register_hook(Interrupt())
    report = next(hook for hook in runner.hooks if isinstance(hook, ReportHook))
    draw = report.on_interrupt
    report.on_interrupt = lambda runner: (order.append('draw'), draw(runner))
    with pytest.raises(SystemExit):
        runner.train()
    assert order == ['save', 'draw', 'close']
    work = tmp_path / 'work'
    assert {'curves.png', 'neighbors.png', 'attention.png'} <= {p.name for p in work.iterdir()}
    saved = read_checkpoint(work / 'interrupted_iter_2.pth')['state_dict']
    backbone = read_checkpoint(work / 'backbone.pth')['state_dict']
    for name, value in backbone.items():
        assert value.equal(saved[f'teacher.backbone.{name}']), name


def test_outside_of_the_main_thread_training_runs_and_says_so(make_runner) -> None:
    runner = make_runner(**INTERRUPT)
    before = [signal.getsignal(number) for number in SIGNALS]
    told = []
    runner.logger.info = told.append
    thread = threading.Thread(target=runner.train)
    thread.start()
    thread.join()
    assert runner.iter == 6
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert len([text for text in told if 'not the main thread' in str(text)]) == 1


def test_without_the_signal_of_ended_children(make_runner, tmp_path, monkeypatch) -> None:
    monkeypatch.delattr(signal, 'SIGCHLD')  # as on Windows
    try:
        interrupted(make_runner, tmp_path)
    finally:
        monkeypatch.undo()


def test_no_worker_is_left_to_complain_of_a_broken_connection(make_runner, tmp_path) -> None:
    """One that is handing over a batch while the trainer exits would print a traceback."""
    worker = multiprocessing.Process(target=stubborn, daemon=True)
    worker.start()
    interrupted(make_runner, tmp_path)
    assert worker.exitcode == -signal.SIGKILL


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def test_workers_leave_ctrl_c_to_the_trainer_and_obey_it() -> None:
    started, term = [], signal.getsignal(signal.SIGTERM)
    start_worker(started.append, 3)
    assert started == [3]
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) == term  # PyTorch's, by which they end


def test_ctrl_c_ends_no_worker(make_runner) -> None:
    started = []
    runner = make_runner(**INTERRUPT, **{'train_dataloader.num_workers': 1})

    class Ask(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGINT)
            started.append(worker.pid)

    runner.register_hook(Ask())
    runner.train()
    assert len(set(started)) == 2  # one worker an epoch: none ended by a signal
    assert runner.iter == 6


def test_an_ignored_signal_stays_ignored(make_runner) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    runner, heard = make_runner(**INTERRUPT), []

    class Ask(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            heard.append([signal.getsignal(n) for n in (signal.SIGHUP, signal.SIGUSR1)])

    runner.register_hook(Ask())
    runner.train()
    assert heard[0][0] == signal.SIG_IGN and callable(heard[0][1])
