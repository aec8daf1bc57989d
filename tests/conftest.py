"""Shared fixtures."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import promises
import pytest
import torch
from promises import PROMISES, RECORD, Keep, Measurement
from ranks import Ranks

torch.set_num_threads(1)  # the networks are tiny; threads would only wait for each other


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", action="store_true", help="write what was measured into docs/correctness.md")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--write-table") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--write-table gathers what one process has measured: add -n 0")
    config.stash[RECORD] = promises.Record()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.getoption("--write-table") and exitstatus == 0:
        command = shlex.join(["pytest", *session.config.invocation_params.args])
        record = session.config.stash[RECORD]
        if record.exits:
            promises.write_exits(record, command)
        if record.measured:
            promises.write(record, command)


@pytest.fixture
def keep(method: str, request: pytest.FixtureRequest) -> Keep:
    """keep(promise, deviation, tolerance): the promise holds to the tolerance; noted for docs/correctness.md."""

    def check(promise: str, deviation: float, tolerance: float) -> None:
        assert promise in PROMISES
        assert deviation <= tolerance, f"{promise}: {deviation} > {tolerance}"
        request.config.stash[RECORD].measured.append(Measurement(promise, method, deviation, tolerance))

    return check


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets for development; tests that need it skip where it is not."""
    folder = Path(os.environ.get("SEMBLANCE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real data not present: set SEMBLANCE_DATA to a folder that holds it")
    return folder


@pytest.fixture(scope="session")
def two_ranks() -> Iterator[Ranks]:
    """two_ranks(function, *args) runs the function on two ranks and returns both results."""
    ranks = Ranks(2)
    yield ranks
    ranks.close()


@pytest.fixture(scope="session")
def four_ranks() -> Iterator[Ranks]:
    """The same on four."""
    ranks = Ranks(4)
    yield ranks
    ranks.close()
