"""Whole runs of ten steps that have to end alike, however they are cut into processes, parts and sittings.

`one` and `many` run a function in one process and in each of several ranks.
"""

import random
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semblance.checking.seam import One
from semblance.checking.small import deviation, outcome, small_config, small_samples
from semblance.runs.config import TrainConfig
from semblance.systems import Method
from semblance.views.view import make_views

Many = Callable[..., list[Any]]
COMPARED = ("losses", "gradients", "state")
RANKED = [(16, None, True), (15, None, True), (17, 8, False)]  # batch, micro-batch, with batch norms
STOPS = [(2, 4), (3, 7)]  # step 3 ends an epoch: the warm-up, frozen prototypes; step 5 fills a queue of two batches


def apart(a: dict[str, Any], b: dict[str, Any], compared: Sequence[str] = COMPARED) -> float:
    """The largest deviation between what two runs ended with."""
    return max(deviation(a[part], b[part]) for part in compared)


def of_ranks(one: One, many: Many, config: TrainConfig, out: Path, norms: bool = True) -> float:
    """Between any of several ranks and one process; batches may not divide."""
    alone = one(_ended, config, out / "one", {"norms": norms})
    return max(apart(rank, alone) for rank in many(_ended, config, out / "many", {"norms": norms}))


def of_sittings(one: One, config: TrainConfig, out: Path, stops: Sequence[int]) -> float:
    """Between a run that is stopped and resumed and one that is not. Other weights at first: all must come from the
    checkpoint."""
    undisturbed = one(_ended, config, out / "undisturbed", {})
    losses: dict[int, Any] = {}
    for sitting, stop in enumerate([*stops, None]):
        last = one(_ended, config, out / "stopped", {"resume": sitting > 0, "stop": stop, "seed": sitting})
        losses |= last["losses"]
    return apart(last | {"losses": losses}, undisturbed, (*COMPARED, "optimizer"))


def of_moves(one: One, many: Many, config: TrainConfig, out: Path) -> float:
    """Between one process, and several, stopped, then one, stopped, then several again."""
    alone = one(_ended, config, out / "one", {})
    losses = many(_ended, config, out / "moved", {"stop": 3})[0]["losses"]
    losses |= one(_ended, config, out / "moved", {"resume": True, "stop": 6})["losses"]
    last = many(_ended, config, out / "moved", {"resume": True})[0]
    return apart(last | {"losses": losses | last["losses"]}, alone)


def of_parts(one: One, config: TrainConfig, out: Path) -> float:
    """Between micro-batches of at most 5 and whole batches, batch norms left out."""
    ends = [
        one(_ended, config.model_copy(update={"micro_batch": m}), out / str(m), {"norms": False}) for m in (None, 5)
    ]
    return apart(*ends)


def of_draws(one: One, config: TrainConfig, out: Path) -> float:
    """Between two runs before which the generators of torch, numpy and Python stood elsewhere; and of views, made
    twice and of fewer samples."""
    runs = [one(_after_draws, config, out / str(seed), seed) for seed in (1, 2)]
    return max(apart(*runs), one(views_differ, config))


def of_labels(one: One, config: TrainConfig, out: Path) -> float:
    """Between a run on labelled samples and one on the same without labels."""
    return apart(*(one(_labelled, config, out / str(labelled), labelled) for labelled in (True, False)))


def without_guard(one: One, config: TrainConfig, guard: str, out: Path) -> float:
    """How far a run without a guard goes from one with all of them: it should."""
    off = small_config(config.method, precision=config.precision, max_steps=config.max_steps, without=[guard])
    return apart(*(one(_ended, c, out / name, {}) for name, c in (("off", off), ("on", config))))


def views_differ(config: TrainConfig) -> float:
    """How far views of a sample depend on when they are made, or on what is made along with them."""
    samples = small_samples(config)

    def made(rows: range, step: int = 0) -> list[Any]:
        index = torch.arange(len(samples))[rows.start : rows.stop]
        return make_views(config.views, samples.read(index), index, seed=0, step=step)

    whole, again, part = made(range(16)), made(range(16)), made(range(8, 16))
    numbered = [dict(enumerate(v)) for v in (whole, again, part, [v[8:16] for v in whole])]
    return max(deviation(numbered[0], numbered[1]), float(deviation(numbered[2], numbered[3]) > 1e-4) and inf)


def _ended(config: TrainConfig, out: Path, how: dict[str, Any]) -> dict[str, Any]:
    return outcome(config, out, **how)


def _after_draws(config: TrainConfig, out: Path, seed: int) -> dict[str, Any]:
    def draw(method: Method) -> None:
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)

    random.seed(seed)
    np.random.seed(seed)
    return outcome(config, out, prepared=draw)


def _labelled(config: TrainConfig, out: Path, labelled: bool) -> dict[str, Any]:
    samples = small_samples(config)
    if not labelled:
        samples.attributes = {}
    return outcome(config, out, samples=samples)
