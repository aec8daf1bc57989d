"""MoCo: a query finds its key, made by a momentum encoder, among a long queue of past keys."""

from collections.abc import Collection
from copy import deepcopy
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.losses import info_nce
from semblance.nets.batchnorm import group_statistics
from semblance.nets.heads import mlp
from semblance.systems.method import Clock, Embeddings, Empty, Method, ema, embedding_std, unit
from semblance.systems.recipe import Count, Positive, Recipe, Share
from semblance.views.view import View


class MoCo(Method):
    """He et al. 2020, "Momentum Contrast for Unsupervised Visual Representation Learning", and its v2 (the defaults),
    Chen et al. 2020, arXiv:2003.04297; facebookresearch/moco. v1 has mlp_head=False and a temperature of 0.07.

    Batch norms take statistics over `groups` parts of the batch, as if on as many devices: for queries, blocks of
    neighbours; for keys, every `groups`-th sample. So a query shares its batch statistics with other pictures than its
    key does, which is what the authors shuffle keys between devices for.

    Deviations: the regrouping is fixed (theirs a new permutation at each step; which pictures meet is random anyway);
    the queue need not be a multiple of the batch; the learning rate follows its cosine per step (theirs per epoch; by
    steps in v1); running statistics are means over the groups (theirs are of the first device's part alone, which DDP
    hands to the others); blur is a Gaussian (theirs Pillow's). The views of v1 are NPID's.
    """

    family = "contrastive"
    title = "MoCo"
    paper = "He et al. 2020, arXiv:1911.05722"
    equation = "- log exp(q·k / τ) / (exp(q·k / τ) + Σ_queue exp(q·k' / τ)); symmetric: plus that of swapped views"
    picture = """
image ─┬─ view ─ backbone ─ projector ─ q ─┐ own key attracts,
       │            ┊ moving average       │ the queue repels
       └─ view ─ backbone ─ projector ─ k ─┴──▶ queue of past keys
"""
    guards = {
        "negatives": "the keys in the queue repel",
        "ema": "keys come from an encoder that follows slowly",
        "shuffled_bn": "a query and its key share batch statistics with different pictures",
    }

    queue: Tensor  # (queue, dim) of unit rows, newest first

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 0.2,  # 0.07 in v1
        momentum: Share = 0.999,  # of the key encoder
        queue: Count = 65_536,
        dim: Count = 128,
        mlp_head: bool = True,  # False in v1: one linear layer
        groups: Count = 8,  # of batch norm
        symmetric: bool = False,  # each view is a query and a key, as in the authors' notebook for CIFAR-10
    ) -> None:
        super().__init__(backbone, without)
        self.temperature, self.momentum, self.symmetric = temperature, momentum, symmetric
        self.projector = mlp(self.features, *[self.features] * mlp_head, dim, norm=False)
        self.target = deepcopy(nn.Sequential(backbone, self.projector)).requires_grad_(False)
        group_statistics(backbone, groups, "blocks")
        group_statistics(self.target, groups, "residues" if self.has("shuffled_bn") else "blocks")
        self.register_buffer("queue", F.normalize(torch.randn(queue, dim), dim=1))

    @property
    def teacher(self) -> nn.Module:
        return self.target[0]

    def embed(self, views: list[Tensor]) -> Embeddings:
        q = [self.projector(self.backbone(view)) for view in views[: 1 + self.symmetric]]
        with torch.no_grad():
            k = [self.target(view) for view in views[::-1][: len(q)]]
        z = {f"q{i}": x for i, x in enumerate(q)} | {f"k{i}": x for i, x in enumerate(k)}
        return {name: unit(x) for name, x in z.items()}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        losses = []
        for i in range(1 + self.symmetric):
            q, k = z[f"q{i}"], z[f"k{i}"]
            attraction = -(q * k).sum(1).mean() / self.temperature
            losses.append(info_nce(q, k, self.queue, self.temperature) if self.has("negatives") else attraction)
        numbers = {"embedding_std": embedding_std(q), "positive_similarity": -attraction.detach() * self.temperature}
        return torch.stack(losses).sum(), numbers

    @torch.no_grad()
    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        ema(self.target, nn.Sequential(self.backbone, self.projector), self.momentum if self.has("ema") else 0.0)
        keys = [z[f"k{i}"].to(self.queue.dtype) for i in range(1 + self.symmetric)]
        self.queue.copy_(torch.cat([*keys, self.queue])[: len(self.queue)])

    def constants(self, batch_size: int) -> dict[str, float]:
        if not self.has("negatives"):
            return {}
        level = (1 + self.symmetric) * log(len(self.queue) + 1)
        return {f"{'2 ' * self.symmetric}ln(K + 1): all embeddings equal": Empty(level)}

    recipes = {
        "imagenet": Recipe(
            backbone="torchvision/resnet50", image_size=224, batch_size=256, epochs=200, warmup_epochs=0,
            views=(View(224, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.5),),
            optimizer="sgd", lr=0.03, weight_decay=1e-4, decay_1d=True,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, decay_1d=True,
            hyper={"temperature": 0.1, "momentum": 0.99, "queue": 4096, "symmetric": True},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=7, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, decay_1d=True,
            hyper={"temperature": 0.2, "momentum": 0.95, "queue": 1024, "symmetric": True},
        ),
    }  # fmt: skip
