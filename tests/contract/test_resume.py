"""A run that was stopped and resumed ends where an undisturbed one does: bit for bit, or on other ranks nearly so."""

from pathlib import Path

import pytest
from promises import Keep
from ranks import Ranks, alone
from tiny import interrupt_after, losses, tiny_config, tiny_method, train

from semblance.checking.promises import ROUNDING
from semblance.checking.runs import STOPS, of_moves, of_sittings


@pytest.mark.parametrize("stops", STOPS, ids=str)
def test_resume_is_no_resume(method: str, stops: tuple[int, ...], tmp_path: Path, keep: Keep) -> None:
    keep("resume", of_sittings(alone, tiny_config(method), tmp_path, stops), 0.0)


@pytest.mark.parametrize("method", ["simclr", "npid"])
def test_the_log_of_a_resumed_run_is_one(method: str, tmp_path: Path) -> None:
    """Every step once, as if it had not been stopped."""
    config = tiny_config(method)
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    train(tiny_method(config), config, undisturbed)
    run = tiny_method(config)
    interrupt_after(run, 3)
    train(run, config, stopped)
    train(tiny_method(config, seed=1), config, stopped, resume=True)
    assert losses(stopped) == losses(undisturbed)


def test_resume_on_another_number_of_ranks(method: str, two_ranks: Ranks, tmp_path: Path, keep: Keep) -> None:
    """On two, then on one, then on two again."""
    config = tiny_config(method, precision="64", batch_size=15, epochs=5)
    keep("moved", of_moves(alone, two_ranks, config, tmp_path), ROUNDING)
