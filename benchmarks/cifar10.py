"""CIFAR-10 on a few cores: every method at the same budget, kNN and linear accuracy with the learning curve.

    python benchmarks/cifar10.py --data cifar10_jpeg.tar.xz [--methods simclr swav ...] [--minutes 15]

`--data` is CIFAR-10 in any form that `semblance train` reads. Each method trains a ResNet-10 of width 32 for as many
epochs as fit into the minutes at the speed measured first, so that every schedule ends. Finished methods are kept in
benchmarks/results/cifar10.json and not run again; delete a method's entry to repeat it.
"""

import argparse
import json
import platform
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib.figure import Figure

import semblance

RESULTS = Path(__file__).parent / "results"
FLAGS = {"recipe": "small", "backbone": "resnet10-w32-cifar", "seed": 0}


def run(method: str, data: str, epochs: int) -> dict:
    """One training run; its curve and its table."""
    with tempfile.TemporaryDirectory() as folder:
        summary = semblance.train(method, data=data, epochs=epochs, eval_every=2, out=f"{folder}/run", **FLAGS)
        lines = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
    curve = [[line["epoch"], line["seconds"], line["knn_top1"]] for line in lines if "knn_top1" in line]
    curve.append([epochs, summary["training_seconds"], summary["knn_top1"]])
    kept = ("training_seconds", "table", "samples_per_second")
    return {k: summary[k] for k in kept} | {
        "epochs": epochs, "curve": curve, "seed": FLAGS["seed"], "n": 1, "torch": torch.__version__,
        "cpu": f"{torch.get_num_threads()} threads, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
    }  # fmt: skip


def epochs_within(minutes: float, data: str) -> int:
    """Epochs of 50,000 images that fit, from the speed of thirty SimCLR steps."""
    with tempfile.TemporaryDirectory() as folder:
        summary = semblance.train(data=data, max_steps=30, eval_every=0, out=f"{folder}/run", **FLAGS)
    return max(2, int(minutes * 60 * summary["samples_per_second"] / 50_000))


def draw(results: dict, path: Path) -> None:
    """kNN accuracy against minutes of training, with the baselines as lines."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for method, result in results.items():
        _, seconds, accuracy = zip(*result["curve"], strict=True)
        axes.plot([s / 60 for s in seconds], [100 * a for a in accuracy], "o-", ms=4, label=method)
    for line in next(iter(results.values()))["table"][:2]:
        axes.axhline(100 * line["knn_top1"], color="grey", lw=1, ls=":")
        axes.annotate(line["encoder"], (0, 100 * line["knn_top1"]), va="bottom", color="grey")
    axes.set(xlabel="minutes of training", ylabel="kNN-200 accuracy, %", title="CIFAR-10, ResNet-10 of width 32")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--methods", nargs="+", default=semblance.methods())
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--epochs", type=int, help="instead of measuring how many fit")
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "cifar10.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    todo = [m for m in args.methods if m not in results]
    epochs = args.epochs or (epochs_within(args.minutes, args.data) if todo else 0)
    for method in todo:
        results[method] = run(method, args.data, epochs)
        path.write_text(json.dumps(results, indent=1))
        draw(results, RESULTS / "cifar10.png")
    print("| method | epochs | minutes | images/s | kNN-200 % | linear % |\n|---|---|---|---|---|---|")
    first = next(iter(results.values()))["table"]
    rows: list[tuple] = [(line["encoder"], "", "", "", line) for line in first[:2]]
    rows += [
        (m, r["epochs"], f"{r['training_seconds'] / 60:.1f}", f"{r['samples_per_second']:.0f}", r["table"][2])
        for m, r in results.items()
    ]
    for *cells, line in rows:
        print("|", " | ".join([*map(str, cells), *(f"{100 * line[a]:.1f}" for a in ("knn_top1", "linear_top1"))]), "|")


if __name__ == "__main__":
    main()
