"""MoCo v3: a predictor's queries find their own key, made by a momentum encoder, among the keys of the batch."""

from collections.abc import Collection
from copy import deepcopy
from dataclasses import replace
from math import log

import torch
from torch import Tensor, nn

from semblance.losses import batch_nce, negative_cosine
from semblance.nets.heads import mlp
from semblance.systems.method import Clock, Embeddings, Empty, Method, ema, embedding_std, rising_momentum
from semblance.systems.recipe import Count, Positive, Recipe, Share
from semblance.views.view import View


class MoCoV3(Method):
    """Chen, Xie & He 2021, "An Empirical Study of Training Self-Supervised Vision Transformers";
    facebookresearch/moco-v3. The heads and recipes are those of ResNets.

    Deviation: blur is a Gaussian (theirs Pillow's).
    """

    family = "contrastive"
    title = "MoCo v3"
    paper = "Chen, Xie & He 2021, arXiv:2104.02057"
    equation = "2τ · - log exp(q_i·k_i / τ) / Σ_j exp(q_i·k_j / τ), mean over the batch, both directions summed"
    picture = """
image ─┬─ view ─ backbone ─ projector ─ predictor ─ q ─┐ own key attracts, the
       │            ┊ moving average                   │ batch's others repel
       └─ view ─ backbone ─ projector ───────────── k ─┘
"""
    guards = {
        "negatives": "the keys of the other pictures of the batch repel",
        "ema": "keys come from an encoder that follows slowly",
    }

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 1.0,  # 0.2 for ViTs
        momentum: Share = 0.99,  # of the key encoder at first; rises to 1 by a cosine
        hidden: Count = 4096,
        dim: Count = 256,
    ) -> None:
        super().__init__(backbone, without)
        self.temperature, self.momentum = temperature, momentum
        self.projector = mlp(self.features, hidden, dim, bias=False, output_bias=False, output_norm=True)
        self.projector[-1] = nn.BatchNorm1d(dim, affine=False)
        self.predictor = mlp(dim, hidden, dim, bias=False, output_bias=False)
        self.target = deepcopy(nn.Sequential(backbone, self.projector)).requires_grad_(False)

    @property
    def teacher(self) -> nn.Module:
        return self.target[0]

    def embed(self, views: list[Tensor]) -> Embeddings:
        q1, q2 = (self.predictor(self.projector(self.backbone(view))) for view in views)
        with torch.no_grad():
            k1, k2 = (self.target(view) for view in views)
        return {"q1": q1, "q2": q2, "k1": k1, "k2": k2}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        q1, q2, k1, k2 = (z[name] for name in ("q1", "q2", "k1", "k2"))
        numbers = {"embedding_std": embedding_std(q1), "target_momentum": torch.tensor(self.tau(clock))}
        if not self.has("negatives"):
            return 2 * (negative_cosine(q1, k2) + negative_cosine(q2, k1)), numbers
        loss = batch_nce(q1, k2, self.temperature) + batch_nce(q2, k1, self.temperature)
        return 2 * self.temperature * loss, numbers

    def tau(self, clock: Clock) -> float:
        """Momentum of the key encoder at this step."""
        return rising_momentum(self.momentum, clock) if self.has("ema") else 0.0

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        following = replace(clock, step=clock.step + 1)  # theirs updates before a step's keys, by that step's momentum
        ema(self.target, nn.Sequential(self.backbone, self.projector), self.tau(following))

    def constants(self, batch_size: int) -> dict[str, float]:
        if not self.has("negatives"):
            return {"-4: query and key equal (with std near 0: collapsed)": -4.0}
        return {"4 T ln N: all embeddings equal": Empty(4 * self.temperature * log(batch_size))}

    recipes = {
        "imagenet": Recipe(
            backbone="resnet50", image_size=224, batch_size=4096, epochs=100,
            views=(
                View(224, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), blur_p=1.0),
                View(224, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), blur_p=0.1, solarize_p=0.2),
            ),
            optimizer="lars", lr=0.6, weight_decay=1e-6,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"temperature": 0.1, "hidden": 1024, "momentum": 0.95},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=8, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"temperature": 0.2, "hidden": 256, "momentum": 0.9},
        ),
    }  # fmt: skip
