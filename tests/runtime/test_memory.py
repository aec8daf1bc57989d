"""What memory is left, by files as Linux has them: of both versions of control groups, in containers or not."""

import os
from pathlib import Path

import pytest

from semblance.errors import UserError
from semblance.runtime.memory import _available, told_when_short

GIB, MIB = 1 << 30, 1 << 20


def tree(root: Path, groups: str, files: dict[str, dict[str, int | str]]) -> Path:
    """The files of a machine with 64 GiB free. groups: /proc/self/cgroup. files: numbers by a group's folder."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 1 kB\nMemAvailable:   67108864 kB\nHugePages_Total: 0\n")
    (root / "proc/self/cgroup").write_text(groups)
    for folder, numbers in files.items():
        path = root / "sys/fs/cgroup" / folder
        path.mkdir(parents=True, exist_ok=True)
        stat = {name: value for name, value in numbers.items() if not name.startswith("memory.")}
        (path / "memory.stat").write_text("".join(f"{name} {value}\n" for name, value in stat.items()))
        for name in numbers.keys() - stat.keys():
            (path / name).write_text(f"{numbers[name]}\n")
    return root


def second(limit: int | str, used: int, **stat: int) -> dict[str, int | str]:
    return {"memory.max": limit, "memory.high": "max", "memory.current": used, **stat}


def first(limit: int, used: int, **stat: int) -> dict[str, int | str]:
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, **stat}


CASES = {
    "no groups": ("", {}, 64 * GIB),
    "no limit": ("0::/a\n", {"": second("max", 9 * GIB), "a": second("max", GIB)}, 64 * GIB),
    "a limit": ("0::/\n", {"": second(32 * GIB, 2 * GIB)}, 30 * GIB),
    "full of clean pages": (
        "0::/\n", {"": second(32 * GIB, 32 * GIB - 200 * MIB, inactive_file=20 * GIB, active_file=10 * GIB)},
        30 * GIB + 200 * MIB,
    ),
    "pages to be written": (
        "0::/\n",
        {"": second(32 * GIB, 30 * GIB, inactive_file=20 * GIB, file_dirty=15 * GIB, file_writeback=GIB)}, 6 * GIB,
    ),
    "above the limit": ("0::/\n", {"": second(GIB, 2 * GIB)}, 0),
    "throttled": ("0::/\n", {"": second(32 * GIB, GIB) | {"memory.high": 8 * GIB}}, 7 * GIB),
    "nested, the outer is tighter": (
        "0::/slice/job/step\n",
        {"slice": second(8 * GIB, 5 * GIB, inactive_file=GIB), "slice/job": second("max", GIB),
         "slice/job/step": second(16 * GIB, GIB)}, 4 * GIB,
    ),
    "nested, the inner is tighter": ("0::/a/b\n", {"a": second(9 * GIB, GIB), "a/b": second(2 * GIB, GIB)}, GIB),
    "in a container, whose group has another name outside": (
        "0::/docker/0123\n", {"": second(4 * GIB, GIB, inactive_file=GIB // 2)}, 7 * GIB // 2,
    ),
    "outside of what is mounted": ("0::/../../other\n", {"": second(4 * GIB, GIB)}, 3 * GIB),
    "version 1": (
        "5:memory:/job\n4:cpu,cpuacct:/\n0::/\n",
        {"memory/job": first(16 * GIB, 15 * GIB, total_inactive_file=10 * GIB, total_active_file=GIB)}, 12 * GIB,
    ),
    "version 1, pages to be written": (
        "5:memory:/\n", {"memory": first(16 * GIB, 15 * GIB, total_inactive_file=10 * GIB, total_dirty=4 * GIB)},
        7 * GIB,
    ),
    "version 1, a limit of a group that cannot be seen": (
        "5:memory:/docker/0123\n", {"memory": first(2**63 - 4096, GIB, hierarchical_memory_limit=3 * GIB)}, 2 * GIB,
    ),
    "version 1, nested": (
        "5:memory:/a/b\n", {"memory/a": first(6 * GIB, 2 * GIB), "memory/a/b": first(2**63 - 4096, GIB)}, 4 * GIB,
    ),
    "both versions": (
        "5:memory:/a\n0::/b\n", {"memory/a": first(6 * GIB, GIB), "unified/b": second(3 * GIB, GIB)}, 2 * GIB,
    ),
    "not numbers": ("0::/\n", {"": second("lots", GIB) | {"memory.high": ""}}, 64 * GIB),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_memory_that_is_left(case: str, tmp_path: Path) -> None:
    groups, files, left = CASES[case]
    assert _available(tree(tmp_path, groups, files)) == left


def test_without_such_files_it_is_half_of_the_machine(tmp_path: Path) -> None:
    assert _available(tmp_path) > 0


def test_a_lack_of_memory_is_a_line_and_another_error_is_not() -> None:
    import torch

    with pytest.raises(UserError, match="Out of memory .*--batch-size"), told_when_short():
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shape"), told_when_short():
        torch.zeros(3).view(2)


def test_a_limit_counts_though_the_rest_is_hidden_and_groups_have_any_name(tmp_path: Path) -> None:
    root = tree(tmp_path, "", {os.fsdecode(b"caf\xe9"): second(4 * GIB, GIB)})
    (root / "proc/self/cgroup").write_bytes(b"0::/caf\xe9\n")
    assert _available(root) == 3 * GIB
    (group,) = (root / "sys/fs/cgroup").iterdir()
    (group / "memory.stat").unlink()
    assert _available(root) == 3 * GIB
    (group / "memory.current").unlink()
    assert _available(root) == 4 * GIB
