"""What the house must not change: configurations and first losses, recorded at d538218 before it was rebuilt.

They live until an issue changes a number on purpose; that issue records them anew and says so:
`python tests/test_records.py`.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import losses, tiny_config, tiny_method, train

from semblance import systems
from semblance.runs.resolve import resolve

RECORDS = Path(__file__).parent / "records"
STORED = 300  # pixels of pictures to which the views of recipes for small images grow


def configurations(method: str) -> dict[str, Any]:
    """Every recipe as it is resolved for data of its own, and for larger pictures in a folder."""
    found = {}
    for recipe in systems.get(method).recipes:
        for data, stored in ((None, None), ("pictures", STORED)):
            config = resolve({"method": method, "recipe": recipe, "data": data, "data_root": "/"}, stored_size=stored)
            found[f"{recipe} {data or 'embedded'}"] = config.model_dump(mode="json")
    return found


def first_losses(method: str) -> list[float]:
    """The losses of five steps in float64."""
    torch.set_num_threads(1)
    config = tiny_config(method, max_steps=5, precision="64")
    with tempfile.TemporaryDirectory() as folder:
        train(tiny_method(config), config, Path(folder))
        return [float(loss) for loss in losses(Path(folder)).values()]


@pytest.mark.parametrize("method", systems.names())
def test_configurations_stay(method: str) -> None:
    recorded = json.loads((RECORDS / "configurations.json").read_text())[method]
    assert configurations(method) == recorded


@pytest.mark.parametrize("method", systems.names())
def test_first_losses_stay(method: str) -> None:
    """To 1e-5: views are made in float32, which CPUs round differently."""
    recorded = json.loads((RECORDS / "losses.json").read_text())[method]
    assert first_losses(method) == pytest.approx(recorded, rel=1e-5)


if __name__ == "__main__":
    RECORDS.mkdir(exist_ok=True)
    for name, record in (("configurations", configurations), ("losses", first_losses)):
        lines = [f"{json.dumps(method)}: {json.dumps(record(method))}" for method in systems.names()]
        (RECORDS / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
