"""Make the small recordings beside this file from whole ones, which hold every tensor after every step.

python tests/replays/make.py FOLDER      a folder of .npz; says how large each has become
"""

import json
import sys
from pathlib import Path

import numpy as np
from recording import Recording, project, save

HERE = Path(__file__).parent
LARGEST, ALL = 1_200_000, 10_000_000  # bytes of one file and of all
OURS = ("loss_scale", "gradient_scale", "known")  # of a day when we deviated


def small(path: Path) -> Recording:
    """The recording of a whole one."""
    with np.load(path) as file:
        arrays = dict(file)
    meta = {k: v for k, v in json.loads(str(arrays.pop("meta"))).items() if k not in OURS}
    states: dict[str, dict[int, np.ndarray]] = {}
    for key in [k for k in arrays if k.startswith("after/")]:
        _, step, name = key.split("/", 2)
        states.setdefault(name, {})[int(step)] = project(name, arrays.pop(key))
    for name, found in states.items():
        steps = sorted(found)
        arrays[f"after/{name}"] = np.stack([found[t] for t in steps])
        if steps != list(range(len(arrays["losses"]))):
            arrays[f"at/{name}"] = np.array(steps)
    return Recording(meta, arrays)


def main(folder: str) -> int:
    """The exit status: 1 where what it wrote is too large to be kept in the repository."""
    sizes = {}
    for path in sorted(Path(folder).glob("*.npz")):
        save(HERE / path.name, small(path))
        sizes[path.stem] = (HERE / path.name).stat().st_size
        print(f"{path.stem:20} {sizes[path.stem]:>10,} bytes")
    print(f"{'all':20} {sum(sizes.values()):>10,} bytes")
    return int(max(sizes.values(), default=0) > LARGEST or sum(sizes.values()) > ALL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
