"""How a run ends other than well: a loss that is no number, Ctrl-C, a crash between log and checkpoint."""

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import BinaryIO
from unittest import mock

import numpy as np
import pytest
import torch
from ranks import processes
from tiny import BATCH, CPU, PICTURES, losses, tiny_config, tiny_images, tiny_method, train

from semblance.__main__ import main
from semblance.engine import loop
from semblance.engine.optimizers import make_optimizer
from semblance.errors import UserError
from semblance.runs import checkpoint
from semblance.runs.folder import RunFolder
from semblance.runtime import random
from semblance.runtime.progress import Progress
from semblance.systems import Clock


def spoil(method, step: int, what: str) -> None:
    """From the given step on the loss is NaN, or its gradient is."""
    objective = method.objective

    def spoilt(z, index, clock):
        loss, numbers = objective(z, index, clock)
        if clock.step + 1 == step:
            bad = next(iter(z.values())).sum() * 0 + 1
            bad.register_hook(lambda g: g * float("nan"))
            loss = loss * float("nan") if what == "loss" else loss * bad
        return loss, numbers

    method.objective = spoilt


def order_of(config, step: int) -> list[int]:
    """The samples of a step, by what the epoch visits."""
    epoch, place = divmod(step - 1, 3)
    key = random.key(config.seed, "order", epoch)
    return random.permutation(key, PICTURES)[place * BATCH :][:BATCH].tolist()


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("log_every", [1, 100], ids=["logged", "not-logged"])
def test_nan_stops_and_leaves_the_last_good_checkpoint(what: str, log_every: int, tmp_path: Path) -> None:
    config, folder = tiny_config("simclr"), RunFolder(tmp_path)
    method = tiny_method(config)
    spoil(method, 5, what)
    with (
        mock.patch.multiple(loop, SAVE_EVERY=0.0, LOG_EVERY=log_every),
        pytest.raises(UserError, match="at step 5.*--lr"),
    ):
        loop.fit(method, tiny_images(), config, folder, CPU)
    kept = checkpoint.load(folder.checkpoint)
    assert kept["step"] == 4
    listed = json.loads(folder.diverged.read_text())
    assert (listed["step"], len(listed["samples"]), bool(listed["weights"])) == (5, 16, True)
    assert listed["samples"] == [int(name) for name in listed["names"]] == order_of(config, 5)
    assert all(t.isfinite().all() for t in kept["method"].values())


def test_nan_between_two_looks_is_told_as_of_its_own_step(tmp_path: Path) -> None:
    """Steps are looked at together, so that a GPU is not waited for; none of them has been saved."""
    config, folder = tiny_config("simclr"), RunFolder(tmp_path)
    method = tiny_method(config)
    spoil(method, 3, "gradient")
    with pytest.raises(UserError, match="at step 3;"):
        loop.fit(method, tiny_images(), config, folder, CPU)
    listed = json.loads(folder.diverged.read_text())
    assert (listed["step"], listed["samples"]) == (3, order_of(config, 3))
    assert not folder.checkpoint.exists() and list(losses(tmp_path)) == [1]


