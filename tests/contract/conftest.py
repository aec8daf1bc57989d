"""Every test of the contract that asks for a `method` runs for every registered one."""

import pytest

from semblance import systems


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "method" in metafunc.fixturenames:
        metafunc.parametrize("method", systems.names())
