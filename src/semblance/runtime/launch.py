"""Where the processes of a run come from: this one alone, others started beside it, or torchrun or Slurm."""

import atexit
import logging
import os

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment


def launch(devices: int) -> Fabric:
    """Fabric over so many devices of this machine; where torchrun or Slurm started this process, over all of theirs."""
    machines, devices = _started_by_others() or (1, devices)
    fabric = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=devices, num_nodes=machines,
        strategy="ddp" if machines * devices > 1 else "auto",  # only joins the processes; the seam does the rest
    )  # fmt: skip
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no banner
    fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_leave)
    return fabric


def _leave() -> None:
    """End the threads of the ranks' group, which now and then abort a process that exits with them."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _started_by_others() -> tuple[int, int] | None:
    """(machines, processes on each) of torchrun or Slurm, where this process is one of theirs."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        own = int(os.environ["LOCAL_WORLD_SIZE"])
        return int(os.environ["WORLD_SIZE"]) // own, own
    if SLURMEnvironment.detect():
        machines = int(os.environ["SLURM_NNODES"])
        own = int(os.environ["SLURM_NTASKS"]) // machines
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(own))  # which Fabric asks for where only --ntasks was given
        return machines, own
    return None
