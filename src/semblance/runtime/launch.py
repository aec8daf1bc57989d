"""Where the processes of a run come from: this one alone, others started beside it, or torchrun or Slurm."""

import atexit
import logging
import os

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment


def launch(devices: int) -> Fabric:
    """Fabric over `devices` of this machine or, if torchrun or Slurm started this process, over all of theirs."""
    machines, devices = _started_by_others() or (1, devices)
    fabric = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=devices,
        num_nodes=machines,
        strategy="ddp" if machines * devices > 1 else "auto",  # joins processes; engine/gradients.py sums gradients
    )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no banner
    fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Close the process group: its threads sometimes abort a process that exits while they run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _started_by_others() -> tuple[int, int] | None:
    """(machines, processes on each) of torchrun or Slurm, if one of them started this process."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        own = int(os.environ["LOCAL_WORLD_SIZE"])
        return int(os.environ["WORLD_SIZE"]) // own, own
    if SLURMEnvironment.detect():
        machines = int(os.environ["SLURM_NNODES"])
        own = int(os.environ["SLURM_NTASKS"]) // machines
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(own))  # Fabric needs it, even if only --ntasks was given
        return machines, own
    return None
