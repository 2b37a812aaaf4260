"""Memory of the process."""

import os
import subprocess
import sys

import pytest

COUNT = """
import ctypes, resource, sys
import torch
from dino_mm.utils.memory import keep_freed_memory
if not hasattr(ctypes.CDLL(None), 'mallopt'):
    sys.exit('no glibc')
if sys.argv[1] == 'keep':
    assert keep_freed_memory()
def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    held = [torch.ones(2**20 * mib, dtype=torch.uint8) for mib in (12, 16, 20, 24, 28)]
    return sum(map(len, held))
size = step()
before = pages()
for _ in range(10):
    step()
print((pages() - before) * resource.getpagesize() / size)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc is the library of Linux')
def test_freed_memory_is_used_again_instead_of_asked_for() -> None:
    """Ten steps take next to no new pages, and all of them again each time where the library asks
    the system for every block."""
    taken = {}
    always_ask = os.environ | dict(MALLOC_MMAP_THRESHOLD_='65536')
    for how in ('keep', 'ask'):
        done = subprocess.run(
            [sys.executable, '-c', COUNT, how], capture_output=True, text=True, env=always_ask
        )
        if 'no glibc' in done.stderr:
            pytest.skip('the C library is not glibc')
        taken[how] = float(done.stdout)
    assert taken['keep'] < 2 < 5 < taken['ask']
