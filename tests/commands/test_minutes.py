"""--minutes: steps for as long as there is, tried at the start; on a clock that moves only by what is pretended."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import run as command

import semblance as sb
from semblance import modalities
from semblance.errors import UserError
from semblance.evaluation.table import Labelled

FAST = {
    "recipe": "quick", "backbone": "resnet10-w8-cifar", "image_size": 8, "batch_size": 8, "precision": "32",
    "channels_last": False, "compile": False, "workers": 0,
}  # fmt: skip
SLOW = '''
import time

from semblance.systems import get


class Slow(get("simclr")):
    """A step takes 0.25 s."""

    def objective(self, z, index, clock):
        time.perf_counter.now += 0.25
        return super().objective(z, index, clock)


class Groups(Slow):
    """And an epoch is begun in 2 s, the first of a process in 9."""

    first = True

    def start_step(self, whole, clock):
        if clock.step % clock.steps_per_epoch == 0:
            time.perf_counter.now += 9 if Groups.first else 2
            Groups.first = False
'''


class Clock:
    """Seconds that pass only where `now` is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A machine on which a linear probe takes 4 s, a kNN 0.5 s, and a step of Slow 0.25 s."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)

    def slowed(name: str, seconds: float) -> None:
        real = getattr(Labelled, name)

        def slow(self: Labelled, *given, **named):
            clock.now += seconds
            return real(self, *given, **named)

        monkeypatch.setattr(Labelled, name, slow)

    slowed("linear", 4.0)
    slowed("knn_top1", 0.5)
    return clock


@pytest.fixture
def task(tmp_path: Path) -> dict:
    (tmp_path / "my.py").write_text(SLOW)
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=np.arange(60) % 2, x_test=x[:20], y_test=np.arange(20) % 2)
    return FAST | {"method": f"{tmp_path / 'my.py'}:Slow", "data": tmp_path / "x.npz"}


def losses(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.parametrize("minutes", [1, 1.5])
def test_it_takes_as_long_as_there_is(clock: Clock, task: dict, tmp_path: Path, minutes: float) -> None:
    """The report itself takes nothing here; 3 s are set aside for it."""
    began, run = clock(), tmp_path / "run"
    summary = sb.train(out=run, minutes=minutes, **task)
    assert 0.9 * 60 * minutes < clock() - began < 60 * minutes
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["max_steps"] == summary["steps"] == summary["total_steps"] > 50
    assert "minutes" not in config and config["epochs"] == -(-summary["steps"] // 7)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == summary["steps"] and last["lr"] < 1e-3 * config["lr"]  # the cosine to its end


def test_a_first_clustering_that_is_slower_is_not_taken_for_all(clock: Clock, task: dict, tmp_path: Path) -> None:
    began = clock()
    sb.train(out=tmp_path / "run", minutes=1.5, **task | {"method": task["method"].replace(":Slow", ":Groups")})
    assert 0.9 * 90 < clock() - began < 90


@pytest.mark.long
def test_what_a_start_costs_at_the_end_is_counted(
    clock: Clock, task: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last and what was kept are measured once more."""
    sb.train(out=tmp_path / "start", max_steps=2, **task)
    look = modalities.named("pictures").watch

    def slow(*given):
        clock.now += 4
        return look(*given)

    monkeypatch.setattr(modalities.named("pictures"), "watch", slow)
    began = clock()
    sb.train(out=tmp_path / "run", init=str(tmp_path / "start"), minutes=2, **task)
    assert 0.9 * 120 < clock() - began < 120


def test_a_trial_that_diverges_is_told(clock: Clock, task: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"It diverged at step \d of those that were timed: give a lower --lr[.]$"):
        sb.train(out=tmp_path / "run", minutes=1, **task | {"lr": 1e12, "optimizer": "sgd"})
    assert not (tmp_path / "run").exists()


def test_the_run_is_that_of_its_steps(clock: Clock, task: dict, tmp_path: Path) -> None:
    """And is resumed to the same number of them."""
    one, other = tmp_path / "one", tmp_path / "other"

    class Stop:
        def on_step(self, step, numbers, method):
            if step == 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sb.train(out=one, minutes=1, callbacks=[Stop()], **task)
    steps = yaml.safe_load((one / "config.yaml").read_text())["max_steps"]
    clock.now += 1e6
    assert sb.train(resume=one)["steps"] == steps
    whole = sb.train(config=one, out=other)
    assert whole["steps"] == steps and losses(one) == losses(other)
    assert whole["table"] == json.loads((one / "summary.json").read_text())["table"]


def test_it_is_told_before_it_is_done(clock: Clock, task: dict, tmp_path: Path, capsys) -> None:
    found = sb.train(minutes=1, dry_run=True, **task)
    assert found["config"]["max_steps"] == found["steps"] > 50 and not (tmp_path / "runs").exists()
    assert f"--minutes 1 are {found['steps']:,} steps of 0.25 s" in capsys.readouterr().err


def test_too_little_time_is_told(clock: Clock, task: dict, tmp_path: Path, capsys) -> None:
    with pytest.raises(UserError, match=r"--minutes 0.3 leaves no time to train: \d+ s have passed.*Give --minutes 2"):
        sb.train(minutes=0.3, out=tmp_path / "run", **task)
    assert "Under a minute" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("other", ["--epochs", "--max-steps"])
def test_one_says_how_long(other: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert command(monkeypatch, "train", "--minutes", "2", other, "3", "--data", "nowhere") == 2
    assert f"--minutes and {other} contradict each other: leave one out." in capsys.readouterr().err


def test_a_configuration_gives_way(clock: Clock, task: dict, tmp_path: Path) -> None:
    """Its epochs to --minutes, and its minutes to --epochs."""
    (tmp_path / "own.yaml").write_text("epochs: 3\nmax_steps: 7\n")
    own = {"config": tmp_path / "own.yaml", "dry_run": True}
    assert sb.train(minutes=1, **own, **task)["steps"] > 50
    (tmp_path / "own.yaml").write_text("minutes: 1\n")
    assert sb.train(epochs=1, **own, **task)["steps"] == 7
    assert sb.train(**own, **task)["steps"] > 50
    (tmp_path / "own.yaml").write_text("minutes: 1\nepochs: 3\n")
    with pytest.raises(UserError, match="contradict"):
        sb.train(**own, **task)


def test_a_run_that_goes_on_has_its_steps(clock: Clock, task: dict, tmp_path: Path) -> None:
    sb.train(out=tmp_path / "run", epochs=1, **task)
    with pytest.raises(UserError, match="leave out --minutes"):
        sb.train(resume=tmp_path / "run", minutes=1)
