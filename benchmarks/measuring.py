"""What measuring takes beside training: seconds and peak memory of whole commands on sets of several sizes.

    python benchmarks/measuring.py --pictures 20000 60000 200000

Noise of ten classes in a .npz, 32 px; 30 steps of SimCLR (quick recipe). Per set the command `semblance train`, once as
it is and, with --all, once measuring on every picture. Times are from summary.json and the clock around the command.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def measured(folder: Path, data: Path, flags: list[str]) -> tuple[float, float, float]:
    """Seconds of the command and of training within it, and the peak of its memory in GiB."""
    out = folder / "run"
    command = [sys.executable, "-m", "semblance", "train", "simclr", "--data", str(data), "--recipe", "quick"]
    command += ["--max-steps", "30", "--eval-every", "0", "--out", str(out), *flags]
    started = time.perf_counter()
    peak_of = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL); "
    peak_of += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", peak_of, *command], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    return seconds, json.loads((out / "summary.json").read_text())["training_seconds"], int(done.stdout) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, nargs="+", default=[20_000, 60_000])
    parser.add_argument("--all", action="store_true", help="also measure on every picture")
    arguments = parser.parse_args()
    for number in arguments.pictures:
        for flags in [[], ["--eval-samples", "0"]] if arguments.all else [[]]:
            with tempfile.TemporaryDirectory() as folder:
                data = Path(folder) / "noise.npz"
                r = np.random.default_rng(0)
                labels = r.integers(0, 10, number)
                pictures = r.integers(0, 200, (number, 32, 32, 3), dtype=np.uint8)
                np.savez(data, x=pictures + (5 * labels[:, None, None, None]).astype(np.uint8), y=labels)
                seconds, training, peak = measured(Path(folder), data, flags)
            told = " ".join(flags) or "default"
            print(
                f"{number:,} pictures, {told}: {seconds:.0f} s, training {training:.0f} s, peak {peak:.1f} GiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
