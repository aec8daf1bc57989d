"""One run's numbers however they are come by: trained in one go, stopped and resumed, on two ranks, measured later.

    python benchmarks/one_number.py

Whole commands, in float64 so that two ranks and one can be compared to the digit: SimCLR and DeepCluster on pictures of
odd sizes in a folder, AVID on the built-in clips. A stop is Ctrl-C after the first line of the log.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torchvision.io import write_png

from semblance.data.sources.shapes import shapes

SEMBLANCE = [sys.executable, "-m", "semblance"]
PICTURES = "--image-size 32 --backbone resnet10-w8-cifar --recipe quick --batch-size 64 --epochs 6 --eval-every 0"
RUNS = {
    "simclr": PICTURES,
    "deepcluster": f"{PICTURES} --hyper.clusters 20",
    "avid": "--data bounce --max-steps 30 --eval-every 0 --batch-size 16",
}


def folder_of_pictures(path: Path) -> Path:
    """600 pictures of 56x70 in folders of their classes."""
    pictures, labels, classes = shapes(600, 70, 0)
    for i, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True)):
        (path / classes[label]).mkdir(parents=True, exist_ok=True)
        write_png(picture[:, 7:63], str(path / classes[label] / f"{i}.png"))
    return path


def run(*arguments: str) -> None:
    subprocess.run([*SEMBLANCE, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stopped_and_resumed(flags: list[str], out: Path) -> None:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([*SEMBLANCE, "train", *flags, "--out", str(out)], stdout=quiet, stderr=quiet)
    log = out / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130, "not stopped"
    run("train", "--resume", "--out", str(out))


def trained_row(out: Path) -> dict[str, float]:
    row = json.loads((out / "summary.json").read_text())["table"][-1]
    return {name: value for name, value in row.items() if isinstance(value, float)}


def evaluated_row(out: Path, *flags: str) -> dict[str, float]:
    code = "import json, sys, semblance as sb; print(json.dumps(sb.evaluate(sys.argv[1], **json.loads(sys.argv[2]))))"
    given = {"devices": int(flags[0])} if flags else {}
    done = subprocess.run([sys.executable, "-c", code, str(out), json.dumps(given)], check=True, capture_output=True)
    row = json.loads(done.stdout.splitlines()[-1])[-1]
    return {name: value for name, value in row.items() if isinstance(value, float)}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder_of_pictures(folder / "pictures")
        for method, words in RUNS.items():
            flags = [method, *([] if "--data" in words else ["--data", str(data)]), *words.split()]
            flags += ["--precision", "64", "--workers", "0"]
            alone, again, two = (folder / f"{method}-{what}" for what in ("alone", "again", "two"))
            run("train", *flags, "--out", str(alone))
            stopped_and_resumed(flags, again)
            run("train", *flags, "--devices", "2", "--out", str(two))
            rows = {
                "train": trained_row(alone),
                "evaluate": evaluated_row(alone),
                "stopped and resumed": trained_row(again),
                "two ranks": trained_row(two),
                "that of two ranks, evaluated on one": evaluated_row(two),
            }
            measures = [name for name in rows["train"] if "top1" in name or "recall" in name][:3]
            print(f"\n| {method} | {' | '.join(measures)} |\n|---|{'---|' * len(measures)}")
            for what, row in rows.items():
                print(f"| {what} | {' | '.join(f'{100 * row[name]:.4f}' for name in measures)} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
