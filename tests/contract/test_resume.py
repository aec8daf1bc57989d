"""A run that was stopped and resumed, twice, ends bit for bit where an undisturbed one does."""

import signal
from pathlib import Path

import pytest
import torch
from tiny import losses, tiny_config, tiny_method, train

from semblance.engine import checkpoint
from semblance.engine.folder import RunFolder
from semblance.systems import Method


def interrupt_after(method: Method, step: int) -> None:
    """Ctrl-C while the given step is under way."""
    update = method.update

    def update_and_interrupt(z, index, clock) -> None:
        update(z, index, clock)
        if clock.step + 1 == step:
            signal.raise_signal(signal.SIGINT)

    method.update = update_and_interrupt


# step 3 ends an epoch: the warm-up, frozen prototypes; step 5 fills a queue of two batches
@pytest.mark.parametrize("stops", [(2, 4), (3, 7)], ids=str)
def test_resume_is_no_resume(method: str, stops: tuple[int, ...], tmp_path: Path) -> None:
    config = tiny_config(method)
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    train(tiny_method(config), config, undisturbed)
    for attempt, stop in enumerate(stops):
        run = tiny_method(config, seed=attempt)  # other weights at first: everything must come from the checkpoint
        interrupt_after(run, stop)
        assert train(run, config, stopped, resume=attempt > 0).step == stop
    assert train(tiny_method(config, seed=99), config, stopped, resume=True).finished
    assert losses(stopped) == losses(undisturbed)
    assert_identical(*(checkpoint.load(RunFolder(out).checkpoint) for out in (undisturbed, stopped)))


def assert_identical(a: dict, b: dict) -> None:
    """Two checkpoints hold the same bits."""
    for part in ("method", "optimizer", "step"):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0, equal_nan=True)
