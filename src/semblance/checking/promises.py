"""The promises that are made of every method: how each is measured, how far it may deviate, and what it found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from semblance import systems
from semblance.checking import negatives, runs, seam
from semblance.checking.mistakes import BEHIND, HOME, KINDS, Mistake, of_failure
from semblance.checking.observed import Observed, observe
from semblance.checking.processes import Failed, Processes, TookTooLong
from semblance.checking.small import small_config
from semblance.runs.config import TrainConfig

State = Literal["holds", "fails", "fails too", "does not apply", "not judged"]
EXACT, ROUNDING = 1e-12, 1e-9  # float64: of one step, and of sums in another order after ten steps through batch norms
GUARD = 1e-6  # what a run without a guard deviates by at least


@dataclass(frozen=True)
class Finding:
    """What came of a promise. number: how far it deviates; told: why there is none, or what was raised."""

    promise: str
    state: State
    number: float | None = None
    told: str = ""


@dataclass(frozen=True)
class Promise:
    """measure: gives how far a method deviates, None where the promise is not made of it."""

    name: str
    meaning: str
    allowed: float
    measure: Callable[["Subject"], float | None]
    thorough: bool = False  # measured only if asked for


@dataclass
class Subject:
    """A method that is checked, with what is known of it so far."""

    method: str
    processes: Processes
    folder: Path
    seen: Observed = field(default_factory=Observed)
    left_behind: float = 0.0
    idle: list[str] = field(default_factory=list)  # guards without which nothing changes
    findings: list[Finding] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def one(self) -> runs.One:
        return self.processes.one

    def many(self, world: int) -> runs.Many:
        return partial(self.processes.many, world)

    def config(self, precision: str = "64", **flags: object) -> TrainConfig:
        return small_config(self.method, precision=precision, **flags)

    def place(self, name: str) -> Path:
        """A new folder."""
        path = self.folder / f"{name}-{sum(1 for _ in self.folder.iterdir())}"
        path.mkdir(parents=True)
        return path

    @cached_property
    def guards(self) -> list[str]:
        return list(systems.get(self.method).guards)

    @cached_property
    def precisions(self) -> dict[str, float]:
        """Networks of clips are float32 on a CPU."""
        return seam.precisions(self.one, self.method, systems.get(self.method).of_pictures())

    @cached_property
    def row_dependence(self) -> float:
        return self.one(seam.row_dependence, self.method)

    def judge(self, promise: Promise) -> Finding:
        """Measure a promise, and say what is likely behind it where it breaks."""
        kind = None
        try:
            number = promise.measure(self)
            if number is None:
                return self._note(Finding(promise.name, "does not apply"))
            if number <= promise.allowed:
                return self._note(Finding(promise.name, "holds", number))
            told = ""
        except TookTooLong as failure:
            if self.processes.over:
                return self._note(Finding(promise.name, "not judged", told="the time is over"))
            number, told, kind = None, str(failure), "slow"
        except Failed as failure:
            number, told, kind = None, str(failure), of_failure(failure)
        own = self._blame(promise.name, kind, number, told)
        return self._note(Finding(promise.name, "fails" if own else "fails too", number, told))

    def _note(self, finding: Finding) -> Finding:
        self.findings.append(finding)
        return finding

    def _blame(self, promise: str, kind: str | None, number: float | None, told: str) -> bool:
        """Note what is likely behind a promise that breaks; whether it is the one that breaks first by that."""
        kind = kind or next(k for k in BEHIND[promise] if self._suspected(k, promise) or k == BEHIND[promise][-1])
        known = next((m for m in self.mistakes if m.kind == kind), None)
        if known is not None:
            known.promises.append(promise)
            return promise == HOME.get(kind)
        clues = KINDS[kind].clues(self.seen)
        if kind == "local" and self._suspected(kind, promise):
            clues = [
                f"An embedding moves by {self.row_dependence:.1g} with the samples that are embedded along with it"
            ]
        if kind == "seam" and self.left_behind > EXACT:
            clues = [f"The loss of the same embeddings moves by {self.left_behind:.1g} with what `embed` saw last"]
        if kind == "positives" and number is not None:
            clues = [f"A sample finds {number:.1f} rows of itself among its negatives"]
        if kind == "draw" and not clues:
            clues = [
                "Not by torch, numpy or Python in a part of the method: look at the views, for a generator of its own"
            ]
        if kind == "guard":
            clues = [f"Without {' and without '.join(self.idle)} it takes the same steps"]
        self.mistakes.append(Mistake(kind, clues + [told] * bool(told), [promise]))
        return HOME.get(kind, promise) == promise

    def _suspected(self, kind: str, promise: str) -> bool:
        if kind == "draw":
            return any(f.promise == "draws" and f.state == "fails" for f in self.findings)
        if kind == "collective" and not self.seen.collectives:
            self._look_at_ranks()
        if kind == "ranks":  # of which nothing else is seen than that they differ
            return any(mistake.kind == "ranks" for mistake in self.mistakes)
        if kind == "seam":
            return self.left_behind > EXACT
        if kind == "local":
            return self._tried(lambda: self.row_dependence > ROUNDING)
        if kind == "state" and promise == "device":
            return bool(self.seen.plain)
        if kind == "state" and promise == "positives":  # whose copies of a method share what is not its own
            return any(not name.startswith("self.") for name in self.seen.hidden)
        return bool(KINDS[kind].clues(self.seen))

    def _look_at_ranks(self) -> None:
        def look() -> bool:
            for seen in self.many(2)(observe, self.config("32"), self.place("ranks")):
                self.seen.collectives += [c for c in seen.collectives if c not in self.seen.collectives]
            return True

        self._tried(look)

    def _tried(self, look: Callable[[], bool]) -> bool:
        """False where a method fails at being looked at."""
        try:
            return look()
        except Failed:
            return False


def _trains(of: Subject) -> float:
    of.seen = of.one(observe, of.config("32"), of.place("trains"))
    if of.seen.error:
        raise of.seen.error[0]
    return float(len(of.seen.untrained) + len(of.seen.taught) + len(of.seen.overwritten))


def _gradient(of: Subject) -> float:
    clocks = seam.CLOCKS.values()
    of.left_behind = max(seam.left_behind(of.one, of.method, clock) for clock in clocks)
    guards = [None, *of.guards]
    return max(of.left_behind, *(seam.exactness(of.one, of.method, g, clock) for g in guards for clock in clocks))


def _ranks(world: int, of: Subject) -> float:
    cases = runs.RANKED if world == 2 else [(15, None, True)]
    return max(
        runs.of_ranks(of.one, of.many(world), of.config(batch_size=b, micro_batch=m), of.place("ranks"), norms)
        for b, m, norms in cases
    )


def _positives(of: Subject) -> float | None:
    cls = systems.get(of.method)
    if "negatives" not in cls.guards and cls.family != "contrastive":
        return None
    return of.one(negatives.repelled_by_itself, of.method)


def _guards(of: Subject) -> float | None:
    if not of.guards:
        return None
    config = of.config("32", max_steps=4)
    of.idle = [g for g in of.guards if runs.without_guard(of.one, config, g, of.place("guard")) < GUARD]
    return float(len(of.idle))


PROMISES = [
    Promise("trains", "ten steps can be taken; what is trained has a gradient, a teacher none; input is left alone",
        0.0, _trains),
    Promise(
        "draws", "the generators of torch, numpy and Python say nothing: all randomness is counted", 0.0,
        lambda of: runs.of_draws(of.one, of.config("32", max_steps=4), of.place("draws")),
    ),
    Promise(
        "gradient", "the gradient of a step, computed in the engine's two parts, is autograd's of the whole batch; the "
        "loss depends on nothing else that `embed` left behind", EXACT, _gradient,
    ),
    Promise("float32", "gradients of a step in float32 and in float64", 1e-3, lambda of: of.precisions["float32"]),
    Promise("bf16", "the same under bf16 autocast", 0.5, lambda of: of.precisions.get("bf16")),
    Promise("fp16", "the same under fp16 autocast", 0.1, lambda of: of.precisions.get("fp16")),
    Promise("2 ranks", "ten steps on two processes and on one, batches even and not", ROUNDING, partial(_ranks, 2)),
    Promise("4 ranks", "the same on four", ROUNDING, partial(_ranks, 4), thorough=True),
    Promise(
        "micro-batches", "ten steps by gradient caching in micro-batches and on whole batches", ROUNDING,
        lambda of: runs.of_parts(of.one, of.config(), of.place("parts")),
    ),
    Promise(
        "resume", "a run that was stopped twice and one that was not: equal bits", 0.0,
        lambda of: max(runs.of_sittings(of.one, of.config("32"), of.place("resume"), stops) for stops in runs.STOPS),
    ),
    Promise(
        "moved", "two ranks, stopped, one rank, stopped, two ranks; and one rank throughout", ROUNDING,
        lambda of: runs.of_moves(of.one, of.many(2), of.config(batch_size=15), of.place("moved")),
    ),
    Promise("positives", "rows of a sample itself among its negatives", 0.5, _positives),
    Promise("guards", "guards without which a run goes the same way", 0.0, _guards),
    Promise(
        "labels", "runs with labels and without", 0.0,
        lambda of: runs.of_labels(of.one, of.config("32", max_steps=4), of.place("labels")),
    ),
    Promise("device", "a step on a device that is not the CPU", 1e-4, lambda of: seam.elsewhere(of.one, of.method)),
]  # fmt: skip


def judged(of: Subject, thorough: bool) -> Iterator[Finding]:
    """A finding for each promise, in turn; what cannot take a step is not judged further."""
    trains, *others = PROMISES
    first = of.judge(trains)
    stuck = first.state != "holds" and first.number is None
    home = HOME.get(of.mistakes[0].kind) if stuck else None
    yield first
    for promise in others:
        if promise.thorough and not thorough:
            continue
        if not stuck:
            yield of.judge(promise)
        elif promise.name == home:
            of.mistakes[0].promises.append(home)
            yield Finding(home, "fails", told=first.told)
        else:
            yield Finding(promise.name, "not judged", told="it does not train")
