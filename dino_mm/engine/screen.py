"""What a person sees of a run: what was found, what will happen, progress, warnings.

Everything else (environment, config, lists of hooks) goes to the log file only.
"""

import logging
import os
from unittest import mock

from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmengine.runner.checkpoint import _load_checkpoint as load_with_mmengine

from dino_mm.checkpoint.files import read_checkpoint
from dino_mm.registry import RUNNERS
from dino_mm.utils.files import replaced

#: Files of MMEngine whose notes are progress, and the one through which others write theirs.
PROGRESS = ('logger_hook.py', 'checkpoint_hook.py', 'early_stopping_hook.py', 'logger.py')


class ScreenFilter(logging.Filter):
    """Lets warnings pass, notes of this project, and those of MMEngine that are progress.

    That something of MMEngine's is deprecated concerns those who maintain the libraries.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        folder, file = os.path.split(record.pathname)
        if 'mmengine' not in folder.split(os.sep):
            return True
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            return 'deprecated' not in message
        return file in PROGRESS and not message.startswith('Exp name')


class ScreenFormatter(logging.Formatter):
    """The time and the message; a level only where it is a warning or worse."""

    def __init__(self) -> None:
        super().__init__('%(asctime)s  %(message)s', datefmt='%H:%M:%S')

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if record.levelno < logging.WARNING:
            return line
        return line.replace('  ', f'  {record.levelname.capitalize()}: ', 1)


def clear_screen_of(logger: MMLogger) -> None:
    """Makes the screen of a logger that of this module; its log file stays complete."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(
            handler, logging.FileHandler
        ):
            handler.addFilter(ScreenFilter())
            handler.setFormatter(ScreenFormatter())


@RUNNERS.register_module()
class PlainRunner(Runner):
    """MMEngine's Runner with a screen that a newcomer can read."""

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
