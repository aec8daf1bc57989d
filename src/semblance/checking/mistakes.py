"""The likely mistake behind a promise that breaks, in words, with what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from semblance.checking.observed import Observed
from semblance.checking.processes import Failed, TookTooLong


@dataclass(frozen=True)
class Kind:
    """A kind of mistake. clues: what was observed of it."""

    title: str
    remedy: str
    clues: Callable[[Observed], list[str]] = lambda seen: []


KINDS = {
    "raises": Kind(
        "It cannot take a step",
        "Mend what is raised, then check again. `embed` returns a dict of tensors with a row for each sample, "
        "`objective` the loss, a scalar, and a dict of numbers to log (semblance/systems/method.py).",
    ),
    "slow": Kind(
        "It does not end",
        "Ten steps on fifty small samples should take seconds. Look for a loop without an end, or for a process "
        "that waits for another.",
    ),
    "not-finite": Kind(
        "A loss or a weight that is no number",
        "Look for a division by 0, a log or root of 0, an exp of large scores; torch.autograd.set_detect_anomaly(True) "
        "names the operation.",
    ),
    "untrained": Kind(
        "A parameter that gets no gradient",
        "A detach() or no_grad() too many, or a part that is not used: leave that out, or set requires_grad_(False).",
        lambda seen: [f"{_few(seen.untrained)} got no gradient"] if seen.untrained else [],
    ),
    "taught": Kind(
        "A teacher that is trained by gradient",
        "A slow copy follows in `update` alone: deepcopy(...).requires_grad_(False), embedded under torch.no_grad().",
        lambda seen: [f"{_few(seen.taught)} of the teacher requires a gradient"] if seen.taught else [],
    ),
    "draw": Kind(
        "A draw that is not counted",
        "What a generator gives depends on all that was drawn before, and on the process: a resumed run, or one on "
        "more ranks, draws otherwise. Draw by what it is for: uniform(key(clock.seed, 'noise', clock.step), index) of "
        "semblance.runtime.random; in a view, by the key and the index that it is given. Dropout has to go.",
        lambda seen: seen.drawn + [f"Dropout in {_few(seen.dropouts)}"] * bool(seen.dropouts)
    ),
    "state": Kind(
        "State that is no buffer",
        "It is in no checkpoint, so a resumed run begins without it, and .to(device) leaves it behind. "
        "Use self.register_buffer(name, tensor) in __init__ or `prepare`, numbers as tensors of no dimension, and "
        "change it in place (.copy_, .add_); what follows from the step alone, take from the clock.",
        lambda seen: [f"{_few(seen.hidden)} changes from step to step"] if seen.hidden else [],
    ),
    "late": Kind(
        "A buffer that is made after the start",
        "A checkpoint's buffers have to be there when it is loaded: register them in __init__, or in `prepare` where "
        "their size is the number of samples.",
        lambda seen: [f"{_few(seen.late)} was made while it trained"] if seen.late else [],
    ),
    "collective": Kind(
        "A collective inside",
        "A method knows of no ranks: `objective` and `update` are handed the embeddings of the whole batch, on every "
        "rank alike. Leave torch.distributed out; what is summed or gathered again counts twice.",
        lambda seen: seen.collectives,
    ),
    "local": Kind(
        "Statistics of the local batch",
        "`embed` sees this process's share of the batch, or a micro-batch of it. Means, norms over samples, whitening "
        "and divisions by len(views[0]) belong into `objective`, which sees the whole batch; batch norms are torch's "
        "nn.BatchNorm1d or 2d, which are made global.",
    ),
    "ranks": Kind(
        "Something that differs between processes",
        "Look for the number of a process, the size of its share, or values that only one of them has.",
    ),
    "embed-state": Kind(
        "`embed` changes state",
        "With micro-batches it is called twice for each, so what it moves is moved more often. Move teachers, queues "
        "and centres in `update`, which is called once a step.",
        lambda seen: [f"`embed` changes {_few(seen.embed_changes)}"] if seen.embed_changes else [],
    ),
    "overwritten": Kind(
        "Input that is written into",
        "Views, embeddings and indices are used again: make new tensors (x * 2, not x.mul_(2)).",
        lambda seen: seen.overwritten,
    ),
    "seam": Kind(
        "A gradient that goes round the seam",
        "`objective` is a function of the embeddings that it is handed, the index, the clock and buffers. What `embed` "
        "keeps in the object (self.last = z) is of this process and this micro-batch alone, and its graph is another: "
        "return it from `embed` as one more embedding, and run no network on views in `objective`.",
    ),
    "positives": Kind(
        "Positives among the negatives",
        "A sample's own views, keys or bank row repel it: mask the diagonal, leave its index out of the draws "
        "(semblance.systems.memory_bank.draw_outside), fill queues in `update`, after the loss.",
    ),
    "guard": Kind(
        "A guard whose absence changes nothing",
        "Ask `self.has(name)` where the part is used, or take it out of `guards`.",
    ),
    "labels": Kind(
        "Labels are used",
        "A method learns without them: it is given views, indices, and embeddings of the whole set.",
    ),
    "dtype": Kind(
        "A number type of its own",
        "The networks compute in float32, float64 or half precision, and embeddings come as float32 or better: make "
        "tensors like others (z.new_zeros(n), dtype=z.dtype), and keep constants as Python numbers or buffers.",
    ),
    "precision": Kind(
        "Rounding that grows",
        "Take sums, norms, exp and log of many values in `objective`, which is float32 or better, and through "
        "logsumexp or log_softmax.",
    ),
    "device": Kind(
        "A tensor of another device",
        "Make it where the others are: device=z.device, z.new_zeros(n), or a buffer, which moves along.",
    ),
}  # fmt: skip

# What may be behind each promise, the likelier first; the last where nothing was observed.
BEHIND = {
    "trains": ("taught", "untrained", "overwritten", "raises"),
    "draws": ("draw",),
    "gradient": ("draw", "embed-state", "seam"),
    "float32": ("draw", "dtype"),
    "bf16": ("draw", "dtype", "precision"),
    "fp16": ("draw", "dtype", "precision"),
    "2 ranks": ("draw", "collective", "embed-state", "seam", "local", "late", "ranks"),
    "4 ranks": ("draw", "collective", "embed-state", "seam", "local", "late", "ranks"),
    "micro-batches": ("draw", "embed-state", "seam", "local"),
    "resume": ("draw", "late", "state"),
    "moved": ("draw", "collective", "embed-state", "seam", "late", "local", "ranks", "state"),
    "positives": ("draw", "state", "positives"),
    "guards": ("guard",),
    "labels": ("draw", "labels"),
    "device": ("draw", "state", "device"),
}

# The promise that a mistake is of, where others are measured before it.
HOME = {"seam": "gradient", "collective": "2 ranks", "embed-state": "micro-batches"}


@dataclass
class Mistake:
    """A likely mistake: its kind, what was observed of it, and the promises that it breaks."""

    kind: str
    clues: list[str]
    promises: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return KINDS[self.kind].title

    @property
    def remedy(self) -> str:
        return KINDS[self.kind].remedy


def of_failure(failure: Failed) -> str | None:
    """The kind of mistake that an error tells of by itself, if it does."""
    told = failure.told
    if isinstance(failure, TookTooLong):
        return "slow"
    if "does not require grad" in told:
        return "untrained"
    if "process group" in told or "ProcessGroup" in told:
        return "collective"
    if told.startswith("Diverged"):
        return "not-finite"
    if "a second time" in told or "modified by an inplace" in told:
        return "seam"
    if any(word in told for word in ("dtype", "scalar type", "Double", "Float and")):
        return "dtype"
    return None


def _few(names: list[str]) -> str:
    """At most three of the names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
