"""Progress where no bar can be drawn."""

import time

import pytest

from semblance.runtime.progress import Progress, with_progress


def test_lines_now_and_then_off_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    for shown in (True, False):
        with Progress("simclr", 100, 10, shown) as progress:
            progress.loss = 1.5
            for step in range(1, 71):
                now += 1.0
                progress.advance(step)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"step {s} of 100  loss 1.500  10 samples/s  0:0{left} left"
        for s, left in ((6, "1:34"), (37, "1:03"), (68, "0:32"))
    ]


def test_other_work_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    for _ in with_progress("Reading clips", iter(range(50)), 50):
        now += 1.0
    with Progress("swav", 100, 10) as progress:
        for _ in progress.track(range(10), "k-means"):
            now += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Reading clips: 6 of 50, 0:00:44 left", "Reading clips: 37 of 50, 0:00:13 left", "k-means: 6 of 10"
    ]  # fmt: skip
