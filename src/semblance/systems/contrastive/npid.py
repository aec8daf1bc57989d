"""NPID: every picture is a class of its own, and a bank holds what each class looks like."""

from collections.abc import Collection
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.runtime import random
from semblance.systems.memory_bank import MemoryBank, nce_constants, nce_once
from semblance.systems.method import Clock, Embeddings, Empty, Method, embedding_std, unit
from semblance.systems.recipe import Count, Natural, Positive, Recipe, Share
from semblance.views.view import View


class NPID(Method):
    """Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination";
    zhirongw/lemniscate.pytorch.

    Deviations: the learning rate falls by a cosine (theirs by steps); the last, incomplete batch of an epoch is left
    out (theirs kept); jitter comes before greyscale (theirs after); a picture's own row is never among its negatives
    (theirs may be); nce lacks their 1e-7; batch norms see the whole batch (theirs each device's).
    """

    family = "contrastive"
    title = "NPID"
    paper = "Wu et al. 2018, arXiv:1805.01978"
    equation = (
        "p_ik = exp(m_k·z_i / τ) / Z;  - log p_ii / (p_ii + K/N) - Σ_k log (K/N) / (p_ik + K/N), K draws of the bank m"
    )
    picture = """
image ─── view ─ backbone ─ linear ─ z ─┬─ own row attracts, K drawn rows repel
                                        └──▶ bank: a moving average per picture
"""
    guards = {"negatives": "rows of the bank that belong to other pictures repel"}

    bank: MemoryBank
    log_partition: Tensor  # log of the mean of exp(score), estimated at the first step and kept; NaN before

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 0.07,  # 0.1 for CIFAR-10
        negatives: Natural = 4096,  # draws from the bank; 0 for the exact softmax over all of it
        momentum: Share = 0.5,  # of the bank
        dim: Count = 128,
    ) -> None:
        super().__init__(backbone, without)
        self.temperature, self.negatives, self.momentum = temperature, negatives, momentum
        self.projector = nn.Linear(self.features, dim)
        self.register_buffer("log_partition", torch.tensor(float("nan")))

    def prepare(self, samples: int) -> None:
        weight = self.projector.weight
        bound = (3 / len(weight)) ** 0.5  # rows of expected squared norm 1
        self.bank = MemoryBank(torch.empty(samples, len(weight)).uniform_(-bound, bound))

    def embed(self, views: list[Tensor]) -> Embeddings:
        return {"z": unit(self.projector(self.backbone(views[0])))}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        z1, numbers = z["z"], {"embedding_std": embedding_std(z["z"])}
        positive = self.bank.own(z1, index) / self.temperature
        numbers["bank_similarity"] = positive.detach().mean() * self.temperature
        if not self.has("negatives"):
            return -positive.mean(), numbers
        if self.negatives == 0:
            return F.cross_entropy(z1 @ self.bank.rows.T / self.temperature, index), numbers
        negative = self.bank.chosen(z1, self.draw(index, clock)) / self.temperature
        return nce_once(positive, negative, self.log_partition), numbers

    def draw(self, index: Tensor, clock: Clock) -> Tensor:
        """Rows of the negatives of each picture: int64 (B, K)."""
        return self.bank.draw(index, self.negatives, random.key(clock.seed, "negatives", clock.epoch))

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        self.bank.update(z["z"], index, self.momentum)

    def constants(self, batch_size: int) -> dict[str, float]:
        if not self.has("negatives"):
            return {}
        if self.negatives == 0:
            return {f"ln {len(self.bank):,}: all pictures look alike": Empty(log(len(self.bank)))}
        return nce_constants(self.negatives)

    recipes = {
        "imagenet": Recipe(
            backbone="torchvision/resnet50", image_size=224, batch_size=256, epochs=200, warmup_epochs=0,
            views=(View(224, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.4), jitter_p=1.0),),
            optimizer="sgd", lr=0.03, weight_decay=1e-4, decay_1d=True,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200, warmup_epochs=0,
            views=(View(32, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.4), jitter_p=1.0, flip_p=0.0),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"temperature": 0.1, "negatives": 0, "momentum": 0.0},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=16, warmup_epochs=1,
            views=(View(32, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"temperature": 0.1, "negatives": 0},
        ),
    }  # fmt: skip
