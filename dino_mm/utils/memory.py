"""Memory of the process."""

import ctypes
import sys

#: Options of glibc's ``mallopt``, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: The largest that glibc takes from its heap instead of asking the system each time, in bytes.
LARGEST_BLOCK = 32 * 2**20
#: Free memory at the end of the heap that stays with the process, in bytes.
KEPT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets the C library keep memory that is freed, for the next tensors; whether it does.

    A training step frees tensors and takes others of the same sizes. By default glibc gives large
    ones back to the system, which clears each page anew: a small network trains a fifth slower.
    Other C libraries, and allocators that replace glibc's, are left as they are.
    """
    if not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) and mallopt(M_TRIM_THRESHOLD, KEPT))
