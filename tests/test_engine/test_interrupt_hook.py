"""Where interruption works, and what becomes of data workers."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from mmengine.hooks import Hook

from dino_mm.engine.hooks.interrupt_hook import SIGNALS, start_worker

INTERRUPT = {'default_hooks.interrupt': dict(type='InterruptHook')}


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    numbers = [*SIGNALS, signal.SIGCHLD]
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


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
