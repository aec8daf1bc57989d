"""How much memory a data set may take."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from semblance.errors import UserError
from semblance.shown import shown


@dataclass(frozen=True)
class _Version:
    """How a version of cgroups names what it counts. files, unwritten, above: in memory.stat."""

    limits: tuple[str, ...]
    used: str
    files: tuple[str, ...]
    unwritten: tuple[str, ...]
    above: tuple[str, ...] = ()  # limits of the groups around it


_VERSIONS = (
    _Version(
        ("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file"),
        ("file_dirty", "file_writeback"),
    ),
    _Version(
        ("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"),
        ("total_dirty", "total_writeback"), ("hierarchical_memory_limit",),
    ),
)  # fmt: skip
_REFUSED = re.compile(r"can't allocate memory|(not enough|out of) memory|(calculation|multiplication) overflow")


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
        f"{shown(path)} needs {needed / gib:.2f} GiB of memory; more than {limits.bytes / gib:.2f} GiB would leave too "
        f"little for training: {remedy}."
    )


@contextmanager
def told_when_short() -> Iterator[None]:
    """Within, a lack of memory is a UserError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _REFUSED.search(str(error)):
            raise
        why = (str(error).splitlines() or ["no more memory"])[0]
        raise UserError(
            f"Out of memory ({why}). A smaller --batch-size, --micro-batch, --image-size, network or hyper-parameter "
            "takes less."
        ) from error


def _available(root: Path = Path("/")) -> int:
    """Bytes of memory that can still be taken, in the group of processes that is allowed least; where the system does
    not tell, half of what the machine has.

    root: of the files by which Linux tells.
    """
    try:
        meminfo = _numbers(root / "proc/meminfo")
        free = meminfo["MemAvailable"] << 10
    except (KeyError, OSError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(0, min([free, *_left_in_groups(root)]))


def _left_in_groups(root: Path) -> Iterator[int]:
    """What each group that this process is in, or that one of those lies in, may still take. Unmodified pages of files
    count as free: the system gives them up before it refuses memory."""
    for folder in _groups(root):
        for version in _VERSIONS:
            used, stat = 0, {}
            with suppress(OSError, ValueError):  # a sandbox may hide either of them
                used = int((folder / version.used).read_text())
            with suppress(OSError):
                stat = _numbers(folder / "memory.stat")
            clean = sum(stat.get(name, 0) for name in version.files)
            clean -= sum(stat.get(name, 0) for name in version.unwritten)
            limits = [stat[name] for name in version.above if name in stat]
            for name in version.limits:
                with suppress(OSError, ValueError):  # "max", where there is none
                    limits.append(int((folder / name).read_text()))
            yield from (limit - used + min(used, max(0, clean)) for limit in limits)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups and of those around them, as far as they can be seen from here: a container
    may have its own group for the root, under whatever name the machine knows it by."""
    mounted = root / "sys/fs/cgroup"
    lines: list[str] = []
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text(errors="surrogateescape").splitlines()
    own = dict(line.split(":", 2)[1:] for line in lines if line.count(":") >= 2)  # path by controllers
    first = next((path for controllers, path in own.items() if "memory" in controllers.split(",")), "/")
    second = own.get("", "/")
    for base, path in ((mounted, second), (mounted / "unified", second), (mounted / "memory", first)):
        folder = PurePosixPath(path.lstrip("/"))
        if ".." not in folder.parts:  # of a group outside of what is mounted
            yield from (base / inner for inner in (folder, *folder.parents) if inner != PurePosixPath("."))
        yield base


def _numbers(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.replace(":", " ").split() for line in path.read_text(errors="replace").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
