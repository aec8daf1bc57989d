"""A training run of a system by its authors' own code: inputs as they were, what they led to as projections.

A file holds, under Semblance's names:

    meta               JSON: method, hyper, flags, steps of an epoch, ..., the authors' source, the deviation allowed
    index              (T, B) dataset indices of each step
    views/<v>          float32 (T, B, ...) the v-th view
    draws/<n>          (T, B, K) the n-th draw of negatives of a step
    whole/<t>/...      the pass over the whole set before step t: v<v> (batches, B, ...) and order (batches, B)
    kmeans_rows        (epochs, heads, K) samples that k-means begins with
    epoch/<e>/<name>   state that an epoch begins with (DeepCluster's labels and new top layer)
    init/<name>        state before the first step
    losses, lrs        (T,) of the authors' run
    after/<name>       float64 (steps, PROJECTIONS) projections of the authors' state after each step, or after
    at/<name>          those steps only
"""

import json
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

FILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.npz"))}
PROJECTIONS = 3  # of each tensor: one number could be blind to a change, three are not


class Recording(NamedTuple):
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def allowed(self) -> float:
        """The largest deviation that rounding may make."""
        return self.meta.get("allowed", 1e-8)

    def under(self, folder: str) -> dict[str, np.ndarray]:
        """The arrays of a folder by what follows its name."""
        return {k.removeprefix(f"{folder}/"): a for k, a in self.arrays.items() if k.startswith(f"{folder}/")}

    def in_order(self, folder: str, letter: str = "") -> list[np.ndarray]:
        """The arrays <folder>/<letter>0, <letter>1, ..."""
        found = self.under(folder)
        return [found[f"{letter}{i}"] for i in range(sum(k.removeprefix(letter).isdigit() for k in found))]


def method(name: str) -> str:
    """The system that a recording of FILES is of, without reading the rest."""
    with np.load(FILES[name]) as file:
        return json.loads(str(file["meta"]))["method"]


def project(name: str, values: np.ndarray) -> np.ndarray:
    """Fixed random projections of a tensor: float64 (PROJECTIONS,); a change of one value by d changes each by
    0.5 to 1.5 d over the root of how many values there are."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    draw = np.random.RandomState(crc32(name.encode()))  # whose stream NumPy never changes
    rows = draw.uniform(0.5, 1.5, (PROJECTIONS, flat.size)) * draw.choice([-1.0, 1.0], (PROJECTIONS, flat.size))
    return rows @ flat / max(1, flat.size) ** 0.5


def save(path: Path, recording: Recording) -> None:
    """Floats byte plane by byte plane: their signs and exponents, apart from the rest, can be compressed."""
    packed = {}
    for name, array in recording.arrays.items():
        if array.dtype.kind == "f":
            array = np.moveaxis(np.ascontiguousarray(array)[..., None].view(np.uint8), -1, 0)
        packed[name] = array
    np.savez_compressed(path, meta=json.dumps(recording.meta), **packed)


def load(path: Path) -> Recording:
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta")))
    for name, array in arrays.items():
        if array.dtype == np.uint8:
            whole = np.frombuffer(np.moveaxis(array, 0, -1).tobytes(), f"<f{len(array)}")
            arrays[name] = whole.reshape(array.shape[1:]).copy()
    return Recording(meta, arrays)
