"""Imports of other packages without what they say."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from mmengine.logging import MMLogger


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Silences what other packages say when they are imported, but not their errors."""
    handlers = MMLogger.get_current_instance().handlers
    levels = [handler.level for handler in handlers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        for handler in handlers:
            handler.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for handler, level in zip(handlers, levels, strict=True):
                handler.setLevel(level)
