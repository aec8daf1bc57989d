"""How long a rank that is not heard is waited for."""

import pytest

from semblance.errors import UserError
from semblance.runtime.watch import PATIENCE, TICK, patience


@pytest.mark.parametrize("given", ["0.5", "0", "-1", "nan", "inf", "soon"])
def test_patience_is_longer_than_signs_of_life_are_apart(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_TIMEOUT", given)
    with pytest.raises(UserError, match=f"SEMBLANCE_TIMEOUT={given}: give seconds, {3 * TICK:g} or more"):
        patience()


def test_patience_is_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert patience() == PATIENCE
    monkeypatch.setenv("SEMBLANCE_TIMEOUT", "5")
    assert patience() == 5
