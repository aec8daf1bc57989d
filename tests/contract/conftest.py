"""Every test of the contract that asks for a `method` runs for every registered one, and may note what it measured.

`pytest.mark.in_ci(...)` names the methods that a test runs for in CI; for the others it is one of the long ones.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from promises import RECORD
from tiny import tiny_images

from semblance import systems


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    own = {name for mark in metafunc.definition.iter_markers("parametrize") for name in np.ravel(mark.args[0])}
    if "method" in metafunc.fixturenames and "method" not in own:
        ci = metafunc.definition.get_closest_marker("in_ci")
        long = [name for name in systems.names() if ci is not None and name not in ci.args]
        metafunc.parametrize(
            "method", [pytest.param(n, marks=[pytest.mark.long] if n in long else []) for n in systems.names()]
        )


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> Counter[str]:
    """Things survived, by what they are; noted for docs/correctness.md."""
    return request.config.stash[RECORD].counts


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pictures as a file to train on."""
    path = tmp_path_factory.mktemp("pictures") / "pictures.npy"
    np.save(path, tiny_images().pixels.permute(0, 2, 3, 1).numpy())
    return path
