"""Which processes of a run this one is among: what torchrun, srun or --devices say of it in its environment."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from semblance.errors import UserError

WITHOUT = {  # what makes a process one of its own again
    "--devices": "unset SEMBLANCE_STARTED_BY",
    "torchrun": "unset TORCHELASTIC_RUN_ID",
    "srun": "unset SLURM_NTASKS SLURM_STEP_NUM_TASKS",
}


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of a run, where they meet, and who started them."""

    rank: int
    world: int
    local_rank: int
    on_machine: int
    address: str
    port: int
    by: str


def started_with_others() -> Place | None:
    """The place of this process among those that --devices, torchrun or srun have started, if one of them has."""
    given = os.environ
    if given.get("SEMBLANCE_STARTED_BY") == str(os.getppid()):
        return _place(given, "--devices")
    if "TORCHELASTIC_RUN_ID" in given:
        return _place(given, "torchrun")
    return _of_slurm(given)


def _place(given: Mapping[str, str], by: str) -> Place:
    try:
        rank, world, local, on_machine, port = (
            int(given[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
        )
        return Place(rank, world, local, on_machine, given["MASTER_ADDR"], port, by)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"Variables of {by} are set, but not all that it sets ({error}). Start with {by}, or {WITHOUT[by]}."
        ) from error


def _of_slurm(given: Mapping[str, str]) -> Place | None:
    """This process's place among the tasks of srun.

    A batch script and the shell of salloc have variables of Slurm too, but only srun runs a program as many times as
    they say, as a numbered step. Those of interactive shells have numbers at the end of the range, or a terminal.
    """
    if int(_number(given, "SLURM_NTASKS", "1")) < 2 and int(_number(given, "SLURM_STEP_NUM_TASKS", "1")) < 2:
        return None
    step = _number(given, "SLURM_STEP_ID", given.get("SLURM_STEPID", ""))
    own = given.get("SLURM_TASK_PID") == str(os.getpid())  # srun's own child, whatever else
    if not step.isdigit() or int(step) >= 0xFFFFFF00 or ("SLURM_PTY_PORT" in given and not own):
        tasks = given.get("SLURM_NTASKS")
        print(
            f"Slurm has {tasks} tasks here, but srun did not start this process: it is one task, on its own. "
            "For all of them: srun semblance train ...",
            file=sys.stderr,
        )
        return None
    try:
        world = int(given.get("SLURM_STEP_NUM_TASKS") or given["SLURM_NTASKS"])
        machines = int(given.get("SLURM_STEP_NUM_NODES") or given.get("SLURM_NNODES") or 1)
        rank, local = int(given["SLURM_PROCID"]), int(given["SLURM_LOCALID"])
        address = given.get("MASTER_ADDR") or _first_host(given.get("SLURM_STEP_NODELIST") or given["SLURM_NODELIST"])
        port = int(given.get("MASTER_PORT") or 15000 + (int(given["SLURM_JOB_ID"]) * 7 + int(step)) % 40000)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"Variables of srun are set, but not all that it sets ({error}). Start with srun, or {WITHOUT['srun']}."
        ) from error
    if not 0 <= rank < world:
        raise UserError(f"SLURM_PROCID is {rank} of {world} tasks: start with srun, or {WITHOUT['srun']}.")
    return Place(rank, world, local, -(-world // machines), address, port, "srun")


def _number(given: Mapping[str, str], name: str, otherwise: str) -> str:
    return value if (value := given.get(name, otherwise)).isdigit() else otherwise


def _first_host(hosts: str) -> str:
    """The first of Slurm's short form of many: "gpu[07-09,12],cpu1" is gpu07."""
    first = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\]([^,\[]*))?", hosts)
    if first is None:
        raise ValueError(f"SLURM_NODELIST={hosts}")
    return "".join(part or "" for part in first.groups())
