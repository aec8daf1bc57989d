"""A fault planted in a system shows in the replay of its authors' run, far beyond what rounding may do."""

import pytest
from faults import EVERYWHERE, FAULTS, Fault, largest
from recording import FILES, load, method
from replay import replay

from semblance import systems


def test_every_system_has_a_fault_of_its_own() -> None:
    assert FAULTS.keys() == set(systems.names())


@pytest.mark.parametrize("name", FILES)
def test_a_fault_of_the_system_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load(FILES[name])
    FAULTS[method(name)].plant(monkeypatch)
    assert largest(replay(run)) > 10 * run.allowed


@pytest.mark.long
@pytest.mark.parametrize("fault", EVERYWHERE, ids=lambda fault: fault.what)
@pytest.mark.parametrize("name", FILES)
def test_a_fault_of_the_engine_is_seen(name: str, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load(FILES[name])
    fault.plant(monkeypatch)
    assert largest(replay(run)) > 10 * run.allowed
