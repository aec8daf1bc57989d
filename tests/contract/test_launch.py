"""Processes started by --devices, torchrun, Slurm or on two hosts end where one does, without a change of flags."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ranks import Ranks
from tiny import CPU, assert_close, gradients_of, losses, tiny_config, tiny_method, train

import semblance as sb
from semblance.commands.backbones import load_backbone
from semblance.data import load
from semblance.data.loader import in_parts
from semblance.errors import UserError
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime import ranks
from semblance.runtime.fsdp import full, shard
from semblance.runtime.place import started_with_others

FLAGS = (
    "--image-size 8 --backbone resnet10-w8-cifar --recipe quick --batch-size 15 --epochs 2 --eval-every 0 --workers 0"
    " --precision 64 --no-channels-last --no-compile --hyper.hidden 16"
)
HOSTS = ("10.231.77.1", "10.231.77.2")
Start = Callable[[list[str]], list[subprocess.Popen]]


@pytest.fixture(scope="module")
def alone(pictures: Path) -> Path:
    """The run of one process."""
    out = pictures.parent / "alone"
    end([start([sys.executable, *command(pictures, out)])])
    return out


def command(pictures: Path, out: Path) -> list[str]:
    return ["-m", "semblance", "train", "simclr", "--data", str(pictures), "--out", str(out), *FLAGS.split()]


def start(arguments: list[str], session: bool = False, **environment: str) -> subprocess.Popen:
    """A program, in a process group of its own where `session` says so."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"} | environment
    return subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=session,
    )  # fmt: skip


def end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        told, _ = process.communicate(timeout=240)
        assert process.returncode == 0, told


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def assert_same_run(out: Path, alone: Path) -> None:
    a, b = (checkpoint.load(RunFolder(folder).checkpoint)["method"] for folder in (out, alone))
    assert_close(a, b, 1e-9)
    assert_close(losses(out), losses(alone), 1e-9)
    assert RunFolder(out).report.exists() and RunFolder(out).backbone.exists()


def test_devices(pictures: Path, alone: Path, tmp_path: Path) -> None:
    """Also in a shell with variables that other launchers have left there."""
    left = {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "10.1.2.3"}
    end([start([sys.executable, *command(pictures, tmp_path / "run"), "--devices", "2"], **left)])
    assert_same_run(tmp_path / "run", alone)


def test_more_processes_than_a_machine_bears_are_refused(pictures: Path, tmp_path: Path) -> None:
    asked = [sys.executable, *command(pictures, tmp_path / "run"), "--devices", "1000"]
    ended = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2 and "--devices 1000: " in ended.stderr and len(ended.stderr.splitlines()) <= 2


TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def test_torchrun(pictures: Path, alone: Path, tmp_path: Path) -> None:
    end([start([*TORCHRUN, "--standalone", "--nproc-per-node", "2", *command(pictures, tmp_path / "run")])])
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.parametrize("to", [pytest.param("all-of-the-group-twice", marks=pytest.mark.long), "one-rank"])
def test_sigterm_saves_on_all_ranks(to: str, pictures: Path, tmp_path: Path) -> None:
    """With workers that read pictures from the disk, at a step that is not logged: nothing is lost."""
    script, out = tmp_path / "run.py", tmp_path / "run"
    script.write_text(
        "from semblance.runtime import memory\nfrom semblance.__main__ import main\n"
        "memory._available = lambda: 0\nmain()\n"
    )
    own = [str(script), *command(pictures, out)[2:]]
    own[own.index("--workers") + 1], own[own.index("--epochs") + 1] = "2", "100000"
    launcher = start([*TORCHRUN, "--standalone", "--nproc-per-node", "2", *own], session=True)
    while not RunFolder(out).metrics.exists() and launcher.poll() is None:
        time.sleep(0.05)
    if to == "one-rank":
        found = subprocess.run(["pgrep", "-P", str(launcher.pid), "-f", "run.py"], capture_output=True, text=True)
        os.kill(int(found.stdout.split()[-1]), signal.SIGTERM)
    else:
        for _ in range(2):
            os.killpg(launcher.pid, signal.SIGTERM)
            time.sleep(0.2)
    told, _ = launcher.communicate(timeout=120)
    assert RunFolder(out).checkpoint.exists(), told
    assert checkpoint.load(RunFolder(out).checkpoint)["step"] >= max(losses(out)) > 0


