"""AVID: a clip's sound finds the clip's picture in a memory bank of all clips, and the picture its sound."""

from collections.abc import Collection
from math import log
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.losses import nce
from semblance.nets.heads import EachPart, mlp
from semblance.runtime import random
from semblance.systems.clip_method import AUDIO, VIDEO, ClipMethod
from semblance.systems.memory_bank import MemoryBank, draw_outside, estimate_once, nce_level
from semblance.systems.method import Clock, Embeddings, Empty, embedding_std, unit
from semblance.systems.recipe import Amount, Count, Positive, Recipe, Share
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View


class AVID(ClipMethod):
    """Morgado et al. 2021, "Audio-Visual Instance Discrimination with Cross-Modal Agreement";
    facebookresearch/AVID-CMA. Cross-AVID as published; within=1, cross=0 is Self-AVID, both 1 Joint-AVID.

    Deviations: an epoch visits every file once (theirs 5 or 10 times: compare passes over the data); banks are updated
    after the optimiser's step (theirs before it, by the same embeddings); a window of video lies within its file
    (theirs may run past the end and start again); the learning rate of `small` falls by a cosine (theirs by a step).
    """

    family = "contrastive"
    title = "AVID"
    paper = "Morgado et al. 2021, arXiv:2004.12943"
    equation = (
        "½ ℓ(v; Ā) + ½ ℓ(a; V̄);  ℓ(x; M) = - log σ(x·M_i/τ - log KZ) - Σ_k log σ(log KZ - x·M_k/τ), K draws of the bank"
    )
    picture = """
clip ─┬─ frames ─ backbone ─ projector ─ v ──▶ bank V̄ ◀── a finds its row
      └─ sound ── backbone ─ projector ─ a ──▶ bank Ā ◀── v finds its row
"""
    guards = {"negatives": "rows of the banks that belong to other clips repel"}

    weights: ClassVar[tuple[str, ...]] = ("cross", "within")

    video_bank: MemoryBank
    audio_bank: MemoryBank
    log_partition: Tensor  # log of the mean of exp(score) of negatives, set at the first step; NaN before

    def __init__(
        self,
        backbone: nn.Module,
        audio_backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 0.07,
        negatives: Count = 1024,  # drawn from the banks for each clip, the same for all terms
        momentum: Share = 0.5,  # of the banks
        cross: Amount = 1.0,  # weight of v against the bank of sounds and a against that of pictures
        within: Amount = 0.0,  # weight of each against the bank of its own modality
        hidden: Count = 512,  # widths of the projectors
        dim: Count = 128,
        norm: bool = False,  # batch norm in the projectors and at their end: small sets spread out sooner
    ) -> None:
        super().__init__(backbone, audio_backbone, without)
        self.temperature, self.negatives, self.momentum = temperature, negatives, momentum
        self.cross, self.within, self.dim = cross, within, dim
        self.projector = projector(backbone, hidden, dim, norm)
        self.audio_projector = projector(audio_backbone, hidden, dim, norm)
        self.register_buffer("log_partition", torch.tensor(float("nan")))

    def prepare(self, samples: int) -> None:
        rows = [F.normalize(torch.randn(samples, self.dim), dim=1) for _ in self.streams]
        self.video_bank, self.audio_bank = map(MemoryBank, rows)

    def project(self, video: Tensor, audio: Tensor) -> Embeddings:
        return {VIDEO: unit(self.projector(video)), AUDIO: unit(self.audio_projector(audio))}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        own = index[:, None]
        negative = self.draw(own, index, clock)
        terms = {"cross": (self.cross, own, negative), "within": (self.within, own, negative)}
        return self.weigh(z, index, terms)

    def draw(self, excluded: Tensor, index: Tensor, clock: Clock) -> Tensor:
        """Rows of the negatives of each clip: int64 (B, K)."""
        key = random.key(clock.seed, "negatives", clock.epoch)
        return draw_outside(excluded, len(self.video_bank), self.negatives, key, index)

    def weigh(
        self, z: Embeddings, index: Tensor, terms: dict[str, tuple[float, Tensor, Tensor]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted mean of the terms. A term: its weight, rows of positives (B, P) and of negatives (B, K); its bank is
        the other modality's if its name begins with "cross"."""
        losses = {
            name: self._term(z, name.startswith("cross"), positive, negative)
            for name, (weight, positive, negative) in terms.items()
            if weight
        }
        if not losses:
            raise UserError(f"{self.title} has nothing to learn from yet: give --hyper.cross or .within above 0.")
        total = sum(terms[name][0] for name in losses)
        loss = torch.stack([terms[name][0] / total * value for name, value in losses.items()]).sum()
        numbers = {f"{name}_loss": value.detach() for name, value in losses.items()} if len(losses) > 1 else {}
        numbers["pair_similarity"] = (z[VIDEO] * z[AUDIO]).sum(1).mean().detach()
        return loss, numbers | {f"{name}_embedding_std": embedding_std(z[name]) for name in self.streams}

    def _term(self, z: Embeddings, cross: bool, positive: Tensor, negative: Tensor) -> Tensor:
        """Mean over the modalities of the loss of each one's embeddings against a bank."""
        video, audio = (self.audio_bank, self.video_bank) if cross else (self.video_bank, self.audio_bank)
        return (self._nce(z[VIDEO], video, positive, negative) + self._nce(z[AUDIO], audio, positive, negative)) / 2

    def _nce(self, z: Tensor, bank: MemoryBank, positive: Tensor, negative: Tensor) -> Tensor:
        attract = bank.chosen(z, positive) / self.temperature
        if not self.has("negatives"):
            return -attract.mean()
        repel = bank.chosen(z, negative) / self.temperature
        estimate_once(self.log_partition, repel)
        return nce(attract, repel, self.log_partition + log(negative.shape[1]))

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        self.video_bank.update(z[VIDEO], index, self.momentum)
        self.audio_bank.update(z[AUDIO], index, self.momentum)

    @property
    def banks(self) -> tuple[Tensor, Tensor] | None:
        return None if not hasattr(self, "video_bank") else (self.video_bank.rows, self.audio_bank.rows)

    def constants(self, batch_size: int) -> dict[str, float]:
        if not self.has("negatives"):
            return {}
        return {
            "all scores equal": Empty(nce_level(self.negatives)),
            "random directions, as at the start": random_level(self.negatives, self.temperature, self.dim),
        }

    recipes = {
        "imagenet": Recipe(
            backbone="r2plus1d-18", audio_backbone="conv2d-10", image_size=224, batch_size=256, epochs=300,
            warmup_epochs=0,
            views=(
                ClipView(View(224, jitter=(0.4, 0.4, 0.4, 0.2), jitter_p=1.0, grey_p=0.0)),
                SoundView(),
            ),
            optimizer="adam", lr=2e-4, weight_decay=1e-5, decay_1d=True, final_lr=1.0,
        ),
        "small": Recipe(
            backbone="r2plus1d-10-small", audio_backbone="conv2d-10-small", image_size=112, batch_size=256, epochs=400,
            warmup_epochs=0,
            views=(
                ClipView(View(112, jitter=(0.4, 0.4, 0.4, 0.2), jitter_p=1.0, grey_p=0.0)),
                SoundView(fft=512, hop=480),
            ),
            optimizer="adam", lr=1e-4, weight_decay=1e-5, decay_1d=True,
        ),
        "quick": Recipe(
            backbone="r2plus1d-10-w16", audio_backbone="conv2d-10-w16", image_size=32, batch_size=64, epochs=22,
            warmup_epochs=1,
            views=(
                ClipView(View(32, scale=(0.5, 1.0), jitter=(0.4, 0.4, 0.4, 0.05), jitter_p=1.0, grey_p=0.0), fps=8),
                SoundView(fft=512, hop=480, mel=64),
            ),
            optimizer="muon", lr=0.24, weight_decay=0.01, hyper={"negatives": 256, "hidden": 128, "norm": True},
        ),
    }  # fmt: skip


def projector(network: Any, hidden: int, dim: int, norm: bool) -> nn.Module:
    """The head of a network with `dim` outputs, shared by its parts of time if it keeps any."""
    parts = getattr(network, "parts", 1)
    if dim % parts:
        raise UserError(f"An embedding of {dim} numbers has no {parts} equal parts: try --hyper.dim {16 * parts}.")
    head = mlp(network.num_features // parts, hidden, hidden, dim // parts, norm=norm)
    if parts > 1:
        head = nn.Sequential(EachPart(head, parts))
    return head.append(nn.BatchNorm1d(dim)) if norm else head


def random_level(k: int, temperature: float, dim: int) -> float:
    """The expected loss of one positive and k negatives when all directions are random, and Z is theirs."""
    cosine = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[1:-1]
    density = (1 - cosine.square()).pow((dim - 3) / 2)
    density /= density.sum()
    score = cosine / temperature
    logit = score - (density * score.exp()).sum().log() - log(k)
    return float((density * (F.softplus(-logit) + k * F.softplus(logit))).sum())
