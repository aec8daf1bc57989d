"""The cost of a training step of each method, relative to SimCLR's, in one run.

    python benchmarks/costs.py

`small` recipes with a ResNet-10 of width 32 at 32 px and batches of 128, steps in turns with SimCLR's, medians of the
ratios; without the work at the start of an epoch. Writes the costs.json that `semblance methods` shows.
"""

import argparse
import json
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import torch

import semblance
from semblance import systems
from semblance.data.sources.shapes import shapes
from semblance.engine import loop
from semblance.engine.optimizers import make_optimizer
from semblance.nets.backbones import backbone
from semblance.runs.resolve import resolve
from semblance.runtime.precision import choose_precision
from semblance.systems import Clock

FILE = Path(systems.__file__).parent / "costs.json"
N, BATCH = 1024, 128


class Stepper:
    """One method, ready to take steps on random pictures."""

    def __init__(self, name: str, precision: str) -> None:
        flags = {"method": name, "recipe": "small", "backbone": "resnet10-w32-cifar", "batch_size": BATCH, "epochs": 4}
        self.config = resolve(flags | {"precision": precision, "channels_last": True, "compile": False})
        self.method = systems.get(name)(backbone(self.config.backbone), [], **self.config.hyper)
        self.method.prepare(N)
        self.method.to(memory_format=torch.channels_last).train()
        self.optimizer = make_optimizer(self.config.optimizer, self.method, weight_decay=self.config.weight_decay)

    def __call__(self, pixels: torch.Tensor, sizes: torch.Tensor, step: int) -> float:
        index = torch.arange(BATCH)
        start = time.perf_counter()
        clock = Clock(step, 100, N // BATCH)
        loop.step(self.method, self.optimizer, (pixels, sizes, index), self.config, clock, torch.device("cpu"))
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    pixels, _, _ = shapes(BATCH, 32)
    sizes = torch.full((BATCH, 2), 32, dtype=torch.int32)
    precision = choose_precision("auto", torch.device("cpu"))
    seconds: dict[str, list[float]] = {}
    base = Stepper("simclr", precision)
    names = [name for name in semblance.methods() if systems.get(name).of_pictures()]
    for name in names:  # one at a time, each in turns with SimCLR
        step, own, reference = Stepper(name, precision), [], []
        for i in range(args.rounds + 1):
            reference.append(base(pixels, sizes, i))
            own.append(step(pixels, sizes, i))
        seconds[name] = [o / r for o, r in zip(own[1:], reference[1:], strict=True)]
        print(f"{name:16} {statistics.median(seconds[name]):.2f}", flush=True)
    costs = {name: round(statistics.median(ratios), 2) for name, ratios in seconds.items()}
    measured = f"{date.today()}, {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    FILE.write_text(json.dumps({"measured": measured, "rounds": args.rounds, "costs": costs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
