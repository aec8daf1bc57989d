"""What must not matter to a run: generators, labels, a sample's own rows among its negatives; and what must: guards."""

from pathlib import Path

import pytest
from ranks import alone
from tiny import tiny_config

from semblance import systems
from semblance.checking.negatives import repelled_by_itself
from semblance.checking.promises import GUARD
from semblance.checking.runs import of_draws, of_labels, without_guard

CASES = [(method, guard) for method in systems.names() for guard in systems.get(method).guards]


def test_generators_say_nothing(method: str, tmp_path: Path) -> None:
    assert of_draws(alone, tiny_config(method, max_steps=4), tmp_path) == 0


def test_labels_say_nothing(method: str, tmp_path: Path) -> None:
    assert of_labels(alone, tiny_config(method, max_steps=4), tmp_path) == 0


@pytest.mark.parametrize("method", [m for m in systems.names() if "negatives" in systems.get(m).guards])
def test_a_sample_does_not_repel_itself(method: str) -> None:
    found = repelled_by_itself(method)
    assert found is not None and found < 1e-3


@pytest.mark.parametrize(("method", "guard"), CASES)
def test_a_guard_changes_a_run(method: str, guard: str, tmp_path: Path) -> None:
    assert without_guard(alone, tiny_config(method, max_steps=4), guard, tmp_path) > GUARD
