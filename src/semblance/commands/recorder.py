"""A run recorded frame by frame, as a callback of the training loop: what becomes of the same held-out samples."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from semblance.data.samples import Samples
from semblance.engine.callbacks import Numbers
from semblance.losses import cross_correlation
from semblance.report.lesson.recorded import Recorded
from semblance.runs.config import TrainConfig
from semblance.runtime.device import send
from semblance.systems import Method
from semblance.systems.clip_method import ClipMethod
from semblance.views.view import make_views

ROWS = 256  # of a queue or bank that are recorded, evenly chosen
DIMENSIONS = 64  # whose correlation is recorded


def frame_steps(total: int, frames: int) -> list[int]:
    """Steps after which a frame is taken, 0 and the last among them: dense at first, where most happens."""
    last = max(1, frames - 1)
    return sorted({round(total * (i / last) ** 1.6) for i in range(last + 1)} | {*range(min(4, total + 1)), total})


class Recorder:
    """A callback (engine/callbacks.py); `recorded` has what it saw.

    Samples are embedded as in training: by two or more views, in training mode, batch norms seeing all of them. A copy
    of the method does it, so that the run stays as it would be.
    """

    def __init__(self, method: Method, samples: Samples, config: TrainConfig, frames: list[int]) -> None:
        self.method, self.config, self.frames = method, config, set(frames)
        index, device = torch.arange(len(samples)), next(method.parameters()).device
        raw = list(samples.read(index, key=0))
        self.views = [send(v, device) for v in make_views(config.views, raw, index, seed=config.seed, step=0)]
        self.first = _rows(method)
        self.taken: list[dict[str, Any]] = []
        self.on_step(0, {"loss": float("nan")}, method)

    def on_step(self, step: int, numbers: Numbers, method: Method) -> None:
        if step in self.frames:
            self.taken.append({"step": step, "loss": float(numbers["loss"]), **self._frame(step)})

    @torch.no_grad()
    def _frame(self, step: int) -> dict[str, Tensor | None]:
        z = deepcopy(self.method).train().embed([view.clone() for view in self.views])
        one, other = two_views(z)
        embedded = torch.cat([z["video"], z["audio"]]) if isinstance(self.method, ClipMethod) else one
        return {
            "embeddings": embedded.float().cpu(),
            "shares": _shares(self.method, z, step),
            "kept": self._kept(),
            "correlation": _correlation(one, other) if self.method.family == "redundancy reduction" else None,
        }

    def _kept(self) -> Tensor | None:
        """Rows of the queue or bank; zeros in the place of those that it began with."""
        rows = _rows(self.method)
        if rows is None or self.first is None:
            return None
        begun = torch.isin(rows[:, 0], self.first[:, 0])
        kept = rows.masked_fill(begun[:, None], 0.0)
        return kept[torch.linspace(0, len(kept) - 1, min(ROWS, len(kept))).long()]

    def recorded(self, *, diverged: bool = False) -> Recorded:
        """What was seen; of a run that diverged, as long as embeddings were numbers."""
        self.taken = [frame for frame in self.taken if frame["embeddings"].isfinite().all()]

        def film(name: str) -> Tensor | None:
            return None if self.taken[0][name] is None else torch.stack([frame[name] for frame in self.taken])

        embeddings = film("embeddings")
        assert embeddings is not None
        return Recorded(
            sorted(self.method.without), [frame["step"] for frame in self.taken], embeddings,
            [frame["loss"] for frame in self.taken], diverged, film("shares"), film("kept"), film("correlation"),
        )  # fmt: skip


def two_views(z: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Of what a method embeds, the embedding of a first view, and of a second where there is one: (n, D) each."""
    first = z["z1"] if "z1" in z else next(iter(z.values()))
    if first.ndim == 3:  # crops
        return first[:, 0], first[:, 1] if first.shape[1] > 1 else None
    return first, z.get("z2")


def _correlation(one: Tensor, other: Tensor | None) -> Tensor | None:
    """Of the first dimensions of two views."""
    return None if other is None else cross_correlation(one[:, :DIMENSIONS], other[:, :DIMENSIONS]).float().cpu()


def _shares(method: Any, z: dict[str, Tensor], step: int) -> Tensor | None:
    """What share of the samples each prototype or cluster has: of the recorded ones by SwAV's codes, of those trained
    on by labels, which are not made before the first step."""
    labels = dict(method.named_buffers()).get("labels")
    if labels is not None:
        first = labels if labels.ndim == 1 else labels[0]
        return torch.bincount(first.cpu(), minlength=method.group_count).float() / len(first) * (step > 0)
    if not hasattr(method, "codes"):
        return None
    codes = method.codes(two_views(z)[0] @ method.prototypes.weight.T, 0)
    return torch.bincount(codes.argmax(1).cpu(), minlength=codes.shape[1]).float() / len(codes)


def _rows(method: Method) -> Tensor | None:
    """A copy of the queue or memory bank, of clips that of video: (R, D); None without."""
    found = [b for n, b in method.named_buffers() if n == "queue" or n.endswith("bank.rows")]
    rows = next((b for b in found if b.ndim == 2 and b.numel()), None)
    return None if rows is None else rows.detach().float().cpu().clone()
