"""What was recorded of a training run, and what is computed from it: deviation, spectrum, places on a map."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

DIRECTIONS = 64  # of the spectrum, at most


@dataclass
class Recorded:
    """A run as a film: T frames, taken at `steps`, of the same n held-out samples.

    without: guards that were off. embeddings: float32 (T, n, D); of clips (T, 2 n, D), video first, then audio.
    losses: of each frame's step, NaN before the first. diverged: loss or weights were no numbers after the last frame.
    shares: float32 (T, K), what share of the samples each prototype
    or cluster has. kept: float32 (T, R, D), rows of the queue or bank, zeros where nothing was put in yet.
    correlation: float32 (T, d, d), of the dimensions between two views. What a method does not have is None.
    """

    without: list[str]
    steps: list[int]
    embeddings: Tensor
    losses: list[float]
    diverged: bool = False
    shares: Tensor | None = None
    kept: Tensor | None = None
    correlation: Tensor | None = None

    @property
    def unit(self) -> Tensor:
        return F.normalize(self.embeddings, dim=2)

    @property
    def deviation(self) -> list[float]:
        """Of unit embeddings over the samples, times sqrt(D), the mean over dimensions: 1 if they are everywhere, 0
        if all are one point (Chen & He 2021)."""
        return (self.unit.std(1).mean(1) * self.embeddings.shape[2] ** 0.5).tolist()

    @property
    def spectrum(self) -> Tensor:
        """Variance of the unit embeddings along their principal directions, largest first: float32 (T, <= 64); the sum
        over all is at most 1."""
        centred = self.unit - self.unit.mean(1, keepdim=True)
        return (torch.linalg.svdvals(centred).square() / centred.shape[1])[:, :DIRECTIONS]

    @property
    def directions(self) -> list[float]:
        """How many directions the variance is spread over: exp of the entropy of its shares (Roy & Vetterli 2007)."""
        centred = self.unit - self.unit.mean(1, keepdim=True)
        variance = torch.linalg.svdvals(centred).square()
        share = variance / variance.sum(1, keepdim=True).clamp(min=1e-30)
        return torch.special.entr(share).sum(1).exp().tolist()

    @property
    def in_use(self) -> list[int] | None:
        """How many prototypes or clusters have samples."""
        return None if self.shares is None else (self.shares > 0).sum(1).tolist()


def places(run: Recorded) -> Tensor:
    """Where the samples lie on a map, in [-1, 1]: float32 (T, n, 2).

    One plane and one scale for all frames, so that what moves on the page has moved: the two directions along which the
    unit embeddings of the first and the last frame vary most, seen from the middle of the samples.
    """
    centred = run.unit - run.unit.mean(1, keepdim=True)
    plane = torch.linalg.svd(centred[[0, -1]].flatten(0, 1), full_matrices=False).Vh[:2].T
    flat = centred @ plane
    reach = flat[[0, -1]].norm(dim=2).quantile(0.99).clamp(min=1e-12)
    return (flat / reach).clamp(-1, 1)


@dataclass
class Sight:
    """A clip to be seen and heard: `data:` addresses of a moving picture and a sound."""

    picture: str
    sound: str


@dataclass
class Chapter:
    """A method with the runs that were recorded of it, guards on first; classes: names; labels: int64 (n,)."""

    family: str
    idea: str
    trivial: str
    method: str
    title: str
    paper: str
    equation: str
    picture: str
    guards: dict[str, str]
    classes: list[str]
    labels: Tensor
    runs: list[Recorded]
    clips: list[Sight] = field(default_factory=list)
