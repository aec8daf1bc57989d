"""Whether a run has learnt anything, in words, by what its log and its label-free numbers say."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from semblance.evaluation.advice import Advice
from semblance.evaluation.evidence import Evidence, finite, in_format
from semblance.evaluation.gains import ON_LABELS, gains, over_the_start
from semblance.shown import shown
from semblance.systems.method import Empty

State = Literal["learnt", "little", "collapsed", "diverged", "too-short", "cannot-tell"]
Line = dict[str, Any]

RANK = 0.2  # of features, as a share of that before training
UNIT_DEVIATION = 0.2  # of embeddings of unit length, below which they point one way
DEVIATION = 0.05  # of embeddings as they are, where a method says it
LARGEST = 0.9  # of the samples in one cluster
GROUPS = 2  # in use, at most, where nothing is grouped any more
NEAR = 0.01  # of an empty level, as a share of it
LAST = 0.1  # of the steps are the end of a run
TELLING = 0.1  # of the pictures are not blank and no copies, at least
FEW_STEPS, FEW_EPOCHS = 50, 1.0  # less of both is no time to learn


@dataclass
class Verdict:
    """state: in a word. since: the step from which it was so, where the log tells. advice: what to do next. missing:
    what would have been looked at, and is not there."""

    state: State
    headline: str
    evidence: list[Evidence] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    since: int | None = None
    missing: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Run:
    """What a verdict is made of.

    lines: of metrics.jsonl. steps, epochs: done. levels: of the loss (Method.constants). without: guards that are off.
    rows: of the table, with "label_free" numbers: raw input, the first networks, the trained ones. diverged: what
    diverged.json holds. kept: the step of the network that is handed out, where that is not the last. total: steps
    that were asked for.
    advice: what to do next, of this run.
    """

    lines: Sequence[Line]
    steps: int
    epochs: float
    levels: dict[str, float] = field(default_factory=dict)
    without: Sequence[str] = ()
    rows: Sequence[dict[str, Any]] = ()
    diverged: dict[str, Any] | None = None
    kept: int | None = None
    advice: Advice = Advice()
    total: int = 0

    @property
    def unfinished(self) -> bool:
        return self.steps < self.total


@dataclass
class Alarm:
    evidence: Evidence
    since: int

    @property
    def of_embeddings(self) -> bool:
        """And not of the loss, which alone is no reason."""
        return not self.evidence.name.startswith("loss")


def verdict(run: Run) -> Verdict:
    """The state of a run, and why; of the network that is handed out where an earlier one is. Pure: the same numbers
    give the same words."""
    found = _of_what_is_handed_out(run)
    if run.without:
        found.headline += f" {_off(run)}: this run is meant to fail."
    return found


def _of_what_is_handed_out(run: Run) -> Verdict:
    if run.kept is None:
        return _judged(run)
    if run.kept == 0:
        found = _judged(run)
        found.headline += " Handed out is the network that it began with: none was better."
        if run.diverged is None:
            found.advice = run.advice.nearer_to_the_start() or found.advice
        return found
    found = _judged(replace(run, lines=[line for line in run.lines if line["step"] <= run.kept]))
    later = [alarm.evidence.reads for alarm in collapses(run.lines, run.levels)]
    after = f"; at the end {later[0]}" if later else ""
    found.headline += f" Handed out is the network of step {run.kept:,} of {run.steps:,}, the best{after}."
    return found


def _judged(run: Run) -> Verdict:
    if run.diverged is not None:
        return _diverged(run)
    found = gains(run.rows, run.lines)
    alarms = collapses(run.lines, run.levels)
    if run.unfinished:
        alarms = [alarm for alarm in alarms if alarm.of_embeddings and run.steps - alarm.since >= _lasting(run.total)]
    evidence = [*(evidence for gain in found for evidence in gain.evidence), *(alarm.evidence for alarm in alarms)]
    so_far = " so far" if run.unfinished else ""
    if (over := over_the_start(run.rows)) is not None:
        evidence.insert(0, over)
    learnt = over is not None or (bool(found) and found[0].learnt)
    reads = over.reads if over is not None else found[0].reads if found else ""
    alike = _alike(run.rows)
    against_collapse = run.advice.against_collapse(run.without)
    if alike and not learnt:
        told = f"Cannot tell: {alike.reads}, so there is nothing to learn."
        return Verdict("cannot-tell", told, [*evidence, alike], [run.advice.look()])
    if run.steps < FEW_STEPS or (run.epochs < FEW_EPOCHS and run.steps < 4 * FEW_STEPS):
        told = f"Too short to tell: {run.steps:,} steps, {run.epochs:.2g} epochs."
        on = run.advice.longer(max(2, math.ceil(4 * FEW_STEPS / max(1, run.steps))), unfinished=run.unfinished)
        return Verdict("too-short", told, evidence, against_collapse if run.without else [on])
    spread = [alarm for alarm in alarms if alarm.of_embeddings]
    if learnt and not spread:
        return Verdict("learnt", f"It learnt{so_far}: {reads}.{_but_on_labels(run.rows)}", evidence)
    if learnt:
        told = f"Cannot tell: {reads}, but {spread[0].evidence.reads}."
        return Verdict("cannot-tell", told, evidence, against_collapse, spread[0].since)
    if alarms and (held := [gain.held for gain in found if gain.held]):
        told = f"Cannot tell: {alarms[0].evidence.reads}, but {held[0].reads}."
        return Verdict("cannot-tell", told, [*evidence, *held], against_collapse)
    if alarms:
        first = min(alarms, key=lambda alarm: alarm.since)
        told = f"It collapsed, since step {first.since:,}: {first.evidence.reads}."
        return Verdict("collapsed", told, evidence, against_collapse, first.since)
    if not found:
        told = "Cannot tell: no sign of a collapse in the log, and no numbers of what was learnt."
        return Verdict("cannot-tell", told, evidence, [run.advice.measure()])
    if run.without:
        told = f"Cannot tell: {found[0].reads}, and without its guard a loss says nothing."
        return Verdict("cannot-tell", told, evidence, against_collapse)
    advice = [run.advice.longer(unfinished=run.unfinished), *([] if run.unfinished else run.advice.other_rates())]
    return Verdict("little", f"It learnt little{so_far}: {found[0].reads}.", evidence, advice)


def _but_on_labels(rows: Sequence[dict[str, Any]]) -> str:
    """What kNN says where labels do not bear out what was learnt; they may be of something else."""
    first, last = (row.get("knn_top1", math.nan) for row in [{}, {}, *rows][-2:])
    if not (finite(first) and finite(last) and last - first < ON_LABELS):
        return ""
    return f" Yet by its labels nothing was gained: kNN finds {100 * last:.1f} %, {100 * first:.1f} % before training."


def _off(run: Run) -> str:
    """Which guards are off, in words."""
    return f"{' and '.join(run.without)} {'is' if len(run.without) == 1 else 'are'} OFF"


def collapses(lines: Sequence[Line], levels: dict[str, float]) -> list[Alarm]:
    """What the end of a log says against its embeddings, each with the step since which it has been so."""
    found = []
    for name in dict.fromkeys(name for line in lines for name in line):
        series = [(line["step"], line[name]) for line in lines if finite(line.get(name))]
        start = series[0][1] if series and series[0][0] == 0 else None
        for band, told in bands(name, levels, start):
            if (since := _since(series, band)) is not None:
                value = _end(series)
                found.append(Alarm(Evidence(name, value, _edge(band), told.format(value), "a collapse"), since))
    return found


class Live:
    """Looks at a log while it grows, and says once that its embeddings have collapsed; the loss alone is no reason.

    Only what has been so for a fifth of the run, and for a hundred steps at least, is told: some methods pass through a
    collapse and recover.
    """

    def __init__(self, total: int) -> None:
        self.lasting = _lasting(total)
        self.lines: list[Line] = []
        self.told = False

    def note(self, line: Line) -> str:
        """A line of the log to a sentence, mostly an empty one."""
        self.lines.append(line)
        if self.told or len(self.lines) % 5:
            return ""
        self.lines = [seen for seen in self.lines if seen["step"] >= line["step"] - 2 * self.lasting]
        for alarm in collapses(self.lines, {}):
            if line["step"] - alarm.since >= self.lasting:
                self.told = True
                return f"It seems to have collapsed, since step {alarm.since:,} or before: {alarm.evidence.reads}."
        return ""


def _lasting(total: int) -> int:
    """Steps for which a collapse is to last before it is told of a run that goes on."""
    return max(100, total // 5)


Band = tuple[float, float]


def bands(name: str, levels: dict[str, float], start: float | None = None) -> list[tuple[Band, str]]:
    """From where to where a number of the log means a collapse, both ends included, and how that reads of a value.

    levels: of the loss; those that are Empty count. start: the number before training, where that is known.
    """
    if name.endswith("embedding_std"):
        of = in_format(name.removesuffix("embedding_std").rstrip("_"))
        whose = f"embeddings of {of}" if of else "embeddings"
        return [((-math.inf, UNIT_DEVIATION), f"the {whose} point one way (deviation {{:.2g}}, 1 on a full sphere)")]
    if name == "deviation":
        return [((-math.inf, DEVIATION), "the embeddings hardly differ (deviation {:.2g}, 1 is asked for)")]
    if name.endswith("_in_use"):
        return [((-math.inf, GROUPS), f"{in_format(name.removesuffix('_in_use'))} in use: {{:.0f}}")]
    if name == "largest_cluster":
        return [((LARGEST, math.inf), "one cluster holds {:.0%} of all")]
    if name.endswith("_rankme") and start is not None and not name.startswith("between"):
        of = in_format(name.removesuffix("_rankme"))
        told = f"the features of {of} lie in {{:.1f}} directions, {start:.1f} before training"
        return [((-math.inf, RANK * start), told)]
    if name != "loss":
        return []
    return [
        (
            (level - NEAR * abs(level), level + NEAR * abs(level)),
            f'the loss stands at {{:.4g}}, its level for "{_meaning(told)}"',
        )
        for told, level in levels.items()
        if isinstance(level, Empty)
    ]


def _edge(band: Band) -> float:
    """Where a band begins, seen from healthy numbers: its finite end, or the middle of two."""
    ends = [end for end in band if math.isfinite(end)]
    return sum(ends) / len(ends)


def _meaning(level: str) -> str:
    """Of "2 ln(2N - 1): all embeddings equal", what is behind the colon."""
    return in_format(level.rpartition(": ")[2])


def _since(series: list[tuple[int, float]], band: Band) -> int | None:
    """The step since which a series has been in a band, in its end at least; None where its end is outside."""
    low, high = band
    since = last = series[-1][0] if series else 0
    end = [value for step, value in series if step > (1 - LAST) * last]
    if not end or not all(low <= value <= high for value in end):
        return None
    for step, value in reversed(series):
        if not low <= value <= high:
            break
        since = step
    return since


def _end(series: list[tuple[int, float]]) -> float:
    """The mean over the end."""
    values = [value for step, value in series if step > (1 - LAST) * series[-1][0]]
    return sum(values) / len(values)


def _alike(rows: Sequence[dict[str, Any]]) -> Evidence | None:
    """Whether the raw input itself holds nothing that tells samples apart."""
    share = next((row["telling"] for row in rows if "telling" in row), 1.0)
    if share > TELLING:
        return None
    return Evidence(
        "telling", share, TELLING, f"{share:.0%} of the pictures hold anything that others have not", "too little"
    )


def _diverged(run: Run) -> Verdict:
    about = run.diverged or {}
    step, lost = about.get("step", 0), about.get("weights") or []
    what = f"{shown(lost[0])} is no longer a finite number" if lost else f"the loss is {about.get('loss')}"
    return Verdict("diverged", f"It diverged at step {step:,}: {what}.", [], [run.advice.lower_rate()], step)
