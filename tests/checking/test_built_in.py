"""The numbers of built-in methods that stand beside those of one's own.

`python tests/checking/test_built_in.py [METHOD ...]` measures them anew, for minutes each; without names, all.
"""

import json
import sys
from pathlib import Path

import pytest

import semblance as sb
from semblance import systems
from semblance.checking.promises import PROMISES

STORED = Path(sb.__file__).parent / "checking" / "built_in.json"
ALLOWED = {promise.name: promise.allowed for promise in PROMISES}


def test_every_built_in_method_has_a_row_that_holds() -> None:
    stored = json.loads(STORED.read_text())
    assert list(stored) == systems.names()
    for method, numbers in stored.items():
        assert list(numbers) == list(ALLOWED), method
        assert all(n is None or n <= ALLOWED[promise] for promise, n in numbers.items()), method


@pytest.mark.long
@pytest.mark.parametrize("method", systems.names())
def test_a_built_in_method_holds(method: str) -> None:
    checked = sb.check(method, thorough=True)
    assert checked.holds, checked.verdict


def write(methods: list[str]) -> None:
    """Measure these methods and put their rows among the others, in the order of the registry."""
    stored = json.loads(STORED.read_text())
    for method in methods or systems.names():
        checked = sb.check(method, thorough=True)
        print(checked.verdict, flush=True)
        stored[method] = {f.promise: f.number and float(f"{f.number:.2g}") for f in checked.findings}
        rows = [f"{json.dumps(n)}: {json.dumps(stored[n])}" for n in systems.names() if n in stored]
        STORED.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    write(sys.argv[1:])
