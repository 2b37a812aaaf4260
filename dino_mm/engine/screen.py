"""What a person sees of a run: what was found, what will happen, progress, warnings.

Everything else (environment, config, lists of hooks) goes to the log file only.
"""

import logging
import os

from mmengine.logging import MMLogger

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
