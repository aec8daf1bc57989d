"""How much memory a data set may take."""

import os
from dataclasses import dataclass
from pathlib import Path

from semblance.errors import UserError


@dataclass(frozen=True)
class Limits:
    """bytes: what a set may take in memory. workers: decoding threads."""

    bytes: int
    workers: int

    @classmethod
    def of_machine(cls, fraction: float, workers: int | None) -> "Limits":
        """The fraction of the memory now available, 8 GiB at most, and a thread for each processor."""
        return cls(int(min(8 << 30, fraction * _available())), workers or os.cpu_count() or 1)


def too_large(path: Path | str, needed: int, limits: Limits, remedy: str) -> UserError:
    gib = 1 << 30
    return UserError(
        f"{path} needs {needed / gib:.2f} GiB of memory; more than {limits.bytes / gib:.2f} GiB would leave too little "
        f"for training: {remedy}."
    )


def _available() -> int:
    """Bytes of memory that can still be taken; where the system does not tell, half of what the machine has."""
    try:
        meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(meminfo["MemAvailable"].split()[0]) << 10
    except OSError:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:  # a container may be allowed less than its machine has
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        return min(free, limit - used)
    except (OSError, ValueError):
        return free
