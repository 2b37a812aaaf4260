"""MMEngine's Runner as this project's command lines use it."""

import os
from unittest import mock

from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmengine.runner.checkpoint import _load_checkpoint as load_with_mmengine

from dino_mm.checkpoint.files import read_checkpoint
from dino_mm.registry import RUNNERS
from dino_mm.utils.files import replaced

from .screen import clear_screen_of


@RUNNERS.register_module()
class PlainRunner(Runner):
    """MMEngine's Runner with a screen that a newcomer can read and checkpoints that can be trusted."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        clear_screen_of(logger)
        return logger

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict:
        """Loads a checkpoint as data: no code that a file names is run.

        Raises:
            CheckpointError: It could run code, or is no checkpoint.
        """
        if '://' in filename and not filename.startswith(('http://', 'https://')):
            return super().load_checkpoint(filename, *args, **kwargs)  # names that MMEngine knows
        content = read_checkpoint(filename)

        def load(*args, **kwargs) -> dict:
            # A file of this machine is read again: the safe reader leaves out the curves of the log.
            loaded = dict(content if '://' in filename else load_with_mmengine(*args, **kwargs))
            if isinstance(loaded.get('meta'), dict):  # MMEngine would evaluate this text
                loaded['meta'] = {k: v for k, v in loaded['meta'].items() if k != 'config'}
            return loaded

        with mock.patch('mmengine.runner.runner._load_checkpoint', load):
            return super().load_checkpoint(filename, *args, **kwargs)

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Saves a checkpoint whole or not at all."""
        if '://' in out_dir:  # a storage that does so itself
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
        elif self.rank == 0:
            with replaced(os.path.join(out_dir, filename)) as scratch:
                super().save_checkpoint(out_dir, scratch.name, *args, **kwargs)

    def dump_config(self) -> None:
        """Writes the whole config into the work dir, but not over the file it came from."""
        path = os.path.join(self.work_dir, os.path.basename(self.cfg.filename or 'config.py'))
        if self.cfg.filename and os.path.realpath(path) == os.path.realpath(self.cfg.filename):
            path = os.path.join(self.work_dir, f'whole_{os.path.basename(path)}')
        self.cfg.dump(path)
