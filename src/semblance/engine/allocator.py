"""The C allocator on a CPU: memory of one step's activations serves the next."""

import ctypes
import sys

TRIM, MAPPED = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
KEPT, LARGE = 2**31 - 1, 2**30  # bytes: freed memory kept at hand, and sizes that still are given back at once


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory, instead of having the system clear the same pages at every step.

    Whether it did: not elsewhere than on Linux with glibc. A tenth of the time of training small networks is saved.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(MAPPED, LARGE)) and bool(mallopt(TRIM, KEPT))
