"""PIRL: a picture and its shuffled patches must both find the picture's row of a memory bank."""

from collections.abc import Collection
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.nets.heads import mlp
from semblance.runtime import random
from semblance.systems.memory_bank import MemoryBank, nce_constants, nce_once
from semblance.systems.method import Clock, Embeddings, Empty, Method, embedding_std, unit
from semblance.systems.recipe import Count, Positive, Recipe, Share
from semblance.views.jigsaw import pieces
from semblance.views.view import View

GRID = 3


class PIRL(Method):
    """Misra & van der Maaten 2020, "Self-Supervised Learning of Pretext-Invariant Representations";
    facebookresearch/vissl: configs/config/pretrain/pirl (the MLP heads, InfoNCE and blur of its best results). Its
    first form has nce=True, mlp_head=False and a temperature of 0.07.

    Deviations: rows of the bank start with unit norm on any number of devices (theirs are averaged over devices); the
    learning rate follows its cosine per step (theirs per epoch); a picture's own row is never among its negatives
    (theirs may be); nce lacks their 1.2e-7; blur is a Gaussian (theirs Pillow's); views have no posterize, sharpness
    and autocontrast (only those of their first form do); batch norms see the whole batch (theirs each device's); an
    epoch leaves out its last, incomplete batch (theirs trains on it).
    """

    family = "contrastive"
    title = "PIRL"
    paper = "Misra & van der Maaten 2020, arXiv:1912.01991"
    equation = (
        "½ ℓ(z, bank) + ½ ℓ(patches, bank);  ℓ(z, m) = - log exp(z·m_i / τ) / (exp(z·m_i / τ) + Σ_K exp(z·m_k / τ))"
    )
    picture = """
image ─┬─ view ────── backbone ─ projector ─ z ────────┬──▶ bank
       │                                               │ own row attracts,
       └─ 9 patches ─ backbone ─ projector, joined ─ z ┘ K drawn rows repel
"""
    guards = {"negatives": "rows of the bank that belong to other pictures repel"}

    bank: MemoryBank  # from the embeddings of whole pictures only
    log_partition: Tensor  # of NCE: estimated from the patches' scores at the first step and kept; NaN before

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 0.1,
        negatives: Count = 32_000,  # drawn from the bank for each of the two terms
        momentum: Share = 0.5,  # of the bank
        patch_weight: Share = 0.5,  # of the term of the patches; the picture's has the rest
        dim: Count = 128,
        mlp_head: bool = True,  # False in the first form: one linear layer for pictures and for patches
        nce: bool = False,  # True in the first form: each draw against noise, instead of the softmax over all
    ) -> None:
        super().__init__(backbone, without)
        self.temperature, self.negatives = temperature, negatives
        self.momentum, self.patch_weight = momentum, patch_weight
        self.dim = dim
        self.nce = nce
        widths = [self.features, *[self.features] * mlp_head, dim]
        self.projector = mlp(*widths, norm=False)
        self.patch_projector = nn.Sequential(mlp(*widths, norm=False), nn.ReLU() if mlp_head else nn.Identity())
        self.patch_joiner = nn.Linear(GRID**2 * dim, dim)
        if nce:
            self.register_buffer("log_partition", torch.tensor(float("nan")))

    def prepare(self, samples: int) -> None:
        self.bank = MemoryBank(F.normalize(torch.rand(samples, self.dim) - 0.5, dim=1))

    def embed(self, views: list[Tensor]) -> Embeddings:
        picture, mosaic = views
        # patches first, so that running statistics end on the picture (MULTI_INPUT_HEAD_MAPPING of the authors' config)
        patches = self.patch_projector(self.backbone(pieces(mosaic, GRID)))
        joined = self.patch_joiner(patches.view(len(picture), -1))
        z = self.projector(self.backbone(picture))
        return {"z": unit(z), "patches": unit(joined)}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        patches = self._term(z["patches"], "patches", index, clock)
        picture = self._term(z["z"], "picture", index, clock)
        loss = self.patch_weight * patches + (1 - self.patch_weight) * picture
        return loss, {
            "patch_loss": patches.detach(),
            "picture_loss": picture.detach(),
            "embedding_std": embedding_std(z["z"]),
        }

    def _term(self, z: Tensor, purpose: str, index: Tensor, clock: Clock) -> Tensor:
        """InfoNCE or NCE of embeddings (B, D) with their pictures' bank rows, each term with its own negatives."""
        positive = self.bank.own(z, index) / self.temperature
        if not self.has("negatives"):
            return -positive.mean()
        negative = self.bank.chosen(z, self.draw(purpose, index, clock)) / self.temperature
        if self.nce:
            return nce_once(positive, negative, self.log_partition)
        return -torch.cat([positive, negative], 1).log_softmax(1)[:, 0].mean()

    def draw(self, purpose: str, index: Tensor, clock: Clock) -> Tensor:
        """Rows of the negatives of each picture in the term of the "patches" or of the "picture": int64 (B, K)."""
        return self.bank.draw(index, self.negatives, random.key(clock.seed, "negatives", purpose, clock.epoch))

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        self.bank.update(z["z"], index, self.momentum)

    def constants(self, batch_size: int) -> dict[str, float]:
        if not self.has("negatives"):
            return {}
        if self.nce:
            return nce_constants(self.negatives)
        return {"ln(K + 1): all scores equal": Empty(log(self.negatives + 1))}

    recipes = {
        "imagenet": Recipe(
            backbone="torchvision/resnet50", image_size=224, batch_size=1024, epochs=800, warmup_epochs=0,
            views=(
                View(224, jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5),
                View(64, grid=GRID, cell=85, scale=(0.6, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5),
            ),
            optimizer="sgd", lr=0.03, weight_decay=1e-4, final_lr=0.001,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(
                View(32, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),
                View(8, grid=GRID, cell=10, scale=(0.6, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),
            ),
            optimizer="muon", lr=0.3, weight_decay=0.01,
            hyper={"negatives": 4096, "momentum": 0.0, "mlp_head": False},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=64, epochs=11, warmup_epochs=1,
            views=(
                View(32, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),
                View(8, grid=GRID, cell=10, scale=(0.6, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),
            ),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"negatives": 2048, "mlp_head": False},
        ),
    }  # fmt: skip
