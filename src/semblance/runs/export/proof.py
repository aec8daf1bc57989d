"""The proof: what was written is loaded in a process of its own, by what it is for alone, and gives its features."""

import json
import subprocess
import sys
from os import environ
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from semblance.errors import UserError
from semblance.runs.export.network import Leaving, Written

MOST = 1e-4  # of the largest feature
BATCHES = (1, 7)
_PATIENCE = 1800  # seconds

_SCRIPT = """
import json, sys, numpy
code, arrays = sys.argv[1:]
exec(compile(open(code, encoding="utf-8").read(), code, "exec"), globals())
inputs = numpy.load(arrays)["inputs"]
found = {}
for size in %r:
    found[str(size)] = numpy.concatenate([features(inputs[i : i + size]) for i in range(0, len(inputs), size)])
assert "semblance" not in sys.modules
numpy.savez(arrays, seen=json.dumps(globals().get("seen", {}), default=list), **found)
"""


def prove(leaving: Leaving, written: Written, path: Path) -> float:
    """The largest difference to the expected features over all batches, as a share of the largest feature.

    A UserError where the file does not load, takes not every batch, or gives other features.
    """
    expected = leaving.expected.double().numpy()
    with TemporaryDirectory() as folder:
        code, arrays = Path(folder) / "code.py", Path(folder) / "arrays.npz"
        code.write_text(f"{written.code(path)}\n{written.features}", encoding="utf-8")
        np.savez(arrays, inputs=leaving.inputs.numpy())
        command = [sys.executable, "-P", "-c", _SCRIPT % (BATCHES,), str(code), str(arrays)]
        env = environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, env=env)
        except subprocess.TimeoutExpired:
            raise _refused(f"it was not loaded within {_PATIENCE // 60} minutes") from None
        if ended.returncode:
            lines = [line for line in ended.stderr.splitlines() if line.strip()]
            raise _refused(lines[-1][:300] if lines else f"its process ended with {ended.returncode}")
        with np.load(arrays) as found:
            features = {size: found[str(size)].astype(np.float64) for size in BATCHES}
            seen = json.loads(str(found["seen"]))
    for name, meant in json.loads(json.dumps(leaving.shown)).items():
        if seen.get(name, meant) != meant:
            raise _refused(f"it says {name} {seen[name]} of pictures, which is {meant}")
    largest = float(np.abs(expected).max())
    worst = 0.0
    for size, rows in features.items():
        if rows.shape != expected.shape:
            raise _refused(f"at batch {size} its features have the shape {rows.shape}, not {expected.shape}")
        difference = float(np.abs(rows - expected).max()) / (largest or 1.0)
        if not difference <= MOST:
            raise _refused(
                f"at batch {size} its features differ by {difference:.2g} of the largest, and {MOST:g} is allowed"
            )
        worst = max(worst, difference)
    return worst


def _refused(why: str) -> UserError:
    return UserError(f"What was written is not the same network, and was taken away: {why}.")


def versions(target: str) -> dict[str, Any]:
    """Of what the file was written and proved with."""
    from importlib.metadata import version

    packages = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torchvision": ("torchvision",)}.get(target, ("timm",))
    return {name: version(name) for name in ("semblance", "torch", *packages)}
