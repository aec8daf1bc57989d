"""Runs that were really made sick, and healthy ones: what `semblance doctor` says of each, and what came of it.

    python benchmarks/verdicts.py FOLDER [--stage develop|held-out] [--at-once 2]

Each run is a process of one thread on about a minute; those that FOLDER has are not repeated, so the command may be
stopped at any time. SEMBLANCE_DATA names the data that spoken digits are made of. FOLDER/runs.jsonl is what verdicts
are made of, with kNN on labels that neither run nor verdict saw. Sick is what came of a run: kNN above the first
networks' by 5 points or more is learnt, by 2 or less is not. Where the run's own labels say nothing (JUDGED_ELSEWHERE),
drawn shapes are judged by. Which verdicts a condition allows stands in `allowed` and was written before any run.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from clips import avmnist

from semblance import systems
from semblance.commands.doctor import levels_of
from semblance.data.sources.shapes import shapes
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.systems.method import Empty

STEPS, CLIP_STEPS = 240, 150
CARRIES_OFF = {  # without one of these there is nothing against the trivial solution
    "negatives", "sinkhorn", "stop_gradient", "variance", "variance and covariance", "balance", "decorrelation",
    "centring", "gaussian",
}  # fmt: skip
ONE_OF_A_FAMILY = ("simclr", "swav", "byol", "vicreg", "avid")
JUDGED_ELSEWHERE = ("every picture twice", "one class", "shuffled labels")
SICK = {"collapsed", "diverged", "cannot-tell"}
ANY = {"learnt", "little", *SICK, "too-short"}


@dataclass
class Condition:
    """A run to be made: what its command says beyond method, data and seed, and the verdicts that may follow."""

    method: str
    data: str
    seed: int
    what: str = "healthy"
    flags: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.method}-{self.data}-{self.what}-{self.seed}"

    def allowed(self, points: float) -> set[str]:
        """points: of kNN above the first networks. Between 2 and 5 any verdict may stand."""
        if self.what == "a tenth of an epoch":
            return {"too-short"}
        if self.what == "constant pictures":
            return {"collapsed", "cannot-tell"}
        if 2 < points < 5:
            return ANY
        if points >= 5:
            return {"learnt", "cannot-tell"}
        if self.what.startswith("without ") and self.what.removeprefix("without ") in CARRIES_OFF:
            return SICK
        if self.what == "rate x100":
            return {"diverged", "collapsed", "little"}
        return ANY - {"learnt", "too-short"}


def conditions(stage: str) -> Iterator[Condition]:
    """Two seeds on the first set to choose thresholds by; two more and the second set are opened last."""
    methods = systems.names()
    clips = {name for name in methods if not systems.get(name).of_pictures()}

    def data(name: str, number: int) -> str:
        return ("bounce", "spoken-digits")[number] if name in clips else ("shapes", "textures")[number]

    for name in methods:
        for number, seeds in ((0, (0, 1)), (1, ())) if stage == "develop" else ((0, (2, 3)), (1, (0, 1, 2, 3))):
            yield from (Condition(name, data(name, number), seed) for seed in seeds)
    for seed in (0, 1) if stage == "develop" else ():
        for name in methods:
            for guard in systems.get(name).guards:
                yield Condition(name, data(name, 0), seed, f"without {guard}", ["--without", guard])
        both = ["variance", "covariance"]
        yield Condition("vicreg", "shapes", seed, f"without {' and '.join(both)}", ["--without", *both])
        for name in ONE_OF_A_FAMILY:
            lr = systems.get(name).recipes["quick"].lr
            yield Condition(name, data(name, 0), seed, "rate x100", ["--lr", str(100 * lr)])
            yield Condition(name, data(name, 0), seed, "a tenth of an epoch", ["--max-steps", "4"])
        for name, key, value in (
            ("simclr", "temperature", 10.0),
            ("avid", "temperature", 7.0),
            ("swav", "temperature", 10.0),
        ):
            yield Condition(name, data(name, 0), seed, "temperature x100", [f"--hyper.{key}", str(value)])
        yield Condition("swav", "shapes", seed, "prototypes frozen", ["--hyper.freeze_epochs", "1000"])
        for name in ONE_OF_A_FAMILY[:-1]:
            for what in ("constant pictures", *JUDGED_ELSEWHERE):
                yield Condition(name, what.replace(" ", "-"), seed, what)


def textures(n: int, seed: int, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of ten kinds of texture, uint8 (n, side, side, 3): waves by direction and frequency, checks, dots, noise
    by scale, in colours that say nothing of the kind."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    labels, pictures = np.arange(n) % 10, []
    for kind in labels:
        phase, turn = rng.uniform(0, 2 * np.pi, 2)
        turn = 0.3 * np.sin(turn)
        if kind < 4:  # fine and coarse waves, level and upright
            frequency = (3, 7)[kind % 2] * rng.uniform(0.85, 1.15)
            angle = (0, np.pi / 2)[kind // 2] + turn
            plane = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        elif kind < 6:  # checks
            frequency = (2, 5)[kind - 4] * rng.uniform(0.85, 1.15)
            plane = np.sign(np.sin(2 * np.pi * frequency * x + phase) * np.sin(2 * np.pi * frequency * y + turn))
        elif kind == 6:  # rings
            plane = np.sin(2 * np.pi * 5 * np.hypot(x - rng.uniform(0.3, 0.7), y - rng.uniform(0.3, 0.7)) + phase)
        elif kind == 7:  # a slope
            plane = 2 * (x * np.cos(phase) + y * np.sin(phase))
        else:  # noise, fine and coarse
            cells = (32, 6)[kind - 8]
            plane = np.kron(rng.normal(size=(cells, cells)), np.ones((-(-side // cells),) * 2))[:side, :side]
        one, other = rng.uniform(0, 255, (2, 3))
        weight = (np.clip(plane, -1, 1)[..., None] + 1) / 2
        pictures.append(weight * one + (1 - weight) * other + rng.normal(0, 12, (side, side, 3)))
    return np.clip(pictures, 0, 255).astype(np.uint8), labels


def data_at(folder: Path, name: str) -> str:
    """What --data is given for a set, drawn where it is not there yet; labels are for kNN alone."""
    if name in ("shapes", "bounce"):
        return name
    path = folder / "data" / f"{name}.npz"
    if path.exists():
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "spoken-digits":  # of MNIST and FSDD, as benchmarks/clips.py says
        avmnist(Path(os.environ["SEMBLANCE_DATA"]), path, noise=0.0, train=2000, test=600)
        return str(path)
    if name == "textures":
        (x, y), (x_test, y_test) = textures(2400, 0), textures(600, 1)
    else:
        drawn, labels, _ = shapes(30_000 if name == "one-class" else 3000, 32, 0)
        x, y = drawn.permute(0, 2, 3, 1).numpy(), labels.numpy()
        rng = np.random.default_rng(0)
        if name == "one-class":
            x, y = x[y == 0], y[y == 0]
        if name == "shuffled-labels":
            y = rng.permutation(y)
        if name == "constant-pictures":
            x = np.full_like(x, 127)
        held = rng.permutation(len(x)) < len(x) // 5
        x, y, x_test, y_test = x[~held], y[~held], x[held], y[held]
        if name == "every-picture-twice":
            x, y = np.concatenate([x[::2]] * 2), np.concatenate([y[::2]] * 2)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return str(path)


def made(condition: Condition, folder: Path) -> dict[str, Any]:
    """The run, and what is kept of it; its folder is thrown away."""
    out = folder / "runs" / condition.name.replace(" ", "-")
    shutil.rmtree(out, ignore_errors=True)
    clips = not systems.get(condition.method).of_pictures()
    flags = ["--max-steps", str(CLIP_STEPS if clips else STEPS), *condition.flags]  # the last of two counts
    if "--max-steps" in condition.flags:
        flags = condition.flags
    command = [
        sys.executable, "-m", "semblance", "train", condition.method, "--recipe", "quick",
        "--seed", str(condition.seed), "--data", data_at(folder, condition.data),
        "--workers", "0", "--no-compile", "--no-channels-last", *flags,
        "--out", str(out),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    run = RunFolder(out)
    if not run.config.exists():
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    config, lines, summary = TrainConfig.load(run.config), run.read_metrics(), run.read_summary()
    levels = levels_of(config, lines)
    kept = {
        "condition": asdict(condition), "rc": done.returncode, "lines": lines, "rows": summary.get("table", []),
        "levels": {name: [value, isinstance(value, Empty)] for name, value in levels.items()},
        "steps": summary.get("steps", lines[-1]["step"] if lines else 0), "without": config.without,
        "diverged": json.loads(run.diverged.read_text()) if run.diverged.exists() else None,
        "seconds": summary.get("seconds"), "stderr": "" if done.returncode == 0 else done.stderr[-2000:],
    }  # fmt: skip
    if condition.what in JUDGED_ELSEWHERE and kept["rows"]:
        kept["rows_elsewhere"] = evaluated(out, "shapes")
    shutil.rmtree(out, ignore_errors=True)
    return rounded(kept)


def evaluated(run: Path, data: str) -> list[dict[str, Any]]:
    """The table of a run on other pictures."""
    code = "import json, sys, semblance; json.dump(semblance.evaluate(sys.argv[1], data=sys.argv[2]), sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), data],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True,
    )  # fmt: skip
    return json.loads(done.stderr.splitlines()[-1])


def whole_rows(kept: Path) -> list[dict[str, Any]]:
    """The runs that a file holds; a last line that was cut is taken out of it."""
    lines = kept.read_text().splitlines(keepends=True) if kept.exists() else []
    if lines and not lines[-1].endswith("\n"):
        kept.write_text("".join(lines[:-1]))
        lines.pop()
    return [json.loads(line) for line in lines]


def rounded(value: Any) -> Any:
    """Numbers to five digits, what they need to be judged again."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) and math.isfinite(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stage", choices=["develop", "held-out"], default="develop")
    parser.add_argument("--at-once", type=int, default=2)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept = asked.folder / "runs.jsonl"
    have = {Condition(**row["condition"]).name for row in whole_rows(kept)}
    missing = [condition for condition in conditions(asked.stage) if condition.name not in have]
    with ThreadPoolExecutor(asked.at_once) as pool, kept.open("a") as file:
        running = [pool.submit(made, condition, asked.folder) for condition in missing]
        for number, row in enumerate((done.result() for done in as_completed(running)), 1):
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{number} of {len(missing)}: {Condition(**row['condition']).name}", flush=True)


if __name__ == "__main__":
    main()
