"""What AVID and CMA learn from clips: retrieval, probes, mined positives, with the curve of recall by rank.

    python benchmarks/clip_learning.py grid GRID          # both made by benchmarks/clips.py
    python benchmarks/clip_learning.py avmnist AVMNIST.npz

AVID and, for as many epochs, CMA, whose first epochs are AVID's. Finished runs are kept in
benchmarks/results/clips-NAME.json and not trained again; the runs, with their reports, lie in --runs.
"""

import argparse
import math
from pathlib import Path

import torch
from learning import RESULTS, blank, keep, machine, read, save
from torch import Tensor

import semblance
from semblance.data import load_clips
from semblance.engine.folder import RunFolder
from semblance.evaluation.clip_run import here, trained
from semblance.evaluation.clips import embed_clips
from semblance.evaluation.retrieval import ranks

FEW = 40  # candidates, as the hand-made baseline of GRID had
SETS: dict[str, dict] = {  # flags of both methods
    "grid": {
        "backbone": "r2plus1d-10-w16-t10", "audio_backbone": "conv2d-10-w16-t10", "frames": 75, "fps": 25.0,
        "seconds": 3.0, "batch_size": 32, "epochs": 100, "hyper": {"dim": 160},
    },
    "avmnist": {"seconds": 1.0, "epochs": 30},
}  # fmt: skip
# sets of positives about as large as a class, so that negatives are of others
CMA: dict[str, dict] = {"grid": {"start_epoch": 50}, "avmnist": {"start_epoch": 12, "positives": 256}}


def among(recall_rank: Tensor, n: int, few: int = FEW) -> float:
    """The expected share found first among `few` of the n candidates, its own one of them: ranks (N,) -> [0, 1]."""
    better = recall_rank - 1
    log_p = torch.zeros(len(better), dtype=torch.float64)
    for i in range(few - 1):  # none of the better ones is drawn, one after the other
        log_p += ((n - 1 - i - better).clamp(min=0) / (n - 1 - i)).log()
    return log_p.exp().mean().item()


def interval(share: float, n: int) -> float:
    """Half the 95 % interval of a share of n."""
    return 1.96 * math.sqrt(share * (1 - share) / n)


def held_out_ranks(run: Path) -> dict[str, Tensor]:
    """The rank of every held-out clip's own other half, both ways."""
    config, device = here(RunFolder(run))
    test = load_clips(config.data, config.video, config.sound).test
    found = embed_clips(trained(RunFolder(run), config).to(device), test, config).embeddings
    video, audio = found["video"], found["audio"]
    return {"video_to_audio": ranks(video, audio), "audio_to_video": ranks(audio, video)}


def train(method: str, run: Path, flags: dict) -> dict:
    """A run, gone on with where it was cut off, and what is kept of it."""
    if (run / "config.yaml").exists():
        summary = semblance.train(out=str(run), resume=True)
    else:
        summary = semblance.train(method, out=str(run), **flags)
    found = held_out_ranks(run)
    kept = ("training_seconds", "seconds", "train_clips", "test_clips", "table", "positives", "retrieval")
    return {k: summary[k] for k in kept} | {
        "among": {way: among(rank, len(rank)) for way, rank in found.items()},
        "ranks": {way: rank.tolist() for way, rank in found.items()},
        "flags": {k: v for k, v in flags.items() if k != "data"}, "n": 1,
    } | machine()  # fmt: skip


def show(results: dict) -> None:
    """Tables in Markdown: retrieval, probes, purity."""
    runs = list(results)
    print(f"| | way | R@1 % | R@5 % | R@10 % | median rank | R@1 among {FEW} % |\n|---|---|---|---|---|---|---|")
    for name, result in results.items():
        n = result["test_clips"]
        for way, found in result["retrieval"].items():
            recalls = [f"{100 * found[f'r{k}']:.1f}" for k in (1, 5, 10)]
            few = f"{100 / FEW:.1f}"
            if way != "chance":
                recalls = [f"{r} ± {100 * interval(float(r) / 100, n):.1f}" for r in recalls]
                few = f"{100 * result['among'][way]:.1f}"
            print("|", " | ".join([name, way.replace("_", " "), *recalls, f"{found['median_rank']:g}", few]), "|")
    first = results[runs[0]]["table"]
    columns = [line["encoder"] for line in first[:2]] + runs
    rows = [*first[:2], *(results[name]["table"][-1] for name in runs)]
    print(f"\n| linear probe, % | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for probe in [key for key in first[0] if "_from_" in key]:
        print(f"| {probe.replace('_', ' ')} |", " | ".join(f"{100 * row[probe]:.1f}" for row in rows), "|")
    kinds = list(next(iter(results[runs[0]]["positives"].values())))[:-1]
    print(f"\n| same label among positives, % | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name in runs:
        for label, shares in results[name]["positives"].items():
            cells = [f"{name}: {label}, sets of {shares['count']}", *(f"{100 * shares[kind]:.1f}" for kind in kinds)]
            print("|", " | ".join(cells), "|")


def draw(results: dict, name: str) -> None:
    """Share of held-out clips whose other half is among the first k, with chance."""
    axes = blank()
    for run, result in results.items():
        for way, line in (("video_to_audio", "-"), ("audio_to_video", "--")):
            rank = torch.tensor(result["ranks"][way])
            k = torch.arange(1, len(rank) + 1)
            share = (rank[:, None] <= k).double().mean(0)
            axes.plot(k, 100 * share, line, label=f"{run}, {way.replace('_', ' ')}")
    axes.plot(k, 100 * k / len(k), ":", color="grey", label="chance")
    axes.set(xlabel="candidates looked at", ylabel="other half found, %", title=name, xscale="log")
    axes.legend(frameon=False)
    save(axes, f"clips-{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"clips-{args.set}.json"
    flags = {"recipe": "quick", "data": str(args.data), "seed": args.seed, "hyper": {}} | SETS[args.set]
    for method, hyper in (("avid", {}), ("avid-cma", CMA[args.set])):
        name = f"{method}, seed {args.seed}"
        if name not in read(path):
            run = args.runs / f"{args.set}-{method}-{args.seed}"
            keep(path, name, train(method, run, flags | {"hyper": flags["hyper"] | hyper}))
            draw(read(path), args.set)
    show(read(path))


if __name__ == "__main__":
    main()
