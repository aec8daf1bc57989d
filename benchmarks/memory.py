"""Memory of a step of SimCLR at growing batches with the same micro-batch.

    python benchmarks/memory.py

A ResNet-10 of width 16 at 32 px in float32. Each batch has a process of its own; the peak is of its resident memory,
less what it held before the step: the network, the optimiser and the raw pictures.
"""

import argparse
import time

import torch
from grouping import apart, peak

from semblance import modalities
from semblance.engine import loop
from semblance.engine.optimizers import make_optimizer
from semblance.modalities.build import build
from semblance.runs.resolve import resolve
from semblance.systems import Clock


def measure(batch: int, micro_batch: int | None, line) -> None:
    flags = {"method": "simclr", "recipe": "quick", "batch_size": batch, "micro_batch": micro_batch, "precision": "32"}
    config = resolve(flags | {"channels_last": False, "compile": False})
    method = build(config, modalities.of(config.method)).train()
    optimizer = make_optimizer(config.optimizer, method, weight_decay=config.weight_decay)
    pixels = torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8)
    raw = (pixels, torch.full((batch, 2), 32, dtype=torch.int32), torch.arange(batch))
    before, start = peak(), time.perf_counter()
    loop.step(method, optimizer, raw, config, Clock(0, 10, 10), torch.device("cpu"))
    line.send((pixels.nbytes / 2**20, peak() - before, time.perf_counter() - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 2048, 8192, 32_768])
    parser.add_argument("--micro-batch", type=int, default=256)
    args = parser.parse_args()
    print("| batch | micro-batch | pictures, MiB | embeddings, MiB | peak beside them, MiB | seconds |")
    print("|---|---|---|---|---|---|")
    for batch, micro in [(b, args.micro_batch) for b in args.batches] + [(2048, None)]:
        pixels, extra, seconds = apart(measure, batch, micro)
        embeddings = batch * 2 * 128 * 4 / 2**20
        cells = (
            f"{batch:,}",
            f"{micro or 'none'}",
            f"{pixels:,.0f}",
            f"{embeddings:,.1f}",
            f"{extra:,.0f}",
            f"{seconds:.0f}",
        )
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
