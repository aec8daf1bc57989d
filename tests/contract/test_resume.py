"""A run that was stopped and resumed ends where an undisturbed one does: bit for bit, or on other ranks nearly so."""

from pathlib import Path

import pytest
import torch
from promises import Keep
from ranks import Ranks
from tiny import deviation, interrupt_after, losses, outcome, tiny_config, tiny_method, train

from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder


# step 3 ends an epoch: the warm-up, frozen prototypes; step 5 fills a queue of two batches
@pytest.mark.parametrize("stops", [(2, 4), (3, 7)], ids=str)
def test_resume_is_no_resume(method: str, stops: tuple[int, ...], tmp_path: Path, keep: Keep) -> None:
    config = tiny_config(method)
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    train(tiny_method(config), config, undisturbed)
    for attempt, stop in enumerate(stops):
        run = tiny_method(config, seed=attempt)  # other weights at first: everything must come from the checkpoint
        interrupt_after(run, stop)
        assert train(run, config, stopped, resume=attempt > 0).step == stop
    assert train(tiny_method(config, seed=99), config, stopped, resume=True).finished
    a, b = (checkpoint.load(RunFolder(out).checkpoint) for out in (stopped, undisturbed))
    assert losses(stopped) == losses(undisturbed)
    torch.testing.assert_close(a["optimizer"], b["optimizer"], rtol=0, atol=0)
    assert a["step"] == b["step"]
    keep("resume", deviation(a["method"], b["method"]), 0.0)


def test_resume_on_another_number_of_ranks(method: str, two_ranks: Ranks, tmp_path: Path, keep: Keep) -> None:
    """On two, then on one, then on two again."""
    config = tiny_config(method, precision="64", batch_size=15, epochs=5)
    one = outcome(config, tmp_path / "one")
    moved = tmp_path / "moved"
    two_ranks(_part, config, moved, False, 3)
    _part(config, moved, True, 6)
    many = two_ranks(_part, config, moved, True, None)
    assert many[0]["losses"].keys() == one["losses"].keys()
    keep("moved", max(deviation(many[0][part], one[part]) for part in ("losses", "gradients", "state")), 1e-9)


def _part(config: TrainConfig, out: Path, resume: bool, stop: int | None) -> dict:
    return outcome(config, out, resume=resume, stop=stop)
