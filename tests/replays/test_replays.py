"""Every system's training is its authors' own: the steps of their recorded runs, taken again by `semblance.step`."""

from pathlib import Path

import pytest
from make import ALL, LARGEST
from promises import Keep
from ranks import Ranks
from recording import FILES, load, method
from replay import Deviations, replay

from semblance import systems

METHODS = {name: method(name) for name in FILES}
PASSES = {"deepcluster-v2", "sela", "sela-v2"}  # over the whole set, whose recorded batches are of one rank


@pytest.mark.parametrize(("recording", "method"), METHODS.items(), ids=METHODS)
def test_the_authors_run_is_ours(recording: str, method: str, keep: Keep) -> None:
    """Losses, rates, weights and state after each of ten to twenty steps, in float64."""
    run = load(FILES[recording])
    found = replay(run)
    keep("authors", max(found.loss, found.rate, found.state), run.allowed)


@pytest.mark.long
@pytest.mark.parametrize("recording", [n for n in FILES if METHODS[n] not in PASSES])
def test_two_ranks_go_through_it_too(recording: str, two_ranks: Ranks) -> None:
    """Each with half of every batch."""
    run = load(FILES[recording])
    for found in two_ranks(_replay, FILES[recording]):
        assert max(found.loss, found.rate, found.state) <= run.allowed


def _replay(path: Path) -> Deviations:
    return replay(load(path))


def test_every_system_has_a_recording() -> None:
    assert set(METHODS.values()) == set(systems.names())


def test_recordings_are_small() -> None:
    sizes = [path.stat().st_size for path in FILES.values()]
    assert max(sizes) <= LARGEST and sum(sizes) <= ALL