@pytest.mark.parametrize("name", ["deepcluster", "deepcluster-v2", "sela", "sela-v2"])
def test_nan_is_told_before_features_are_grouped(name: str, tmp_path: Path) -> None:
    config, folder = tiny_config(name), RunFolder(tmp_path)
    method, track = tiny_method(config), Progress.track
    spoil(method, 3, "gradient")  # the last one of an epoch

    def watch(self, items, what):
        assert all(p.isfinite().all() for p in method.parameters()), what
        return track(self, items, what)

    with mock.patch.object(Progress, "track", watch), pytest.raises(UserError, match="at step 3;"):
        loop.fit(method, tiny_images(), config, folder, CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_does_not_wait_for_the_gpu() -> None:
    config, cuda = tiny_config("simclr"), torch.device("cuda")
    method = tiny_method(config).to(cuda)
    optimizer = make_optimizer("sgd", method, weight_decay=0.0)
    batch = (*tiny_images().read(torch.arange(16)), torch.arange(16))
    for i in range(3):  # the first ones allocate
        torch.cuda.set_sync_debug_mode("error" if i == 2 else "default")
        try:
            loop.step(method, optimizer, batch, config, Clock(i, 10, 3, 0), cuda)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("lr", [1e18, 1e22, 1e30])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_wild_rate_is_told_whatever_it_does(lr: float, optimizer: str, tmp_path: Path) -> None:
    """Weights may be finite and still too large for their norm; without a checkpoint none is spoken of."""
    config = tiny_config("byol", optimizer=optimizer, warmup_epochs=0.0).model_copy(update={"lr": lr})
    with pytest.raises(UserError, match="at step .*diverged.json") as told:
        train(tiny_method(config), config, tmp_path)
    assert "--resume" not in str(told.value)
    assert len(json.loads(RunFolder(tmp_path).diverged.read_text())["samples"]) == 16


def test_interrupted_at_a_nan_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    config, folder = tiny_config("simclr"), RunFolder(tmp_path)
    good = tiny_method(config)
    good.update = lambda z, index, clock: signal.raise_signal(signal.SIGINT)
    assert loop.fit(good, tiny_images(), config, folder, CPU).step == 1
    bad = tiny_method(config)
    spoil(bad, 2, "loss")
    bad.update = good.update
    with pytest.raises(UserError):
        loop.fit(bad, tiny_images(), config, folder, CPU, resume=True)
    assert checkpoint.load(folder.checkpoint)["step"] == 1


def test_resume_logs_no_step_twice(tmp_path: Path) -> None:
    """What was logged after the checkpoint, and a line cut short by the crash, are dropped."""
    config, folder = tiny_config("simclr", max_steps=6), RunFolder(tmp_path)
    train(tiny_method(config), config, tmp_path)
    early = tmp_path / "early"
    method = tiny_method(config)
    method.update = lambda z, index, clock: signal.raise_signal(signal.SIGINT) if clock.step == 2 else None
    train(method, config, early)
    folder.checkpoint.write_bytes(RunFolder(early).checkpoint.read_bytes())  # of step 3; the log has 6
    with folder.metrics.open("a") as file:
        file.write('{"step": 7, "lo')
    whole = losses(tmp_path)
    assert train(tiny_method(config), config, tmp_path, resume=True).finished
    assert losses(tmp_path) == whole
    assert list(whole) == [1, 2, 3, 4, 5, 6]


def test_resume_of_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    config, folder = tiny_config("simclr", max_steps=2), RunFolder(tmp_path)
    train(tiny_method(config), config, tmp_path)
    before = folder.checkpoint.read_bytes(), folder.metrics.read_text()
    assert train(tiny_method(config), config, tmp_path, resume=True).finished
    assert (folder.checkpoint.read_bytes(), folder.metrics.read_text()) == before


def die(file: BinaryIO) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("of", ["checkpoint", "backbone", "metrics", "config"])
def test_what_a_kill_left_half_written_is_cleared_away(of: str, tmp_path: Path) -> None:
    """Though no step is left to be made, or there is no configuration yet to resume from; and nothing else is."""
    config = tiny_config("simclr", max_steps=2)
    train(tiny_method(config), config, tmp_path)
    (tmp_path / ".own.tmp").touch()
    config.save(RunFolder(tmp_path).config)
    before = set(tmp_path.rglob("*"))

    killed = processes.Process(target=checkpoint.write_atomically, args=(getattr(RunFolder(tmp_path), of), die))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert len(set(tmp_path.rglob("*")) - before) == 1
    train(tiny_method(config), config, tmp_path, resume=of != "config")
    assert set(tmp_path.rglob("*")) == before


def test_evaluation_is_logged_and_leaves_training_alone(tmp_path: Path) -> None:
    config = tiny_config("simclr", max_steps=7)
    watched = config.model_copy(update={"eval_every": 1})
    train(method := tiny_method(config), config, tmp_path / "plain")
    train_watched = tiny_method(config)
    folder = RunFolder(tmp_path)
    loop.fit(train_watched, tiny_images(), watched, folder, CPU, evaluate=lambda: {"knn_top1": 0.5})
    assert [line["step"] for line in folder.read_metrics() if "knn_top1" in line] == [3, 6]
    torch.testing.assert_close(train_watched.state_dict(), method.state_dict(), rtol=0, atol=0)


def test_seconds_are_of_training_over_all_parts_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 2 seconds, an evaluation 1000; checkpoints are written every 5 seconds, and at the end."""
    now, saved = [0.0], []
    config = tiny_config("simclr", max_steps=8).model_copy(update={"eval_every": 1})
    write = checkpoint.save

    def pass_by(seconds: float) -> dict[str, float]:
        now[0] += seconds
        return {"knn_top1": 0.5}

    def note(path: Path, state: dict) -> None:
        saved.append((state["step"], state["seconds"]))
        write(path, state)

    def part(stop: int, resume: bool) -> loop.Trained:
        method = tiny_method(config)

        def update(z: object, index: object, clock: Clock) -> None:
            pass_by(2.0)
            if clock.step + 1 == stop:
                signal.raise_signal(signal.SIGINT)

        method.update = update
        evaluate = partial(pass_by, 1000.0)
        return loop.fit(method, tiny_images(), config, RunFolder(tmp_path), CPU, resume=resume, evaluate=evaluate)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(checkpoint, "save", note)
    monkeypatch.setattr(loop, "SAVE_EVERY", 5.0)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    first, whole = part(5, False), part(0, True)
    assert (first.step, first.seconds, first.finished) == (5, 10.0, False)
    assert (whole.step, whole.began, whole.seconds, whole.samples_per_second(BATCH)) == (8, 5, 16.0, BATCH / 2)
    assert saved == [(3, 6.0), (5, 10.0), (6, 12.0), (8, 16.0)]  # an evaluation takes longer than 5 seconds
    lines = RunFolder(tmp_path).read_metrics()
    assert [line["step"] for line in lines] == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8]
    assert [line["seconds"] for line in lines] == [2.0 * line["step"] for line in lines]
    speeds = [line["samples_per_second"] for line in lines if "loss" in line and line["step"] not in (1, 6)]
    assert speeds == [BATCH / 2] * len(speeds)


def test_second_ctrl_c_stops_at_once() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
    with pytest.raises(KeyboardInterrupt), loop.interruptible() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _command_line(arguments: list[str], printed: Path) -> None:
    torch.set_num_threads(1)
    sys.argv = ["semblance", *arguments]
    with printed.open("w") as sys.stdout:
        main()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    """Status 130; what is printed, given to a shell, goes on from there."""
    pictures, out, printed = tmp_path / "pictures.npy", tmp_path / "run", tmp_path / "printed"
    np.save(pictures, tiny_images().pixels.permute(0, 2, 3, 1).numpy())
    flags = "--image-size 8 --backbone resnet10-w8-cifar --recipe quick --batch-size 16 --hyper.hidden 16"
    flags += " --precision 32 --no-channels-last --no-compile --epochs 100000"
    command = ["train", "simclr", "--data", str(pictures), "--out", str(out), *flags.split()]
    run = processes.Process(target=_command_line, args=(command, printed))
    run.start()
    deadline = time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() and run.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(run.pid, number)
    run.join(60)
    assert run.exitcode == 130
    assert printed.read_text() == f"semblance train --resume --out {out}\n"
    saved = checkpoint.load(RunFolder(out).checkpoint)
    assert saved["step"] >= 1
    assert max(losses(out)) <= saved["step"]
