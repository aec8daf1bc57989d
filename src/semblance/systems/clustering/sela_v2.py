"""SeLa-v2: DeepCluster-v2 with labels by optimal transport, and prototypes that are trained."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..grouping import balanced_labels, nearest
from ..method import Clock, Count, Embeddings, Positive, WholeSet
from .deepcluster_v2 import DeepClusterV2


class SeLaV2(DeepClusterV2):
    """Asano et al. 2020 as improved by Caron et al. 2020; no code is public. By the author's words (facebookresearch/
    swav, issue 59) it is main_deepclusterv2.py with Sinkhorn-Knopp for k-means and prototypes trained as SwAV's.

    Not stated, hence SwAV's: the sharpness of the transport is 1 / 0.05.
    """

    title = "SeLa-v2"
    equation = "- log softmax(z·c / τ)_label, mean over crops and heads;  labels: optimal transport of last epoch's z"
    picture = """
image ─── crops ─ backbone ─ projector ─ z ─┬─ z·C ─ cross-entropy
                                            └▶ memory ─ transport ─ labels
"""
    guards = {"balance": "every prototype gets as many pictures"}

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 0.1,
        epsilon: Positive = 0.05,  # of the optimal transport
        tolerance: Positive = 0.1,  # of its convergence
        clusters: Count = 3000,  # of each head
        heads: Count = 3,  # each takes one crop's memory in turn
        crops: Count = 2,  # large ones that are remembered
        hidden: Count = 2048,
        dim: Count = 128,
    ) -> None:
        super().__init__(
            backbone, without, temperature=temperature, clusters=clusters, heads=heads, crops=crops,
            hidden=hidden, dim=dim,
        )  # fmt: skip
        self.epsilon, self.tolerance = epsilon, tolerance
        self.prototypes.requires_grad_(True)

    @torch.no_grad()
    def regroup(self, head: int, memory: Tensor, whole: WholeSet, clock: Clock) -> None:
        prototypes = self.prototypes[head]
        if self.has("balance"):
            self.labels[head] = balanced_labels(memory, lambda z: z @ prototypes.T, 1 / self.epsilon, self.tolerance)
        else:
            self.labels[head] = nearest(memory, prototypes)

    @torch.no_grad()
    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        super().update(z, index, clock)
        self.prototypes.copy_(F.normalize(self.prototypes, dim=2))