def test_slurm(pictures: Path, alone: Path, tmp_path: Path) -> None:
    """Two tasks with the variables that srun sets."""
    common = {
        "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NODELIST": "localhost", "SLURM_JOB_NAME": "semblance",
        "SLURM_JOB_ID": "4711", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(),
    }  # fmt: skip
    own = [{"SLURM_STEP_ID": "0", "SLURM_PROCID": str(r), "SLURM_LOCALID": str(r)} for r in range(2)]
    end([start([sys.executable, *command(pictures, tmp_path / "run")], **common, **mine) for mine in own])
    assert_same_run(tmp_path / "run", alone)


IN_A_JOB = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NODELIST": "localhost"}


@pytest.mark.parametrize(
    "own",
    [
        pytest.param({"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}, id="batch script"),
        pytest.param({}, id="salloc"),
        pytest.param({"SLURM_PROCID": "0", "SLURM_STEP_ID": str(0xFFFFFFFA)}, id="salloc by srun"),
        pytest.param({"SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_PTY_PORT": "40123"}, id="srun --pty bash"),
    ],
)
def test_what_srun_did_not_start_is_one_task(own: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name, value in (IN_A_JOB | own).items():
        monkeypatch.setenv(name, value)
    assert started_with_others() is None
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "srun did not start this process" in told


def test_the_place_of_a_task_is_that_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the whole job; and the first host is read from Slurm's short form."""
    step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu[07-09,12],cpu1"}
    step |= {"SLURM_STEP_ID": "3", "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NTASKS": "64"}
    for name, value in (IN_A_JOB | step).items():
        monkeypatch.setenv(name, value)
    place = started_with_others()
    assert place is not None
    assert (place.rank, place.world, place.local_rank, place.on_machine, place.address) == (2, 4, 0, 2, "gpu07")


@pytest.mark.parametrize("lacking", ["SLURM_PROCID", "SLURM_JOB_ID", "RANK", "MASTER_PORT"])
def test_half_a_launcher_is_refused(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    torchrun |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "1234"}
    slurm = IN_A_JOB | {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name, value in (slurm if lacking.startswith("SLURM") else torchrun).items():
        if name != lacking:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"not all that it sets .*{lacking}"):
        started_with_others()


STOPS = [(1, None), (1, signal.SIGTERM), (0, None)]


@pytest.mark.parametrize(
    ("stopped", "signalled"), [(1, signal.SIGINT), *(pytest.param(*stop, marks=pytest.mark.long) for stop in STOPS)]
)
def test_a_rank_that_stands_still_holds_nobody(
    stopped: int, signalled: signal.Signals | None, pictures: Path, tmp_path: Path
) -> None:
    """In the middle of a collective: after a time that is told, or at a signal."""
    out = tmp_path / "run"
    own = command(pictures, out)
    own[own.index("--epochs") + 1] = "100000"
    leader = start([sys.executable, *own, "--devices", "2"], SEMBLANCE_TIMEOUT="600" if signalled else "3")
    while not RunFolder(out).metrics.exists() and leader.poll() is None:
        time.sleep(0.05)
    found = subprocess.run(["pgrep", "-P", str(leader.pid)], capture_output=True, text=True)
    other = int(found.stdout.split()[0])
    os.kill((leader.pid, other)[stopped], signal.SIGSTOP)
    if signalled:
        leader.send_signal(signalled)
    if stopped == 0:
        while Path(f"/proc/{other}").exists() and " Z " not in Path(f"/proc/{other}/stat").read_text():
            time.sleep(0.05)
        leader.send_signal(signal.SIGCONT)
    told, _ = leader.communicate(timeout=60)
    what = "stopped at once: rank 1 has not answered for" if signalled else f"rank {stopped} has not answered for 3 s"
    assert what in told and f"Go on with: semblance train --resume --out {out}" in told and "Traceback" not in told
    assert leader.returncode == (130 if signalled else 1)


def test_a_rank_that_is_killed_is_told(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    own = command(pictures, out)
    own[own.index("--epochs") + 1] = "100000"
    leader = start([sys.executable, *own, "--devices", "2"])
    while not RunFolder(out).metrics.exists() and leader.poll() is None:
        time.sleep(0.05)
    found = subprocess.run(["pgrep", "-P", str(leader.pid)], capture_output=True, text=True)
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    told, _ = leader.communicate(timeout=60)
    assert leader.returncode == 1 and "rank 1 has ended without a word" in told and "Traceback" not in told


def _differing(out: Path, data: list[Path]) -> str:
    with pytest.raises(UserError) as caught:
        sb.train("simclr", data=str(data[ranks.world()[0]]), out=str(out), image_size=8, batch_size=8)
    return str(caught.value)


def test_ranks_that_see_different_data_are_told_apart(two_ranks: Ranks, tmp_path: Path) -> None:
    """Another name, another picture, other labels: the same words on every rank, before anything is written."""
    folders = [tmp_path / "here" / "pets", tmp_path / "there" / "pets"]
    for folder in folders:
        for i in range(24):
            path = folder / ("cat", "dog")[i % 2] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    there = folders[1]
    (there / "cat" / "00.png").unlink()
    for change, words in (
        (lambda: None, "to train on: rank 0 has 2., rank 1 has 2.; only rank 0 has cat/00.png"),
        (lambda: (there / "cat" / "02.png").rename(there / "cat" / "00.png"), "only rank 0 has cat/02.png"),
        (lambda: Image.new("RGB", (12, 12)).save(there / "cat" / "02.png"), "of the same names but with other pixels"),
    ):
        change()
        first, second = two_ranks(_differing, tmp_path / "run", folders)
        assert first == second and re.search(f"ranks see different pictures .*{words}", first)
    assert not (tmp_path / "run").exists()


def _few(out: Path, data: Path) -> Any:
    return _numbers(sb.train("simclr", data=str(data), out=str(out), **FEW))


def _numbers(summary: dict[str, Any]) -> list[float]:
    return [row[name] for row in summary["table"] for name in ("knn_top1", "linear_top1")]


FEW = {"backbone": "resnet10-w8-cifar", "image_size": 8, "batch_size": 8, "max_steps": 1, "precision": "64"}


def test_fewer_held_out_pictures_than_ranks(two_ranks: Ranks, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(9) % 2
    np.savez(tmp_path / "few.npz", x_train=pixels[1:], y_train=labels[1:], x_test=pixels[:1], y_test=labels[:1])
    tables = two_ranks(_few, tmp_path / "two", tmp_path / "few.npz")
    assert tables[0] == tables[1] == pytest.approx(_few(tmp_path / "one", tmp_path / "few.npz"))


def _read(data: Path) -> tuple[list[Any], list[int], list[tuple[int, ...]]]:
    """What this rank takes for unreadable and readable once all have read, and the shapes of two passes."""
    pictures = load(str(data), image_size=8, memory_fraction=0.0).train
    few = pictures.subset([5])
    parts = [torch.cat([*in_parts(of, lambda raw, index: raw[0].flatten(1), CPU, 0)]).shape for of in (pictures, few)]
    return sorted(pictures.skipped), pictures.readable.tolist(), parts


def test_ranks_know_of_each_others_unreadable_files_and_may_have_none_to_read(two_ranks: Ranks, tmp_path: Path) -> None:
    """Each decodes its own share from the disk."""
    for i in range(24):
        path = tmp_path / "pets" / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
        if i in (1, 2, 3, 20):
            path.write_bytes(b"broken")
    alone = _read(tmp_path / "pets")
    assert len(alone[0]) == 4 and alone[2] == [(24, 192), (1, 192)]
    assert two_ranks(_read, tmp_path / "pets") == [alone, alone]


@pytest.fixture
def two_hosts() -> Iterator[list[list[str]]]:
    """Two network namespaces joined by a cable: the words that start a program on each."""

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"two hosts need the right to make network namespaces: {done.stderr.strip()}")

    names = [f"semblance-{os.getpid()}-{i}" for i in range(2)]
    if not any(Path(folder, "ip").exists() for folder in os.get_exec_path()):
        pytest.skip("two hosts need the program ip")
    with ExitStack() as stack:
        for name in names:
            ip("netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
        ip("link", "add", "cable0", "netns", names[0], "type", "veth", "peer", "name", "cable0", "netns", names[1])
        for name, address in zip(names, HOSTS, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable0")
            ip("-n", name, "link", "set", "cable0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [["ip", "netns", "exec", name] for name in names]


@pytest.mark.long
def test_two_hosts(two_hosts: list[list[str]], pictures: Path, alone: Path, tmp_path: Path) -> None:
    """One process on each, that can reach each other over the cable only."""
    rendezvous = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", HOSTS[0], "--master-port", "29517"]
    own = command(pictures, tmp_path / "run")
    end(
        [
            start([*host, *TORCHRUN, *rendezvous, "--node-rank", str(i), *own], GLOO_SOCKET_IFNAME="cable0")
            for i, host in enumerate(two_hosts)
        ]
    )
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.long
def test_sharded_from_the_command_line(pictures: Path, tmp_path: Path) -> None:
    """From flags to the backbone and the report, by torchrun."""

    def flags(out: str, *more: str) -> list[str]:
        own = command(pictures, tmp_path / out)
        own[own.index("resnet10-w8-cifar")], own[own.index("8")] = "test_vit", "16"
        return [*own, *more]

    end([start([sys.executable, *flags("alone")])])
    end([start([*TORCHRUN, "--standalone", "--nproc-per-node", "2", *flags("sharded", "--shard")])])
    assert_same_run(tmp_path / "sharded", tmp_path / "alone")
    a, b = (load_backbone(tmp_path / out).state_dict() for out in ("sharded", "alone"))
    assert_close(a, b, 1e-9)


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_sharded_in_float32(more: list[str], pictures: Path, tmp_path: Path) -> None:
    """Gloo cannot multiply on the way, as torch asks it to in float32; a ViT may be faster with channels last."""
    own = command(pictures, tmp_path / "run")
    swapped = {"resnet10-w8-cifar": "test_vit", "8": "16", "64": "32", "--no-channels-last": "--no-download"}
    own = [swapped.get(word, word) for word in own]
    end([start([*TORCHRUN, "--standalone", "--nproc-per-node", "2", *own, "--shard", *more])])


def _sharded(config: TrainConfig, out: Path, resume: bool) -> dict[str, Any]:
    method = tiny_method(config, norms=False)  # micro-batches are exact without batch norm only
    if config.shard:
        shard(method, method.backbone, CPU)
    train(method, config, out, resume=resume)
    assert not config.shard or sum(p.to_local().numel() for p in method.backbone.parameters()) < 0.6 * sum(
        p.numel() for p in method.backbone.parameters()
    )
    return {"state": full(method.state_dict()), "gradients": full(gradients_of(method)), "losses": losses(out)}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon", "lars"])
@pytest.mark.parametrize("method", ["simclr", "byol", "dino"])
def test_a_sharded_vit_is_a_whole_one(method: str, optimizer: str, two_ranks: Ranks, tmp_path: Path) -> None:
    """With clipping and micro-batches; and its checkpoint goes on whole, on one rank."""
    flags = {"backbone": "test_vit", "image_size": 16, "precision": "64", "optimizer": optimizer, "lr": 0.01}
    config = tiny_config(method, **flags, clip_grad=0.5, max_steps=4, micro_batch=5)
    one = _sharded(config, tmp_path / "one", False)
    first = config.model_copy(update={"shard": True, "max_steps": 4})
    for two in two_ranks(_sharded, first, tmp_path / "two", False):
        for part in ("state", "gradients"):
            assert_close(two[part], one[part], 1e-8)
    longer = config.model_copy(update={"max_steps": 6})
    resumed = _sharded(longer, tmp_path / "two", True)
    assert list(resumed["losses"]) == list(range(1, 7))
