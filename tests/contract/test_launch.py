"""Processes started by --devices, torchrun, Slurm or on two hosts end where one does, without a change of flags."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ranks import Ranks
from tiny import CPU, assert_close, gradients_of, losses, tiny_config, tiny_method, train

from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.weights import load_backbone
from semblance.runtime.fsdp import full, shard

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
    end([start([sys.executable, *command(pictures, tmp_path / "run"), "--devices", "2"])])
    assert_same_run(tmp_path / "run", alone)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def test_torchrun(pictures: Path, alone: Path, tmp_path: Path) -> None:
    end([start([*TORCHRUN, "--standalone", "--nproc-per-node", "2", *command(pictures, tmp_path / "run")])])
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.parametrize("to", ["all-of-the-group-twice", "one-rank"])
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
    own = [{"SLURM_PROCID": str(r), "SLURM_LOCALID": str(r), "SLURM_NODEID": "0"} for r in range(2)]
    end([start([sys.executable, *command(pictures, tmp_path / "run")], **common, **mine) for mine in own])
    assert_same_run(tmp_path / "run", alone)


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
