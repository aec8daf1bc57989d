"""Which network of a run is handed out: the last, or what --keep best has kept, the start among it."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from semblance.commands.measure import Row, knows_no_data, logged, watch
from semblance.commands.printing import say
from semblance.data import Source
from semblance.evaluation.batch_norms import batch_norms_of_the_data
from semblance.evaluation.label_free.numbers import where_found
from semblance.evaluation.ranking import RANKED_BY, best_step, lost, ranked, ranking
from semblance.modalities.build import at_the_start
from semblance.modalities.looked_at import FEWEST, looked_at
from semblance.modalities.modality import Modality
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime import fsdp, ranks
from semblance.systems import Method


@dataclass(frozen=True)
class HandedOut:
    """network: in a word, as summary.json has it. step: the one after which it was so."""

    network: Literal["last", "best", "start"]
    step: int

    @classmethod
    def kept(cls, step: int) -> "HandedOut":
        """Of an earlier step than the last."""
        return cls("best" if step else "start", step)

    @property
    def earlier(self) -> int | None:
        """The step, where it is not the last."""
        return None if self.network == "last" else self.step


class OfTheStart:
    """A callback (engine/callbacks.py) that says, once, that a run is losing the start that it was given.

    first: the row of the start.
    """

    def __init__(self, folder: RunFolder, config: TrainConfig, first: Row) -> None:
        self.folder, self.config, self.first = folder, config, first
        lines = _log(folder, first)
        self.told = any(lost(line, lines) for line in lines)  # before the run was stopped

    def on_evaluate(self, step: int, numbers: dict[str, float], method: Method) -> None:
        found = lost(numbers, _log(self.folder, self.first))
        if self.told or found is None:
            return
        self.told = True
        best = self.config.keep == "best"
        kept = "The best is kept for the end." if best else "--keep best would keep the best."
        less = f"Less is lost with --backbone-lr {self.config.backbone_rate / 3:.2g}."
        say(f"Step {step:,}: it is losing its start: {found.reads}. {kept} {less}")


def keeper(folder: RunFolder, config: TrainConfig, first: Row) -> Callable[[dict[str, float]], bool]:
    """What `fit` asks whether to keep networks: whether they rank above all of the log's. For all ranks."""
    given = config.began_with_weights

    def better(numbers: dict[str, float]) -> bool:
        lines = _log(folder, first)
        if (found := ranked(numbers, lines, given=given)) is None:
            return False
        earlier = [ranked(line, lines, given=given) for line in lines]
        return ranks.broadcast(all(value is None or value < found for value in earlier))

    return better


def _log(folder: RunFolder, first: Row) -> list[dict[str, Any]]:
    """Of a run, with its start as it is measured now: by labels or neighbours that may be others since it went on."""
    return [_start(first), *(line for line in folder.read_metrics() if line["step"])]


def note_what_is_kept(first: Row, every: int, total: int) -> None:
    """Where --keep best has nothing to choose by or from. every: steps between evaluations."""
    start = _start(first)
    if ranking(start, [start]) is None:
        say(f"--keep best needs {FEWEST} held-out samples to rank networks by: the last will be handed out.")
    elif not 0 < every < total:
        say(
            "--keep best: no network is looked at between the start and the last. Give more epochs, or --eval-every 1 "
            "where it is another."
        )


def _start(first: Row) -> dict[str, Any]:
    """As the log has it."""
    return {"step": 0} | logged(first)


def hand_out(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, folder: RunFolder, last: int,
    first: Row,
) -> HandedOut:  # fmt: skip
    """Put the networks that are handed out into a method at its end, on all ranks: those that were kept where they rank
    above the interval of the last's; of a start that is not random the best of all, the start where none is better.

    source: all samples. last: the last step. first: the row of the start.
    """
    if config.began_with_weights:
        return _best_of_a_start(method, source, config, modality, folder, last, first)
    samples = looked_at(source, config)
    if config.keep == "last" or len(samples) < FEWEST:
        return HandedOut("last", last)
    seen = modality.views_of(method, samples, config, 2)
    highest = {f"{stream}_{RANKED_BY}": where_found(pairs)[RANKED_BY][2] for stream, pairs in seen.items()}
    step = ranks.broadcast(best_step(folder.read_metrics(), above=ranking(highest)))
    kept = checkpoint.load(folder.best) if folder.best.exists() else {}
    if step is not None and kept.get("step") != step:  # networks are kept since a later step, or the file is gone
        if ranks.world()[0] == 0:
            say(f"The best was step {step:,}, of which no network was kept: the last is handed out.")
        step = None
    if step is None:
        return HandedOut("last", last)
    fsdp.load_networks(method, kept["method"])
    return HandedOut.kept(step)


def _best_of_a_start(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, folder: RunFolder, last: int,
    first: Row,
) -> HandedOut:  # fmt: skip
    """The best of the start, of what was kept and of the last, all measured alike now; it is kept from here on."""
    leader = ranks.world()[0] == 0
    lines = [_start(first), {"step": last} | watch(method, source, config, modality)]
    if leader and lines[-1] not in folder.read_metrics():
        folder.log(**lines[-1])
    if config.keep == "last":
        return HandedOut("last", last)
    kept = checkpoint.load(folder.best) if folder.best.exists() else {}
    found = {last: checkpoint.load(folder.checkpoint)} | ({kept["step"]: kept} if kept.get("step", last) < last else {})
    if 0 < min(found) < last:
        fsdp.load_networks(method, kept["method"])
        lines.append({"step": kept["step"]} | watch(method, source, config, modality))
    best = ranks.broadcast(best_step(lines, above=-math.inf, given=True))
    step = last if best is None else best
    state = found[step] if step in found else _start_again(method, source, config, modality, folder)
    fsdp.load_networks(method, state["method"])
    if leader:
        checkpoint.save(folder.best, {name: value for name, value in state.items() if name != "optimizer"})
    return HandedOut("last", last) if step == last else HandedOut.kept(step)


def _start_again(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, folder: RunFolder
) -> dict[str, Any]:
    """A checkpoint of the start, as `first_row` keeps it, where something has been kept since."""
    fsdp.load_networks(method, at_the_start(config, modality, source, folder).state_dict())
    train, fresh = source.sampled(config.eval_samples).train, knows_no_data(method, config)
    with batch_norms_of_the_data(method, train, config) if fresh else nullcontext():
        about = checkpoint.about(config, source.train.fingerprint(), source.train.canvas, 0, 0.0)
        return deepcopy(fsdp.full({"method": method.state_dict()})) | about


def hand_out_kept(method: Method, config: TrainConfig, folder: RunFolder) -> HandedOut | None:
    """Put what was kept into a method that has diverged, on all ranks; None where that is nothing, or random."""
    if config.keep == "last" or not folder.best.exists():
        return None
    kept = checkpoint.load(folder.best)
    step, _ = checkpoint.progress(kept, folder.best)
    if not step and not config.began_with_weights:
        return None
    fsdp.load_networks(method, kept["method"])
    return HandedOut.kept(step)
