"""CMA: clips that agree both in picture and in sound attract each other within each modality."""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor, nn

from semblance.systems.agreement import Agreement, check_count, mine
from semblance.systems.contrastive.avid import AVID, random_level
from semblance.systems.memory_bank import nce_level
from semblance.systems.method import Clock, Embeddings, Empty, WholeSet
from semblance.systems.recipe import Amount, Count, Positive, Share


class CMA(AVID):
    """Morgado et al. 2021, "Audio-Visual Instance Discrimination with Cross-Modal Agreement";
    facebookresearch/AVID-CMA. Meant to continue a run of AVID (--from RUN), with its weights, banks and partition
    constant; without one, it trains AVID up to `start`, and the positives are mined then.

    Deviations besides AVID's: a clip is left out of its own negatives and, by its index (theirs by its rank), of its
    own positives; the within-modal instance term is within-modal (their class computes the cross-modal one).
    """

    title = "AVID-CMA"
    equation = "¼ [ℓ(v; Ā_i) + ℓ(a; V̄_i) + ℓ(v; V̄_P) + ℓ(a; Ā_P)];  P: the clips j of the largest min(V̄_i·V̄_j, Ā_i·Ā_j)"
    picture = """
clip ─┬─ frames ─ backbone ─ projector ─ v ─┬─ find each other among all,
      └─ sound ── backbone ─ projector ─ a ─┴─ and the clips P, each in its own
every few epochs: banks V̄, Ā ─ clips that agree in both ─ P
"""

    weights = ("cross", "within", "cross_positives", "within_positives")

    positive_set: Tensor  # int32 (clips, positives), sorted; -1 until it is mined

    def __init__(
        self,
        backbone: nn.Module,
        audio_backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 0.07,
        negatives: Count = 1024,
        momentum: Share = 0.5,
        cross: Amount = 1.0,  # weights of the terms of the clip itself: against the other modality's bank,
        within: Amount = 0.0,  # and against its own
        cross_positives: Amount = 0.0,  # weights of the terms of the mined clips: against the other modality's bank,
        within_positives: Amount = 1.0,  # and against its own
        within_negatives: Count = 64,  # how many of the negatives the last term takes
        positives: Count = 32,  # mined for each clip
        agreement: Agreement = "consensus",
        refresh_epochs: Count = 50,
        start: Share = 0.5,  # of the run trained as AVID, unless it continues one
        hidden: Count = 512,
        dim: Count = 128,
        norm: bool = False,
    ) -> None:
        super().__init__(
            backbone, audio_backbone, without, temperature=temperature, negatives=negatives, momentum=momentum,
            cross=cross, within=within, hidden=hidden, dim=dim, norm=norm,
        )  # fmt: skip
        self.cross_positives, self.within_positives = cross_positives, within_positives
        self.within_negatives, self.positives, self.agreement = within_negatives, positives, agreement
        self.refresh_epochs, self.start = refresh_epochs, start

    def prepare(self, samples: int) -> None:
        super().prepare(samples)
        check_count(samples, self.positives)
        self.register_buffer("positive_set", torch.full((samples, self.positives), -1, dtype=torch.int32))

    @property
    def chosen_positives(self) -> Tensor | None:
        return self.positive_set.long() if self.mined else None

    @property
    def mined(self) -> bool:
        return int(self.positive_set[0, 0]) >= 0

    def start_step(self, whole: WholeSet, clock: Clock) -> None:
        if not clock.starts_epoch:
            return
        trained = clock.step == 0 and not self.log_partition.isnan()  # by the run of AVID it continues
        due = clock.epoch % self.refresh_epochs == 0 if self.mined else trained or clock.progress >= self.start
        if due:
            self.positive_set.copy_(
                mine(
                    self.video_bank.rows, self.audio_bank.rows, self.positives, self.agreement,
                    track=lambda blocks: whole.track(blocks, "mining positives"),
                )
            )  # fmt: skip

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.mined:
            return super().objective(z, index, clock)
        own, agreeing = index[:, None], self.positive_set[index].long()
        negative = self.draw(torch.cat([own, agreeing], 1).sort(1).values, index, clock)
        return self.weigh(z, index, {
            "cross": (self.cross, own, negative),
            "within": (self.within, own, negative),
            "cross_positives": (self.cross_positives, agreeing, negative),
            "within_positives": (self.within_positives, agreeing, negative[:, : self.within_negatives]),
        })  # fmt: skip

    def constants(self, batch_size: int) -> dict[str, float]:
        if not self.has("negatives"):
            return {}
        few = min(self.within_negatives, self.negatives)
        total = self.cross + self.within + self.cross_positives + self.within_positives
        many = 1 - self.within_positives / total

        def level(k: int) -> float:
            return random_level(k, self.temperature, self.dim)

        return {
            "all scores equal": Empty(many * nce_level(self.negatives) + (1 - many) * nce_level(few)),
            "random directions": many * level(self.negatives) + (1 - many) * level(few),
        }

    recipes = {
        "imagenet": replace(AVID.recipes["imagenet"], epochs=200),
        "small": replace(
            AVID.recipes["small"], epochs=300, batch_size=224, final_lr=1.0, hyper={"refresh_epochs": 40}
        ),
        "quick": replace(
            AVID.recipes["quick"],
            hyper={**AVID.recipes["quick"].hyper, "positives": 8, "refresh_epochs": 5},
        ),
    }  # fmt: skip
