"""What each method learns at the same budget: kNN and linear accuracy, with the learning curve.

    python benchmarks/learning.py --name cifar10 --data cifar10_jpeg.tar.xz
    python benchmarks/learning.py --name photos --data clothing10_160.tar.xz --methods simclr --image-size 96

`--data` is a labelled set in any form that `semblance train` reads. Each method trains for as many steps as fit into
the minutes on the idle machine: they are measured for all methods first, and kept, so that work beside the runs changes
their seconds and not what they learn. Lengths and finished methods are kept in benchmarks/results/NAME.json and not run
again; delete a method's entry to repeat it. After a stop the same command goes on from the last checkpoint, which lies
in runs/NAME-METHOD.
"""

import argparse
import json
import math
import platform
import shutil
import tempfile
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import semblance
from semblance import systems
from semblance.runtime.atomic_files import write_atomically

RESULTS = Path(__file__).parent / "results"


def run(method: str, flags: dict, folder: Path) -> dict:
    """One training run, or what is left of it in its folder; its curve and its table."""
    if (folder / "config.yaml").exists():
        summary = semblance.train(out=str(folder), resume=True)
    else:
        summary = semblance.train(method, eval_every=2, out=str(folder), **flags)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    curve = [[line["epoch"], line["seconds"], line["knn_top1"]] for line in lines if "knn_top1" in line]
    curve.append([lines[-1]["epoch"], summary["training_seconds"], summary["knn_top1"]])
    kept = ("training_seconds", "table", "samples_per_second", "train_images", "test_images", "backbone")
    return {k: summary[k] for k in kept} | {
        "epochs": curve[-1][0], "curve": curve, "seed": flags["seed"], "n": 1,
    } | machine()  # fmt: skip


def machine() -> dict[str, str]:
    cpu = f"{torch.get_num_threads()} threads, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    return {"torch": torch.__version__, "cpu": cpu}


def within(minutes: float, method: str, flags: dict, images: int) -> dict:
    """Flags for as many steps as fit, from thirty steps on as much noise: the first has what an epoch starts with."""
    side = flags["image_size"] or 32
    noise = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/noise.npy", noise)
        summary = semblance.train(
            method, out=f"{folder}/run", **flags | {"data": f"{folder}/noise.npy", "max_steps": 30}
        )
        lines = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
    seconds = {line["step"]: line["seconds"] for line in lines}
    step = (seconds[30] - seconds[10]) / 20
    per_epoch = images // round(summary["samples_per_second"] * summary["training_seconds"] / summary["steps"])
    epochs = minutes * 60 / (seconds[1] + per_epoch * step)
    return {"epochs": math.ceil(epochs), "max_steps": int(epochs * per_epoch)}


def read(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def keep(path: Path, method: str, result: dict) -> None:
    """Read again first: another process may train other methods."""
    write_atomically(path, lambda file: file.write(json.dumps(read(path) | {method: result}, indent=1).encode()))


def finished(path: Path) -> dict:
    return {method: result for method, result in read(path).items() if "table" in result}


def draw(results: dict, name: str) -> None:
    """kNN accuracy after so many epochs, a panel for each family, with the baselines as lines."""
    families: dict[str, list[str]] = {}
    for method in results:
        families.setdefault(systems.get(method).family, []).append(method)
    across = min(2, len(families))
    figure = Figure(figsize=(1 + 4 * across, 0.6 + 2.8 * math.ceil(len(families) / across)), layout="constrained")
    panels = figure.subplots(math.ceil(len(families) / across), across, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(families) :]:
        panel.remove()
    baselines = next(iter(results.values()))["table"][:2]
    for panel, (family, methods) in zip(panels.flat, families.items(), strict=False):
        for method in methods:
            epochs, _, accuracy = zip(
                (0, 0, results[method]["table"][1]["knn_top1"]), *results[method]["curve"], strict=True
            )
            panel.plot(epochs, [100 * a for a in accuracy], "o-", ms=4, label=method)
        for line in baselines:
            place, height = panel.get_yaxis_transform(), 100 * line["knn_top1"]
            panel.axhline(height, color="grey", lw=1, ls=":")
            panel.text(1, height, line["encoder"], ha="right", va="bottom", fontsize=8, transform=place)
        panel.set_title(family.replace("_", " "), loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8, loc="upper left")
    figure.supxlabel("epochs", fontsize=10)
    figure.supylabel("kNN-200 accuracy, %", fontsize=10)
    figure.savefig(RESULTS / f"{name}.png", dpi=150)


def blank() -> Axes:
    return Figure(figsize=(7, 4.2), layout="constrained").subplots()


def save(axes: Axes, name: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.get_figure().savefig(RESULTS / f"{name}.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--backbone", default="resnet10-w32-cifar")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--seed", type=int, default=0)
    pictures = [m for m in semblance.methods() if systems.get(m).of_pictures()]
    parser.add_argument("--methods", nargs="+", default=pictures)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--images", type=int, default=50_000, help="training pictures, to tell how many steps fit")
    parser.add_argument("--epochs", type=int, help="instead of measuring how many fit")
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{args.name}.json"
    flags = {"recipe": "small", "data": args.data, "seed": args.seed}
    flags |= {"backbone": args.backbone, "image_size": args.image_size}

    def folder_of(method: str) -> Path:
        return Path("runs", f"{args.name}-{method}")

    todo = [m for m in args.methods if "table" not in read(path).get(m, {})]
    for method in todo:
        if method not in read(path):
            shutil.rmtree(folder_of(method), ignore_errors=True)  # of a run whose entry was deleted
            length = {"epochs": args.epochs} if args.epochs else within(args.minutes, method, flags, args.images)
            keep(path, method, {"length": length})
    for method in todo:
        length = read(path)[method]["length"]  # as first measured, whatever is asked for now
        keep(path, method, {"length": length} | run(method, flags | length, folder_of(method)))
        shutil.rmtree(folder_of(method))  # its result is kept
        draw(finished(path), args.name)
    results = finished(path)
    print("| method | epochs | minutes | images/s | kNN-200 % | linear % |\n|---|---|---|---|---|---|")
    first = next(iter(results.values()))["table"]
    rows: list[tuple] = [(line["encoder"], "", "", "", line) for line in first[:2]]
    rows += [
        (m, f"{r['epochs']:.1f}", f"{r['training_seconds'] / 60:.1f}", f"{r['samples_per_second']:.0f}", r["table"][2])
        for m, r in results.items()
    ]
    for *cells, line in rows:
        print("|", " | ".join([*map(str, cells), *(f"{100 * line[a]:.1f}" for a in ("knn_top1", "linear_top1"))]), "|")


if __name__ == "__main__":
    main()
