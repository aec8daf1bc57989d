"""Whether a run has learnt anything, in words, by what its log and its label-free numbers say."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from semblance.evaluation.advice import Advice
from semblance.evaluation.collapse import Line, collapses, lasting
from semblance.evaluation.evidence import Evidence, finite
from semblance.evaluation.gains import ON_LABELS, gains, over_the_start
from semblance.evaluation.ranking import lost, ranking
from semblance.shown import shown

State = Literal["learnt", "little", "collapsed", "diverged", "too-short", "cannot-tell"]

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
    that were asked for. given: whether it began with weights that are not random.
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
    given: bool = False

    @property
    def unfinished(self) -> bool:
        return self.steps < self.total


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
        gone = any(alarm.of_embeddings for alarm in collapses(run.lines, run.levels))
        found = _judged(replace(run, rows=[]) if gone else run)  # rows are of the start
        found.headline += " Handed out is the network that it began with: none was better."
        if run.diverged is None:
            found.advice = run.advice.nearer_to_the_start() or found.advice
        return found
    found = _judged(replace(run, lines=[line for line in run.lines if line["step"] <= run.kept]))
    later = [alarm.evidence for alarm in collapses(run.lines, run.levels)] + [*filter(None, [_lost(run)])]
    after = f"; at the end {later[0].reads}" if later else ""
    if later and found.advice and run.diverged is None:  # to train on would go on from the end
        found.advice = run.advice.nearer_to_the_start() or run.advice.against_collapse(run.without)
    found.headline += f" Handed out is the network of step {run.kept:,} of {run.steps:,}, the best{after}."
    return found


def _judged(run: Run) -> Verdict:
    if run.diverged is not None:
        return _diverged(run)
    found = gains(run.rows, run.lines)
    alarms = collapses(run.lines, run.levels)
    if run.unfinished:
        alarms = [alarm for alarm in alarms if alarm.of_embeddings and run.steps - alarm.since >= lasting(run.total)]
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
    short = run.steps < FEW_STEPS or (run.epochs < FEW_EPOCHS and run.steps < 4 * FEW_STEPS)
    if (lost := _lost(run)) is not None and (short or not alarms):
        told = f"{'So far it has' if run.unfinished else 'It has'} lost what it began with: {lost.reads}."
        return Verdict("little", told, [lost, *evidence], run.advice.nearer_to_the_start())
    if short:
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


def _lost(run: Run) -> Evidence | None:
    """What the last networks that were looked at have lost of the start."""
    looks = [line for line in run.lines if ranking(line, run.lines) is not None] if run.given else []
    return lost(looks[-1], run.lines) if looks else None


def _off(run: Run) -> str:
    """Which guards are off, in words."""
    return f"{' and '.join(run.without)} {'is' if len(run.without) == 1 else 'are'} OFF"


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
