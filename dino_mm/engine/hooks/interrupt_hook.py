"""Saves before giving way to Ctrl-C or a cluster's termination signal."""

import os
import signal
import sys

from mmengine.hooks import Hook

from dino_mm.registry import HOOKS


@HOOKS.register_module()
class InterruptHook(Hook):
    """On SIGINT or SIGTERM finishes the current iteration, saves a checkpoint and exits.

    ``--resume`` then goes on with the next iteration. A second signal ends at once.
    """

    priority = 'LOWEST'
    signals = (signal.SIGINT, signal.SIGTERM)

    def before_train(self, runner) -> None:
        self.received: int | None = None
        self.busy = False  # between iterations the state is consistent and saved at once
        self.done = runner.iter
        owner = os.getpid()

        def note(number: int, frame) -> None:
            if os.getpid() != owner:  # a data worker: Ctrl-C is the trainer's to handle
                return
            if self.received is not None:
                raise KeyboardInterrupt
            self.received = number
            # The signal may have reached the data workers too; PyTorch would raise for each.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # Not by the logger: it may be in the middle of a line, which it does not bear.
            os.write(2, b'\nInterrupted: saving a checkpoint (once more quits at once).\n')
            if not self.busy:
                self._save_and_exit(runner)

        self.previous = {number: signal.signal(number, note) for number in self.signals}

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.busy = True

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.done, self.busy = runner.iter + 1, False
        if self.received is not None:
            self._save_and_exit(runner)

    def _save_and_exit(self, runner) -> None:
        name = f'interrupted_iter_{self.done}.pth'
        meta = dict(epoch=runner.epoch, iter=self.done)
        runner.save_checkpoint(runner.work_dir, name, meta=meta, by_epoch=False)
        if runner.rank == 0:
            path = os.path.join(runner.work_dir, name)
            with open(os.path.join(runner.work_dir, 'last_checkpoint'), 'w') as file:
                file.write(path)
            runner.logger.info(f'Saved {path}. The same command with --resume goes on from here.')
        sys.exit(128 + self.received)

    def after_train(self, runner) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
