"""An exception at any stage ends every process of a run, its workers too, with one message and no status of success."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from promises import RECORD

FLAGS = (
    "--image-size 8 --backbone resnet10-w8-cifar --recipe quick --batch-size 8 --epochs 3 --eval-every 0"
    " --precision 32 --no-channels-last --no-compile --hyper.hidden 16"
)
FAULTS = {  # what goes wrong: code that plants it, and what is told
    "listing": ("plant(folders, 'find_in_folder', fail)", "RuntimeError: planted"),
    "listing, on one rank": ("plant(folders, 'find_in_folder', fail, only=LAST)", "RuntimeError: planted"),
    "decoding": ("plant(Images, 'or_next', fail, after=30)", "RuntimeError: planted"),
    "a worker is killed": ("plant(Images, 'or_next', kill_worker, after=30)", "killed by signal|planted"),
    "Ctrl-C in a worker": ("plant(Images, 'or_next', interrupt, after=30)", "exited unexpectedly|[Ss]topped"),
    "the untrained row": ("plant(Pictures, 'measure', fail)", "RuntimeError: planted"),
    "the objective": ("plant(SimCLR, 'objective', fail, after=3)", "RuntimeError: planted"),
    "the objective, on one rank": ("plant(SimCLR, 'objective', fail, after=3, only=LAST)", "RuntimeError: planted"),
    "the log": ("spoil('metrics.jsonl')", "Cannot write .*metrics.jsonl: Is a directory. .*--resume --out"),
    "the log, in the middle of a picture": ("stall(); spoil('metrics.jsonl')", "Cannot write .*metrics.jsonl: Is a"),
    "the checkpoint": ("spoil('checkpoints/last.ckpt')", "Cannot write .*last.ckpt: Is a directory. .*--resume --out"),
    "the folder is gone": ("plant(SimCLR, 'update', remove, after=3)", "Cannot write .*: No such file"),
    "the backbone": ("spoil('backbone.safetensors')", "Cannot write .*backbone.safetensors: Is a directory"),
    "the report": ("spoil('report.html')", "Cannot write .*report.html: Is a directory. .*--resume --out"),
    "the summary": ("spoil('summary.json')", "Cannot write .*summary.json: Is a directory. .*--resume --out"),
    "Ctrl-C in a step": ("plant(SimCLR, 'update', interrupt_all, after=3)", "Stopped after step"),
    "SIGTERM in a step": ("plant(SimCLR, 'update', terminate, after=3)", "Stopped after step"),
    "Ctrl-C in the table": ("plant(Pictures, 'measure', interrupt_all)", "Stopped. Go on with"),
    "SIGTERM in the table": ("plant(Pictures, 'measure', terminate)", "Stopped. Go on with"),
}  # fmt: skip
WORST = {("the log, in the middle of a picture", 2, 1), ("the objective, on one rank", 2, 2), ("the report", 0, 2)}

SCRIPT = """
import os, shutil, signal, sys, time
from pathlib import Path
import torch.utils.data
from semblance.__main__ import main
from semblance.commands import train
from semblance.data.pictures.images import Images
from semblance.data.sources import folders
from semblance.modalities.pictures import Pictures
from semblance.runtime import memory
from semblance.systems.contrastive.simclr import SimCLR

memory._available = lambda: 0  # pictures stay on the disk
OUT, LAST, RANK = Path(sys.argv[sys.argv.index("--out") + 1]), RANKS - 1, int(os.environ.get("RANK", 0))

def note():
    with open(OUT.with_name("when"), "a") as file:
        file.write(f"{time.time()}\\n")

def plant(where, name, fault, after=0, only=None):
    original, calls = getattr(where, name), [0]
    def faulty(*arguments, **named):
        calls[0] += 1
        if calls[0] > after and only in (None, RANK):
            note()
            fault()
        return original(*arguments, **named)
    setattr(where, name, faulty)

def fail():
    raise RuntimeError("planted")

def kill_worker():
    if torch.utils.data.get_worker_info() is None:
        fail()
    os.kill(os.getpid(), signal.SIGKILL)

def interrupt():
    raise KeyboardInterrupt

def interrupt_all():
    signal.raise_signal(signal.SIGINT)

def terminate():
    signal.raise_signal(signal.SIGTERM)

def remove():
    shutil.rmtree(OUT, ignore_errors=True)

def stall():
    original, pieces = Images.read, [0]
    def read(self, index, key=None):
        pieces[0] += torch.utils.data.get_worker_info() is not None
        if pieces[0] > 1:
            time.sleep(1000)
        return original(self, index, key)
    fit = train.fit
    def stalled(*arguments, **named):  # in training alone
        Images.read = read
        return fit(*arguments, **named)
    train.fit = stalled
    SimCLR.update = lambda *arguments: time.sleep(3)  # until a worker has come so far

def spoil(name):
    (OUT / name).mkdir(parents=True, exist_ok=True)
    from semblance.runtime import atomic_files
    original = atomic_files.writing
    def watched(path):
        if path == OUT / name:
            note()
        return original(path)
    atomic_files.writing = watched

PLANT
main()
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of two classes, some large enough that a worker is found in the middle of one."""
    root = tmp_path_factory.mktemp("photographs")
    for i in range(32):
        path = root / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        side = 700 if i % 4 == 0 else 60
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return root


def cases() -> Iterator[object]:
    for fault, workers, ranks in product(FAULTS, (0, 2), (1, 2)):
        if (ranks == 1 and "one rank" in fault) or (workers == 0 and "picture" in fault):
            continue
        marks = [] if (fault, workers, ranks) in WORST else [pytest.mark.long]
        yield pytest.param(fault, workers, ranks, marks=marks, id=f"{fault}-{workers}-workers-{ranks}-ranks")


@pytest.mark.parametrize(("fault", "workers", "ranks"), cases())
def test_every_process_ends(
    fault: str, workers: int, ranks: int, photographs: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    planted, told = FAULTS[fault]
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.replace("PLANT", planted).replace("RANKS", str(ranks)))
    flags = ["train", "simclr", "--data", str(photographs), "--out", str(tmp_path / "run"), *FLAGS.split()]
    command = [sys.executable, str(script), *flags, "--workers", str(workers), "--devices", str(ranks)]
    with (tmp_path / "output").open("w") as output:
        run = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    try:
        status = run.wait(90)
        gone = wait_until_gone(run.pid, 30)
    finally:
        for pid in session(run.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
    output = (tmp_path / "output").read_text()
    assert status > 0, output
    assert re.search(told, " ".join(output.split())), output
    assert len(speakers(output)) == 1, output
    since = min(map(float, (tmp_path / "when").read_text().split()))
    request.config.stash[RECORD].exits[fault, workers, ranks] = gone - since


def speakers(output: str) -> set[str]:
    """Who has told of an error: a rank by its traceback, or a line of ours."""
    lines = re.findall(r"^(?:semblance: |Stopped).*", output, re.M)
    return set(re.findall(r"^(?:\[rank\d\]: )?Traceback \(most", output, re.M)) | set(lines)


def session(leader: int) -> list[int]:
    """The living processes that a program, the first of its session, has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, own = status.read_text().rpartition(") ")[2].split()[:4]
            if int(own) == leader and state != "Z":
                found.append(int(status.parent.name))
    return found


def wait_until_gone(leader: int, seconds: float) -> float:
    """When the last process of a session was gone."""
    until = time.time() + seconds
    while left := session(leader):
        assert time.time() < until, f"{len(left)} processes never end"
        time.sleep(0.02)
    return time.time()
