import signal
from collections.abc import Iterator

import pytest

from dino_mm.engine.hooks.interrupt_hook import SIGNALS


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """What a test makes of signals ends with it."""
    numbers = [*SIGNALS, signal.SIGCHLD]
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
