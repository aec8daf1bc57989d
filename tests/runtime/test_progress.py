"""Progress where no bar can be drawn."""

import time

import pytest

from semblance.runtime.progress import Progress


def test_a_line_every_half_minute_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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
        f"step {s} of 100  loss 1.500  10 samples/s  0:0{left} left" for s, left in ((31, "1:09"), (62, "0:38"))
    ]
