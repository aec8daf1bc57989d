"""Memory and time of grouping a whole set, and how they grow with it.

    python benchmarks/grouping.py

Random features of 256 dimensions in 10,000 clusters: two iterations of k-means and the labels, which are three passes
over all scores; eleven iterations of optimal transport, its first and its last step, which are thirteen; whitening of
4,096 dimensions to 256. Each size runs in a process of its own; the peak is of its resident memory, less what it held
before.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from semblance.systems import grouping

DIM, WIDE, CLUSTERS = 256, 4096, 10_000


def peak() -> float:
    """MiB of this process's resident memory at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(measure: Callable[..., None], *args: Any) -> Any:
    """What `measure(*args, line)` sends down the line, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=measure, args=(*args, theirs))
    process.start()
    theirs.close()  # so that a crash there is an end here
    found = ours.recv()
    process.join()
    return found


def measure(n: int, what: str, line) -> None:
    x = torch.randn(n, WIDE if what == "whitening" else DIM, generator=torch.Generator().manual_seed(0))
    before, start = peak(), time.perf_counter()
    if what == "k-means":
        grouping.kmeans(F.normalize(x, dim=1), CLUSTERS, 2, key=0)
    elif what == "whitening":
        grouping.whiten(x, DIM)
    else:
        weight = torch.randn(CLUSTERS, DIM) * 0.02
        grouping.balanced_labels(x, partial(F.linear, weight=weight), 10.0, tolerance=float("inf"))
    line.send((x.nbytes / 2**20, peak() - before, time.perf_counter() - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32_000, 64_000, 128_000])
    parser.add_argument("--what", nargs="+", default=["k-means", "transport", "whitening"])
    args = parser.parse_args()
    print("| | rows | features, MiB | peak beside them, MiB | seconds |\n|---|---|---|---|---|")
    for what in args.what:
        for n in args.sizes:
            features, extra, seconds = apart(measure, n, what)
            print(f"| {what} | {n:,} | {features:,.0f} | {extra:,.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
