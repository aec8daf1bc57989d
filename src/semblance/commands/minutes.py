"""`--minutes`: as many steps as a person has time for, from the command to the report, by what this machine takes.

Steps are timed on a copy of the method, by the run's own loop in a folder that is thrown away. Raw input and the first
networks are measured before, and not again. So the run is not changed: its configuration has a number of steps, as if
a person had given it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from math import ceil, inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from semblance.commands.measure import Row, accuracies, knows_no_data, measurable, views_of, watch
from semblance.commands.printing import say
from semblance.data import Source
from semblance.engine.callbacks import Numbers
from semblance.engine.divergence import Diverged
from semblance.engine.loop import SAVE_EVERY, fit, run_length
from semblance.errors import UserError
from semblance.evaluation.batch_norms import batch_norms_of_the_data
from semblance.evaluation.label_free.numbers import numbers
from semblance.modalities.modality import Modality
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime import ranks
from semblance.runtime.progress import duration
from semblance.systems import Method

TRIAL = 0.1  # of the time is for timing steps
FEWEST, MOST = 3, 1000  # steps that are timed, after one that warms up
REPORT = 4.0  # seconds of drawing it, which is not tried
LEAST = 1.0  # minutes below which starting, measuring and the report are most of a run


@dataclass
class Known:
    """Accuracies that are measured already: of raw input and of the first networks."""

    raw: Row = field(default_factory=dict)
    first: Row = field(default_factory=dict)


@dataclass
class Costs:
    """Seconds. step: one. grouping: of work on the whole set, an epoch. save: a checkpoint. evaluation: one in the
    course of the run. once: all else from now to the report."""

    step: float
    grouping: float = 0.0
    save: float = 0.0
    evaluation: float = 0.0
    once: float = 0.0

    def of(self, config: TrainConfig, samples: int) -> float:
        """Of a whole run from now on."""
        per_epoch, total = run_length(config, samples)
        every = config.eval_every * per_epoch
        training = total * self.step + ceil(total / per_epoch) * self.grouping
        saving = (1 + training / SAVE_EVERY) * self.save
        return training + saving + self.once + ((total - 1) // every if every else 0) * self.evaluation


def plan(
    minutes: float, started: float, config: TrainConfig, method: Method, trial: Method, source: Source[Any],
    modality: Modality, device: torch.device, *, keep_eval_every: bool,
) -> tuple[TrainConfig, Known]:  # fmt: skip
    """The configuration with as many steps as fit between now and the report, and what was measured for it.

    started: when the command was given, by time.perf_counter. trial: a copy of the method, spread and compiled as that
    will be. keep_eval_every: whether evaluations are every config.eval_every epochs, else a sixth of the run.
    Raises UserError where no step fits.
    """
    leader = ranks.world()[0] == 0
    if leader:
        short = " Under a minute, starting, measuring and the report may take longer." if minutes < LEAST else ""
        say(f"Trying how long steps and measuring take, for --minutes {minutes:g} ...{short}")
    costs = _costs_of_training(trial, source, config, device, TRIAL * 60 * minutes)
    known = Known()
    seconds = 60 * minutes - (time.perf_counter() - started)

    def planned(steps: int) -> TrainConfig:
        return _with_steps(config, steps, len(source.train), keep_eval_every)

    longest = ranks.broadcast(max(1, round(seconds / costs.step)))
    _measure(known, costs, planned(longest), method, source, modality)
    seconds = 60 * minutes - (time.perf_counter() - started)
    steps = ranks.broadcast(_most(lambda n: costs.of(planned(n), len(source.train)) <= seconds))
    rest = costs.of(planned(max(1, steps)), len(source.train)) - max(1, steps) * costs.step
    if steps < 1:
        enough = ceil(minutes + (rest - seconds) / 60) + 1
        raise UserError(
            f"--minutes {minutes:g} leaves no time to train: {60 * minutes - seconds:.0f} s have passed, and measuring "
            f"and the report take about {rest:.0f} s. Give --minutes {enough}, or fewer --eval-samples."
        )
    if leader:
        say(
            f"--minutes {minutes:g} are {steps:,} steps of {costs.step:.3g} s; {duration(60 * minutes - seconds)} have "
            f"passed, and about {duration(rest)} are for measuring and the report."
        )
    return planned(steps), known


def _with_steps(config: TrainConfig, steps: int, samples: int, keep_eval_every: bool) -> TrainConfig:
    """The configuration of a run of so many steps."""
    epochs = ceil(steps / (samples // config.batch_size))
    every = config.eval_every if keep_eval_every else max(1, epochs // 6)
    return config.model_copy(update={"epochs": epochs, "max_steps": steps, "eval_every": every})


def _most(fits: Callable[[int], bool]) -> int:
    """About the largest number of steps that fit: one more evaluation may make a longer run fit worse."""
    most = 1
    while most < 10**9 and fits(most):
        most *= 2
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least


class _Enough(Exception):
    """Enough steps have been timed."""


class _Timer:
    """A callback that ends a trial: the times at which its first and its last step were done."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.first, self.last, self.steps = seconds, 0.0, 0.0, 0
        self.grouping, self.grouped, self.enough = 0.0, 0.0, False

    def on_step(self, step: int, numbers: Numbers, method: Method) -> None:
        now = time.perf_counter()
        early = step <= FEWEST or now - self.first < self.seconds
        if 1 < step < MOST and early:
            return
        float(numbers["loss"])  # waits for a GPU
        self.last, self.steps = time.perf_counter(), step - 1
        if step == 1:
            self.first, self.grouped = self.last, self.grouping
        else:
            self.enough = True
            raise _Enough

    @contextmanager
    def group(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.grouping += time.perf_counter() - began


def _costs_of_training(
    trial: Method, source: Source[Any], config: TrainConfig, device: torch.device, seconds: float
) -> Costs:
    """What steps take, by a run of the trial, of a few in so many seconds."""
    timer = _Timer(seconds if ranks.world()[0] == 0 else inf)  # one says when
    start_step = trial.start_step

    def timed(*given: Any) -> None:
        with timer.group():
            start_step(*given)

    trial.start_step = timed  # type: ignore[method-assign, assignment]
    config = config.model_copy(update={"epochs": MOST, "max_steps": MOST, "eval_every": 0})
    began = time.perf_counter()
    cuda = [device] if device.type == "cuda" else []
    with TemporaryDirectory() as made, torch.random.fork_rng(cuda), suppress(_Enough):
        try:
            fit(trial, source.train, config, RunFolder(Path(made)), device, callbacks=[timer])
        except Diverged as error:  # whose message names a file of this folder
            told = f"It diverged at step {error.step:,} of those that were timed: give a lower --lr."
            raise UserError(told) from error
    del trial.start_step  # which refers to the trial, and would keep it
    if not ranks.any_rank(timer.enough)[0]:
        raise KeyboardInterrupt
    found = None
    if timer.enough:
        between, now = timer.grouping - timer.grouped, time.perf_counter()
        epochs = timer.steps // (len(source.train) // config.batch_size)  # that began between
        found = Costs(
            step=(timer.last - timer.first - between) / timer.steps,
            grouping=between / epochs if epochs else timer.grouped,  # of the first, which warms up
            save=now - timer.last, once=timer.first - began - timer.grouped,
        )  # fmt: skip
    costs = ranks.broadcast(found)
    assert costs is not None
    return costs


def _measure(
    known: Known, costs: Costs, config: TrainConfig, method: Method, source: Source[Any], modality: Modality
) -> None:
    """Measure what a run measures of raw input and of the first networks, and add to the costs what is to come."""
    measured = source.sampled(config.eval_samples)
    norms = embedding = 0.0
    clock = time.perf_counter
    if measurable(source, modality) and (raw := modality.raw(measured, config)) is not None:
        known.raw = accuracies(modality.encoders[0], raw, measured, config, modality)
    began = clock()
    with batch_norms_of_the_data(method, measured.train, config) if knows_no_data(method, config) else nullcontext():
        norms = clock() - began
        if measurable(source, modality):
            parts = modality.embed(method, measured, config)
            known.first = accuracies(modality.encoders[1], parts, measured, config, modality)
        embedding = clock() - began - norms
        began = clock()
        for views in views_of(method, source, config, modality).values():
            numbers(*views)
        look = clock() - began
        if config.eval_every or config.began_with_weights:
            began = clock()
            watch(method, source, config, modality)
            costs.evaluation = clock() - began
    again = config.began_with_weights * (1 + (config.keep == "best"))  # the last, and what was kept
    costs.once += norms + look + embedding + look + again * costs.evaluation + REPORT
