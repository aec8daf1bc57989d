"""A run that is killed, or finds the disk full, goes on from a whole checkpoint and ends bit for bit as undisturbed."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from ranks import processes
from tiny import losses, tiny_config, tiny_method, train

from semblance.__main__ import main
from semblance.engine import loop
from semblance.runs import checkpoint
from semblance.runs.folder import RunFolder

METHODS = {  # a queue, a bank, labels and an order of samples, a queue to be filled, a teacher
    "moco": "",
    "npid": "",
    "deepcluster": "--hyper.clusters 5 --hyper.components 8",
    "swav": "--hyper.queue 32",
    "dino": "",
}
IN_CI = ("swav",)
FLAGS = (
    "--image-size 8 --backbone resnet10-w8-cifar --recipe quick --batch-size 16 --epochs 12 --eval-every 0 --workers 0"
    " --precision 32 --no-channels-last --no-compile"
)


def _command_line(arguments: list[str], errors: Path, save_every: float) -> None:
    """`semblance` with every step logged and a checkpoint every so many seconds."""
    torch.set_num_threads(1)
    loop.LOG_EVERY, loop.SAVE_EVERY = 1, save_every
    sys.argv = ["semblance", *arguments]
    with errors.open("a") as sys.stderr:
        main()


def errors_of(out: Path) -> Path:
    """What a run printed as errors, on a disk that is not made full."""
    return out.parent.parent / f"{out.parent.name}-{out.name}.err"


def start(method: str, data: Path, out: Path, save_every: float = 0.0) -> BaseProcess:
    """The run, or what is left of it."""
    resumable = RunFolder(out).config.exists()
    fresh = ["train", method, "--data", str(data), "--out", str(out), *FLAGS.split(), *METHODS[method].split()]
    arguments = ["train", "--resume", "--out", str(out)] if resumable else fresh
    run = processes.Process(daemon=True, target=_command_line, args=(arguments, errors_of(out), save_every))
    run.start()
    return run


def whole(method: str, data: Path, out: Path) -> float:
    """Run to the end undisturbed; how many seconds that took."""
    began = time.monotonic()
    run = start(method, data, out)
    run.join(120)
    assert run.exitcode == 0, errors_of(out).read_text()
    return time.monotonic() - began


def assert_same_end(out: Path, undisturbed: Path) -> None:
    """Two finished runs hold the same bits: weights, optimiser, buffers, backbone, log; and nothing is left over."""
    a, b = (checkpoint.load(RunFolder(folder).checkpoint) for folder in (out, undisturbed))
    for part in ("method", "optimizer", "step"):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0, equal_nan=True)
    assert RunFolder(out).backbone.read_bytes() == RunFolder(undisturbed).backbone.read_bytes()
    assert losses(out) == losses(undisturbed)
    assert {p.name for p in out.rglob("*")} == {p.name for p in undisturbed.rglob("*")}


@pytest.mark.parametrize("kills", [1, pytest.param(12, marks=pytest.mark.long)])
@pytest.mark.parametrize("method", [pytest.param(n, marks=[] if n in IN_CI else [pytest.mark.long]) for n in METHODS])
def test_killed_at_random_moments(method: str, kills: int, pictures: Path, tmp_path: Path, counts: Counter) -> None:
    """Most while it trains, after a step drawn at random, some at any moment from the first import to the report.

    No more is lost than the step under way, or what the interval between checkpoints allows.
    """
    chance, undisturbed = random.Random(method), tmp_path / "undisturbed"
    seconds = whole(method, pictures, undisturbed)
    steps = max(losses(undisturbed))
    survived = 0
    while survived < kills:
        out = tmp_path / f"after-{survived}"
        interval = chance.choice([0.0, 0.1]) if survived else 0.0  # the same until it ends, as its log goes on
        while True:
            first = not out.exists()
            run = start(method, pictures, out, interval)
            if first or chance.random() < 0.7:
                wait_for_step(run, out, chance.randrange(2, steps // 2))
                run.join(chance.uniform(0, 0.03))
            else:
                run.join(chance.uniform(0, seconds))
            if not run.is_alive():
                break
            os.kill(run.pid, signal.SIGKILL)
            run.join()
            survived += 1
            lines, path = RunFolder(out).read_metrics(), RunFolder(out).checkpoint
            kept = checkpoint.load(path) if path.exists() else {"step": 0, "seconds": 0.0}
            logged = max((line["step"] for line in lines), default=0)
            assert interval > 0 or logged - kept["step"] <= 1
            before = [line["seconds"] for line in lines if line["step"] < logged]  # no save was due after these
            assert max(before, default=0.0) - kept["seconds"] <= interval + 1.0  # a step and a save on a busy machine
            phase = "while it trained" if 0 < logged < steps else "before its first step or after its last"
            counts[f"kills survived, {phase}"] += 1
        assert run.exitcode == 0, errors_of(out).read_text()
        assert_same_end(out, undisturbed)


def wait_for_step(run: BaseProcess, out: Path, step: int) -> None:
    """Until the run has logged so many steps, or has ended."""
    while run.is_alive() and max(losses(out), default=0) < step:
        time.sleep(0.002)


def _die_in_checkpoint(out: Path, call: int, moment: str) -> None:
    """Save after every step; die of SIGKILL at the given call of what writes checkpoints."""
    torch.set_num_threads(1)
    loop.SAVE_EVERY = 0.0
    called = 0

    def dying(original):
        def wrapper(*args):
            nonlocal called
            called += 1
            if called == call and moment == "half-written":
                original(*args)
                args[1].truncate(args[1].tell() // 2)
            if called == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args)

        return wrapper

    if moment == "half-written":
        torch.save = dying(torch.save)
    elif moment == "before-fsync":
        os.fsync = dying(os.fsync)
    elif moment == "before-rename":
        Path.replace = dying(Path.replace)
    config = tiny_config("swav")
    resume = RunFolder(out).checkpoint.exists()
    train(tiny_method(config, seed=int(resume)), config, out, resume=resume)


@pytest.mark.parametrize("moment", ["half-written", "before-fsync", "before-rename"])
def test_killed_while_checkpointing(moment: str, tmp_path: Path, counts: Counter) -> None:
    """Twice: a half-written file, one that is not yet on the disk, one that has not yet taken the name."""
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    killed.mkdir()
    for call in (4, 3):
        run = processes.Process(daemon=True, target=_die_in_checkpoint, args=(killed, call, moment))
        run.start()
        run.join(60)
        assert run.exitcode == -signal.SIGKILL
        counts["kills survived, while a checkpoint was written"] += 1
    run = processes.Process(daemon=True, target=_die_in_checkpoint, args=(killed, -1, moment))
    run.start()
    run.join(60)
    assert run.exitcode == 0
    config = tiny_config("swav")
    train(tiny_method(config), config, undisturbed)
    a, b = (checkpoint.load(RunFolder(out).checkpoint) for out in (killed, undisturbed))
    for part in ("method", "optimizer", "step"):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0)
    assert losses(killed) == losses(undisturbed)
    left = {"checkpoints", "last.ckpt", "metrics.jsonl", "config.yaml"}
    assert {p.name for p in killed.rglob("*")} == left  # and nothing half written


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of a given size, in memory."""
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("trouble", ["full", pytest.param("read-only", marks=pytest.mark.long)])
def test_disk_full_or_read_only_in_the_middle_of_a_run(
    trouble: str, pictures: Path, tmp_path: Path, counts: Counter
) -> None:
    """The run says so and how to go on; the checkpoint stays whole; with room it ends as undisturbed."""
    whole("moco", pictures, tmp_path / "undisturbed")
    with small_disk(tmp_path / "disk", "8m") as disk:
        out, filler = disk / "run", disk / "filler"
        run = start("moco", pictures, out)
        while not RunFolder(out).checkpoint.exists() and run.is_alive():
            time.sleep(0.005)
        if trouble == "full":
            fill(filler)
        else:
            mount("-o", "remount,ro", str(disk))
        run.join(60)
        assert run.exitcode == 2
        assert re.search("Cannot write .*: (No space|Read-only).* --resume --out", errors_of(out).read_text())
        checkpoint.load(RunFolder(out).checkpoint)
        mount("-o", "remount,rw", str(disk))
        filler.unlink(missing_ok=True)
        run = start("moco", pictures, out)
        run.join(60)
        assert run.exitcode == 0, errors_of(out).read_text()
        assert_same_end(out, tmp_path / "undisturbed")
    counts["disks that filled up or became read-only"] += 1


def fill(path: Path) -> None:
    """Take what room a disk has left, for as long as files on it come and go."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def test_sigterm_saves_first(pictures: Path, tmp_path: Path) -> None:
    """As Slurm and spot machines send it, long before a checkpoint is due: no step is lost."""
    whole("moco", pictures, tmp_path / "undisturbed")
    out = tmp_path / "run"
    run = start("moco", pictures, out, save_every=1e9)
    while not RunFolder(out).metrics.exists() and run.is_alive():
        time.sleep(0.005)
    run.terminate()
    run.join(60)
    assert run.exitcode == 130
    assert checkpoint.load(RunFolder(out).checkpoint)["step"] == max(losses(out)) < 36
    assert (last := start("moco", pictures, out)).join(60) is None and last.exitcode == 0
    assert_same_end(out, tmp_path / "undisturbed")
