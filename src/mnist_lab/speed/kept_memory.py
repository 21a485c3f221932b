"""malloc keeps what tensors free, where glibc hands it to the kernel and every step pays for the page faults.

Figure: a plain step of the strided convnet takes 7.8 ms instead of 9.6 ms. Risk: the process stays as large as its
largest moment. Only ``train.py`` does it, to its own process; it stands aside with other C libraries.
"""

import contextlib
import ctypes

from mnist_lab.speed import stand_aside

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Set malloc's thresholds for the rest of the process; whether this C library has them."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        if libc.mallopt(_MMAP_THRESHOLD, 2**30) and libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1):
            return True
    stand_aside("kept_memory", "the C library has no mallopt")
    return False
