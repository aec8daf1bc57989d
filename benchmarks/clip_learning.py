"""What AVID and CMA learn from clips: retrieval, probes, mined positives, with the curve of recall by rank.

    python benchmarks/clip_learning.py grid GRID.npz       # both made by benchmarks/clips.py
    python benchmarks/clip_learning.py avmnist AVMNIST.npz # and avmnist-noisy

AVID; of digits also what goes on from there for as many epochs again: CMA, and AVID itself for comparison. Finished
runs are kept in benchmarks/results/clips-NAME.json, NAME being the data's, and not trained again; the runs, with their
reports, lie in --runs.
"""

import argparse
import math
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from learning import RESULTS, blank, keep, machine, read, save
from torch import Tensor

import semblance
from semblance.data import load_clips
from semblance.data.clips.clips import Clips
from semblance.data.samples import Attribute, Source
from semblance.evaluation.clip_features import embed_clips, raw_input
from semblance.evaluation.retrieval import chance, ranks, retrieval
from semblance.evaluation.table import Embedded
from semblance.modalities.build import build
from semblance.modalities.clips import MODALITY, here, trained
from semblance.systems.clip_method import ClipMethod

LABELS = ("color", "digit")  # of whole clips, where a set is of their pieces
FEW = 40  # candidates, as the hand-made baseline of GRID had
SETS: dict[str, dict] = {  # flags of all runs
    "grid": {
        "backbone": "r2plus1d-10-w16-t4", "audio_backbone": "conv2d-10-w16-t4", "frames": 25, "fps": 25.0,
        "seconds": 1.0, "epochs": 50, "hyper": {"negatives": 1024},
    },
    "avmnist": {"flip_p": 0.0, "seconds": 0.8, "epochs": 30, "hyper": {}},  # of a second: moved, so not learnt by heart
    "avmnist-noisy": {"flip_p": 0.0, "seconds": 1.0, "epochs": 30, "hyper": {}},
}  # fmt: skip
DIGITS: dict[str, tuple[str, str | None, dict]] = {  # method, the run it goes on from, hyper-parameters
    "avid": ("avid", None, {}),
    "avid-twice": ("avid", "avid", {}),
    "avid-cma": ("avid-cma", "avid", {"positives": 256}),  # about as many as a class has: negatives are of others
}
RUNS = {"grid": {"avid": DIGITS["avid"]}, "avmnist": DIGITS, "avmnist-noisy": DIGITS}


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


def measure(run: Path) -> dict:
    """Retrieval of held-out clips and linear probes, next to the networks before training and the raw input."""
    config, device = here(run)
    source = load_clips(config.data, config.video, config.sound)
    whole, pieces = clips_of_pieces(source, Path(config.data))
    parts = source.train, source.test
    torch.manual_seed(config.seed)
    untrained = cast(ClipMethod, build(config, MODALITY))
    MODALITY.prepare(untrained, source, config)
    learnt = trained(run, config).to(device)
    found = {
        "raw input": [Embedded(raw_input(part, config)) for part in parts],
        "untrained networks": [embed_clips(untrained.to(device), part, config) for part in parts],
        "trained networks": [embed_clips(learnt, part, config) for part in parts],
    }
    joined = {name: [join(part, pieces) for part in both] for name, both in found.items()}
    hand = {"by_hand": recall(**by_hand(source, pieces))} if pieces > 1 else {}
    return hand | recall(**joined["trained networks"][1].embeddings) | {
        "table": [{"encoder": name} | MODALITY.measure((both[0], both[1]), whole) for name, both in joined.items()],
        "train_clips": len(whole.train), "test_clips": len(whole.test),
    }  # fmt: skip


def clips_of_pieces(source: Source[Clips], path: Path) -> tuple[Source[Clips], int]:
    """The clips that the set's own are pieces of, with their labels, and the number of pieces of each."""
    with np.load(path) as arrays:
        labels = {
            name: [arrays[f"{name}_{part}"] for part in ("train", "test")]
            for name in LABELS
            if f"{name}_train" in arrays
        }
    if not labels:
        return source, 1
    pieces = len(source.train) // len(next(iter(labels.values()))[0])
    whole = [part.subset(range(0, len(part), pieces)) for part in (source.train, source.test)]
    for part in whole:
        part.attributes = {}
    for name, both in labels.items():
        classes = np.unique(np.concatenate(both))
        for part, values in zip(whole, both, strict=True):
            part.attributes[name] = Attribute(torch.from_numpy(np.searchsorted(classes, values)), list(classes))
    return Source(*whole), pieces


