"""Memory that the C library keeps for the next tensor."""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``: malloc.h of the GNU C library."""

VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """Have the GNU C library keep what is freed, up to 2 GiB, and take tensors below 1 GiB from it.

    By default it gives every tensor of more than 32 MiB back to the system, which clears its pages before the next one
    may use them: a fifth of a training step on photographs (docs/speed.md). The largest use of memory is as before, but
    for gaps between what is in use.

    Returns:
        Whether it does: not with another C library, nor where the environment sets one of :data:`VARIABLES`.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in VARIABLES):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1))
