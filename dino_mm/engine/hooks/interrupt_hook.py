"""Saves before giving way to Ctrl-C or a cluster's termination signal."""

import os
import signal
import sys
from pathlib import Path

from mmengine.hooks import Hook

from dino_mm.registry import HOOKS


def say(text: str) -> None:
    """Prints from a signal's handler: the logger may be in the middle of a line, which it does not
    bear."""
    os.write(2, f'\n{text}\n'.encode())


@HOOKS.register_module()
class InterruptHook(Hook):
    """On SIGINT or SIGTERM finishes the current iteration, saves a checkpoint and exits.

    ``--resume`` then goes on with the next iteration. A second signal ends at once. Of several
    processes the first saves and exits, upon which the launcher ends the others.
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
            # The signal may have reached the data workers too; PyTorch would raise for each.
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
        path = Path(runner.work_dir, f'interrupted_iter_{self.done}.pth')
        meta = dict(epoch=runner.epoch, iter=self.done)
        runner.save_checkpoint(runner.work_dir, path.name, meta=meta, by_epoch=False)
        path.with_name('last_checkpoint').write_text(str(path))
        for earlier in set(path.parent.glob('interrupted_iter_*.pth')) - {path}:
            earlier.unlink()
        say(f'Saved {path}. The same command with --resume goes on from here.')
        sys.exit(128 + self.received)

    def after_train(self, runner) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
