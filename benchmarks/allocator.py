"""What keeping freed memory is worth to a training step on a CPU, and what it costs.

    python benchmarks/allocator.py

SimCLR's `small` recipe with a ResNet-10 of width 32 at 32 px, batches of 256, channels last. Each measurement is a
process of its own, in turns; seconds are the median of its steps, the peak is of its resident memory.
"""

import argparse
import statistics
import time

import torch
from grouping import apart, peak

from semblance import modalities
from semblance.engine import loop
from semblance.engine.optimizers import make_optimizer
from semblance.modalities.build import build
from semblance.runs.resolve import resolve
from semblance.runtime.allocator import keep_freed_memory
from semblance.runtime.precision import choose_precision
from semblance.systems import Clock

BATCH, WARM, STEPS = 256, 2, 10


def measure(keep: bool, line) -> None:
    if keep:
        assert keep_freed_memory(), "the C library is not glibc"
    cpu = torch.device("cpu")
    flags = {"method": "simclr", "recipe": "small", "backbone": "resnet10-w32-cifar"}
    flags |= {"batch_size": BATCH, "precision": choose_precision("auto", cpu)}
    config = resolve(flags | {"channels_last": True, "compile": False})
    method = build(config, modalities.of(config.method)).train().to(memory_format=torch.channels_last)
    optimizer = make_optimizer(config.optimizer, method, weight_decay=config.weight_decay)
    pixels = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8)
    raw = (pixels, torch.full((BATCH, 2), 32, dtype=torch.int32), torch.arange(BATCH))
    seconds = []
    for step in range(WARM + STEPS):
        start = time.perf_counter()
        loop.step(method, optimizer, raw, config, Clock(step, 100, 10), cpu)
        seconds.append(time.perf_counter() - start)
    line.send((statistics.median(seconds[WARM:]), peak()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(args.rounds):
        for keep in found:
            found[keep].append(apart(measure, keep))
    print("| freed memory is | images/s, median (min to max) | peak, MiB |\n|---|---|---|")
    for keep, rounds in found.items():
        speed = sorted(BATCH / seconds for seconds, _ in rounds)
        told = f"{statistics.median(speed):.0f} ({speed[0]:.0f} to {speed[-1]:.0f})"
        print(f"| {'kept' if keep else 'given back'} | {told} | {max(high for _, high in rounds):,.0f} |")


if __name__ == "__main__":
    main()
