"""Whether loss and weights are still finite: checked now and then only, since each check waits for the GPU."""

import torch
from torch import Tensor

from semblance.data.samples import Samples
from semblance.errors import UserError
from semblance.runs.folder import RunFolder
from semblance.runtime import fsdp, ranks
from semblance.shown import shown
from semblance.systems import Method


class Diverged(UserError):
    """Loss or weights are no longer finite; step: since when, and after how many seconds of training."""

    def __init__(self, step: int, seconds: float, told: str) -> None:
        super().__init__(told)
        self.step, self.seconds = step, seconds


class Divergence:
    """Steps since the last check, each with its time, loss, whether that and weights were finite, and its samples."""

    def __init__(self, method: Method, samples: Samples, folder: RunFolder, leader: bool) -> None:
        self.method, self.samples, self.folder, self.leader = method, samples, folder, leader
        self.steps: list[tuple[int, float, Tensor, Tensor, Tensor]] = []

    def note(self, step: int, seconds: float, loss: Tensor, index: Tensor) -> None:
        """Note a step that the optimiser has just taken, without waiting for it or for other ranks."""
        parts = fsdp.own_parts(p.detach() for p in self.method.parameters())
        largest = torch.nn.utils.get_total_norm(parts, torch.inf)
        self.steps.append((step, seconds, loss, loss.isfinite() & largest.isfinite(), index))

    def check(self) -> None:
        """Wait for the steps noted, on all ranks; raise Diverged for the first that is not finite, its samples listed
        in diverged.json."""
        if not self.steps:
            return
        steps, times, losses, finite, samples = zip(*self.steps, strict=True)
        self.steps = []
        bad = ranks.any_rank(*torch.stack(finite).logical_not().tolist())
        if any(bad):
            first = bad.index(True)
            raise self._error(steps[first], times[first], float(losses[first]), samples[first])

    def _error(self, step: int, seconds: float, loss: float, index: Tensor) -> Diverged:
        weights = [
            name for name, p in fsdp.full(dict(self.method.named_parameters())).items() if not p.isfinite().all()
        ]
        what = f"{weights[0]} is no longer finite" if weights else f"The loss is {loss}"
        if self.leader:
            names = [shown(self.samples.items[i]) for i in index.tolist()]
            about = {"step": step, "loss": str(loss), "weights": weights, "samples": index.tolist(), "names": names}
            self.folder.write(self.folder.diverged, about)
        again = "The last checkpoint is from before: --resume takes the same steps again. "
        again = again if self.folder.checkpoint.exists() else ""
        return Diverged(
            step,
            seconds,
            f"{what} at step {step}; the samples of its batch are listed in {shown(self.folder.diverged)}. {again}In a "
            "new run, lower --lr, set --clip-grad 1, or try --precision 32.",
        )
