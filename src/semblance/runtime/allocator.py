"""The C allocator on a CPU: the memory of one step's activations is reused in the next."""

import ctypes
import sys

TRIM, MAPPED = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
KEPT = 2**31 - 1  # bytes of freed memory kept at hand
LARGE = 2**30, 2**25  # bytes; only larger blocks go back to the system at once. glibc before 2.35: the second at most


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory, instead of having the system clear the same pages at every step.

    Returns whether that worked, which needs Linux with glibc. Lasts as long as the process (benchmarks/allocator.py).
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and any(mallopt(MAPPED, size) for size in LARGE) and bool(mallopt(TRIM, KEPT))


def give_back_freed_memory() -> None:
    """Have glibc return what is freed to the system now: after something large that will not come again."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