def join(found: Embedded, pieces: int) -> Embedded:
    """Of clips: the embeddings and the features of their pieces side by side, so that similarities are the mean of
    theirs."""
    embeddings, features = (
        {kind: rows.view(len(rows) // pieces, -1) for kind, rows in both.items()}
        for both in (found.embeddings, found.features)
    )
    return Embedded(features, {kind: F.normalize(rows, dim=1) for kind, rows in embeddings.items()})


def by_hand(source: Source[Clips], pieces: int) -> dict[str, Tensor]:
    """Held-out clips without learning: how much their pictures move from frame to frame, and how loud it is then, less
    what they do on average."""
    found = []
    for part in (source.train, source.test):
        motion, loudness = [], []
        for frames, sound in zip(part.frames, part.sounds, strict=True):
            motion.append((frames[1:].float() - frames[:-1].float()).abs().mean((1, 2, 3)))
            level = sound.float().view(len(frames), -1).square().mean(1).clamp(min=1).log()
            loudness.append((level[1:] + level[:-1]) / 2)
        found.append({"video": torch.stack(motion), "audio": torch.stack(loudness)})
    kinds: dict[str, Tensor] = {}
    for kind in ("video", "audio"):
        train, test = (both[kind].view(len(both[kind]) // pieces, -1) for both in found)
        rest = test - train.mean(0)
        kinds[kind] = F.normalize(rest - rest.mean(1, keepdim=True), dim=1)
    return kinds


def recall(video: Tensor, audio: Tensor) -> dict:
    """Recall both ways, the share found first among a few, and every clip's rank."""
    rank = {"video_to_audio": ranks(video, audio), "audio_to_video": ranks(audio, video)}
    return {
        "retrieval": retrieval(video, audio) | {"chance": chance(len(video))},
        "among": {way: among(rank[way], len(video)) for way in rank},
        "ranks": {way: rank[way].tolist() for way in rank},
    }


def train(method: str, run: Path, flags: dict) -> dict:
    """A run, gone on with where it was cut off, and what is kept of it."""
    if (run / "config.yaml").exists():
        summary = semblance.train(out=str(run), resume=True)
    else:
        summary = semblance.train(method, out=str(run), **flags)
    kept = ("training_seconds", "seconds", "positives")
    return {k: summary[k] for k in kept} | measure(run) | {
        "flags": {k: v for k, v in flags.items() if k not in ("data", "from_run")}, "n": 1,
    } | machine()  # fmt: skip


def with_hand(results: dict) -> dict:
    """What was found without learning, where that was measured, before the rest."""
    hand = next(iter(results.values())).get("by_hand")
    return ({"by hand": hand} if hand else {}) | results


def show(results: dict) -> None:
    """Tables in Markdown: retrieval, probes, purity."""
    runs = list(results)
    print(f"| | way | R@1 % | R@5 % | R@10 % | median rank | R@1 among {FEW} % |\n|---|---|---|---|---|---|---|")
    for name, result in with_hand(results).items():
        n = len(result["ranks"]["video_to_audio"])
        for way, found in result["retrieval"].items():
            shares = [found[f"r{k}"] for k in (1, 5, 10)]
            if way == "chance":
                recalls, few = [f"{100 * r:.1f}" for r in shares], f"{100 / FEW:.1f}"
            else:
                recalls = [f"{100 * r:.1f} ± {100 * interval(r, n):.1f}" for r in shares]
                few = f"{100 * result['among'][way]:.1f}"
            print("|", " | ".join([name, way.replace("_", " "), *recalls, f"{found['median_rank']:g}", few]), "|")
    first = results[runs[0]]["table"]
    columns = [line["encoder"] for line in first[:2]] + runs
    rows = [*first[:2], *(results[name]["table"][-1] for name in runs)]
    print(f"\n| linear probe, % | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for probe in [key for key in first[0] if "_from_" in key]:
        print(f"| {probe.replace('_', ' ')} |", " | ".join(f"{100 * row[probe]:.1f}" for row in rows), "|")
    if not results[runs[0]]["positives"]:
        return
    kinds = list(next(iter(results[runs[0]]["positives"].values())))[:-1]
    print(f"\n| same label among positives, % | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name in runs:
        for label, shares in results[name]["positives"].items():
            cells = [f"{name}: {label}, sets of {shares['count']}", *(f"{100 * shares[kind]:.1f}" for kind in kinds)]
            print("|", " | ".join(cells), "|")


def draw(results: dict, name: str) -> None:
    """Share of held-out clips whose other half is among the first k, with chance."""
    axes = blank()
    for i, (run, result) in enumerate(with_hand(results).items()):
        for way, line in (("video_to_audio", "-"), ("audio_to_video", "--")):
            rank = torch.tensor(result["ranks"][way])
            k = torch.arange(1, len(rank) + 1)
            share = (rank[:, None] <= k).double().mean(0)
            axes.plot(k, 100 * share, line, color=f"C{i}", label=f"{run}, {way.replace('_', ' ')}")
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
    path = RESULTS / f"clips-{args.data.stem}.json"
    flags = {"recipe": "quick", "data": str(args.data), "seed": args.seed} | SETS[args.set]
    folder = {name: args.runs / f"{args.data.stem}-{name}-{args.seed}" for name in RUNS[args.set]}
    for name, (method, first, hyper) in RUNS[args.set].items():
        key = f"{name}, seed {args.seed}"
        if key not in read(path):
            own = {"hyper": flags["hyper"] | hyper, "from_run": first and str(folder[first])}
            keep(path, key, train(method, folder[name], flags | own))
            draw(read(path), args.data.stem)
    show(read(path))


if __name__ == "__main__":
    main()
