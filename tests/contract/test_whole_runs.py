"""Every method through the command to its end, summary.json and report.html, on two ranks as on one."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from promises import Keep
from ranks import Ranks
from tiny import deviation, losses, tiny_clips, tiny_config, tiny_images

import semblance as sb
from semblance import systems
from semblance.__main__ import main
from semblance.runs import checkpoint
from semblance.runs.folder import RunFolder

HELD_OUT = 11  # an odd number, so that ranks have unequal shares


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The tiny samples as files with labels and a held-out part: clips, or not."""
    root = tmp_path_factory.mktemp("data")
    images = tiny_images()
    pixels, labels = images.pixels.permute(0, 2, 3, 1).numpy(), images.attributes["class"].values.numpy()
    np.savez(
        root / "pictures.npz", x_train=pixels, y_train=labels, x_test=255 - pixels[:HELD_OUT], y_test=labels[:HELD_OUT]
    )
    clips = tiny_clips(tiny_config("avid"))
    frames = np.stack([clip[:3].permute(0, 2, 3, 1).numpy() for clip in clips.frames])
    sounds = np.stack([sound[:500].numpy() / 32768 for sound in clips.sounds])
    known = clips.attributes["shape"].values.numpy()
    part = slice(HELD_OUT)
    np.savez(
        root / "clips.npz", x_train=frames, sound_train=sounds, y_train=known, x_test=255 - frames[part],
        sound_test=sounds[part], y_test=known[part], rate=clips.sound.rate, fps=clips.video.fps,
    )  # fmt: skip
    return {False: root / "pictures.npz", True: root / "clips.npz"}


@pytest.mark.in_ci("simclr", "npid", "moco", "swav", "deepcluster", "dino", "vicreg", "avid-cma")
def test_two_ranks_end_as_one(
    method: str, two_ranks: Ranks, data: dict[bool, Path], tmp_path: Path, keep: Keep
) -> None:
    """In processes that live on, from the words of the command line."""

    def start(words: list[str]) -> str:
        first, second = two_ranks(_semblance, words)
        assert not second  # the first rank alone prints
        return first

    keep("command", _deviation(method, start, data, tmp_path), 1e-9)


IN_CI = {("deepcluster", "--devices"), ("avid-cma", "torchrun")}  # SimCLR is in test_launch.py


@pytest.mark.parametrize(
    ("method", "launcher"),
    [
        pytest.param(*case, marks=[] if case in IN_CI else [pytest.mark.long])
        for case in product(systems.names(), ("--devices", "torchrun"))
    ],
)
def test_two_processes_end_as_one(
    method: str, launcher: str, data: dict[bool, Path], tmp_path: Path, keep: Keep
) -> None:
    """As they are started by people."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

    def start(words: list[str]) -> str:
        program = ["-m", "semblance", *words]
        command = [*torchrun, *program] if launcher == "torchrun" else [*program, "--devices", "2"]
        own = os.environ | {"OMP_NUM_THREADS": "1"}
        ended = subprocess.run([sys.executable, *command], env=own, capture_output=True, text=True, timeout=240)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    keep("command", _deviation(method, start, data, tmp_path), 1e-9)


def _deviation(method: str, start: Callable[[list[str]], str], data: dict[bool, Path], tmp_path: Path) -> float:
    """The largest one between the runs of two processes, which `start` starts, and of one, to the end of both."""
    config, one, two = tmp_path / "config.yaml", tmp_path / "one", tmp_path / "two"
    tiny_config(method, precision="64", eval_every=2).save(config)
    flags = {"config": str(config), "data": str(data[not systems.get(method).of_pictures()])}
    with contextlib.redirect_stdout(io.StringIO()):
        sb.train(out=str(one), **flags)
    assert "held-out" in start(["train", *_words(flags), "--out", str(two)])
    assert "<html" in RunFolder(two).report.read_text()
    a, b = (json.loads(RunFolder(out).summary.read_text()) for out in (two, one))
    assert len(a["table"]) == 3 and _measured(a, SENSITIVE) == pytest.approx(_measured(b, SENSITIVE), abs=1e-6)
    assert _measured(a) == pytest.approx(_measured(b), abs=1e-9)
    assert {p.name for p in two.iterdir()} == {p.name for p in one.iterdir()}
    state, alone = (checkpoint.load(RunFolder(out).checkpoint)["method"] for out in (two, one))
    return max(deviation(state, alone), deviation(losses(two), losses(one)))


def _semblance(words: list[str]) -> str:
    """`semblance` in this process; what it printed."""
    sys.argv = ["semblance", *words]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main()
    return printed.getvalue()


def _words(flags: dict[str, str]) -> list[str]:
    return [word for name, value in flags.items() for word in (f"--{name}", value)]


TIMES = {"seconds", "training_seconds", "samples_per_second"}
SENSITIVE = {
    "label_free",
    "evidence",
}  # numbers that take roots of eigenvalues, or divide by them, that may be 0 but for rounding


def _measured(summary: dict[str, Any], chosen: set[str] | None = None) -> dict[str, Any]:
    """Every number of a summary that was measured, by where it stands: those with a chosen word in that, or all the
    others but times."""
    found = {where: n for where, n in _flat(summary) if isinstance(n, float)}
    if chosen is not None:
        return {where: n for where, n in found.items() if chosen & {*where.split("/")}}
    return {where: n for where, n in found.items() if not (TIMES | SENSITIVE) & {*where.split("/")}}


def _flat(value: Any, where: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        return [(where, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [pair for name, inner in items for pair in _flat(inner, f"{where}/{name}")]
