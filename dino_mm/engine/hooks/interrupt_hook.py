"""Saves before giving way to Ctrl-C or a cluster's termination signal."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmengine.hooks import Hook

from dino_mm.engine.optimizers.optim_wrapper import is_between_steps
from dino_mm.engine.work_dir import point_to
from dino_mm.registry import HOOKS


def say(text: str) -> None:
    """Prints from a signal's handler: the logger may be in the middle of a line, which it does not
    bear."""
    os.write(2, f'\n{text}\n'.encode())


#: Ctrl-C, and what clusters send before they end a job, as far as the system knows them.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGXCPU')
    if hasattr(signal, name)
)


def start_worker(init: Callable[[int], None] | None, worker: int) -> None:
    """Starts a data worker that leaves Ctrl-C to the trainer; ``init`` is its own start.

    It ends by SIGTERM, which is how the trainer ends workers that wait for the next epoch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if init is not None:
        init(worker)


@HOOKS.register_module()
class InterruptHook(Hook):
    """On a signal of :data:`SIGNALS` finishes the current step, saves a checkpoint and exits.

    The exit status is 128 plus the number of the signal. A signal that is ignored when training
    starts, as SIGHUP is under ``nohup``, stays ignored.

    ``--resume`` then goes on with the next iteration. Hooks with a method ``on_interrupt(runner)``
    are told once the checkpoint is safe. A second signal ends at once. Of several
    processes the first saves and exits, upon which the launcher ends the others.

    Python handles signals in the main thread alone: training in another one is not interrupted,
    which the log tells.
    """

    priority = 'LOWEST'
    saving = False

    def before_train(self, runner) -> None:
        self.received: int | None = None
        self.busy = False  # between iterations the state is consistent and saved at once
        self.done = runner.iter
        self.previous = {}
        if threading.current_thread() is not threading.main_thread():
            runner.logger.info(
                'InterruptHook: this is not the main thread, where alone Python handles signals. '
                'An interrupted run resumes from its last regular checkpoint.'
            )
            return
        for loop in filter(None, (runner.train_loop, runner.val_loop)):
            loader = loop.dataloader
            loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
        owner = os.getpid()

        def note(number: int, frame) -> None:
            if os.getpid() != owner:  # a data worker that is about to start
                return
            if hasattr(signal, 'SIGCHLD'):  # PyTorch would raise for data workers that end
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if runner.rank:
                return  # rank 0 may need this process to finish its iteration
            if self.received is not None:
                if runner.distributed:
                    return  # launchers send more than one
                raise KeyboardInterrupt
            self.received = number
            say(
                'Interrupted: saving a checkpoint. Once more quits at once, if this is the only process.'
            )
            if not self.busy and is_between_steps(runner.optim_wrapper):
                self._save_and_exit(runner)

        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self.previous = {number: signal.signal(number, note) for number in heard}

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.busy = True

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.done, self.busy = runner.iter + 1, False
        if self.received is not None and is_between_steps(runner.optim_wrapper):
            self._save_and_exit(runner)

    def _save_and_exit(self, runner) -> None:
        path = Path(runner.work_dir, f'interrupted_iter_{self.done}.pth')
        self.saving = True
        runner.save_checkpoint(runner.work_dir, path.name, by_epoch=False)
        point_to(runner.work_dir, path)
        for earlier in set(path.parent.glob('interrupted_iter_*.pth')) - {path}:
            earlier.unlink()
        say(f'Saved {path}. The same command with --resume goes on from here.')
        for hook in runner.hooks:
            if hasattr(hook, 'on_interrupt'):
                hook.on_interrupt(runner)
        runner.visualizer.close()  # trackers may hold back what they were told last
        # A data worker may be handing over a batch, and would complain that nobody takes it.
        for worker in multiprocessing.active_children():
            if worker.daemon:
                worker.kill()
                worker.join()
        sys.exit(128 + self.received)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self.saving:  # Runners count the current iteration as done, which it may not be
            checkpoint['meta'].update(epoch=runner.epoch, iter=self.done)

    def after_train(self, runner) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
