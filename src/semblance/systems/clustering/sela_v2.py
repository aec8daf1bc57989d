"""SeLa-v2: DeepCluster-v2 with labels by optimal transport and trained prototypes."""

from collections.abc import Collection
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.systems.clustering.deepcluster_v2 import DeepClusterV2
from semblance.systems.grouping import balanced_labels, nearest
from semblance.systems.method import Clock, Embeddings, WholeSet
from semblance.systems.recipe import Count, Few, Positive
from semblance.views.view import View


class SeLaV2(DeepClusterV2):
    """Asano et al. 2020 as improved by Caron et al. 2020; no code is public. According to the author
    (facebookresearch/swav, issue 59) it is main_deepclusterv2.py with Sinkhorn-Knopp instead of k-means and prototypes
    trained as in SwAV, here from the first step on.

    Its best published run has 400 epochs of 2 x 160 + 4 x 96 px (their README.md). What they do not state is SwAV's
    (the sharpness of the transport, 1 / 0.05) or DeepCluster-v2's (the rest). The prototypes of all heads are one
    tensor, with one norm for LARC.
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
        heads: Few = 3,  # which take the crops' memories in turn
        crops: Few = 2,  # large crops that are remembered
        hidden: Count = 2048,
        dim: Count = 128,
    ) -> None:
        super().__init__(
            backbone, without, temperature=temperature, clusters=clusters, heads=heads, crops=crops,
            hidden=hidden, dim=dim,
        )  # fmt: skip
        self.epsilon, self.tolerance = epsilon, tolerance
        self.prototypes = nn.Parameter(self.prototypes)

    @torch.no_grad()
    def regroup(self, head: int, memory: Tensor, whole: WholeSet, clock: Clock) -> None:
        prototypes = self.prototypes[head]
        if self.has("balance"):
            self.labels[head] = balanced_labels(
                memory,
                lambda z: z @ prototypes.T,
                1 / self.epsilon,
                self.tolerance,
                lambda steps: whole.track(steps, f"optimal transport {head + 1}, steps at most"),
            )
        else:
            self.labels[head] = nearest(memory, prototypes)

    @torch.no_grad()
    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        super().update(z, index, clock)
        self.prototypes.copy_(F.normalize(self.prototypes, dim=2))

    recipes = DeepClusterV2.recipes | {
        "imagenet": replace(
            DeepClusterV2.recipes["imagenet"],
            epochs=400,
            image_size=160,
            views=(
                View(160, count=2, scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5),
                View(96, count=4, scale=(0.05, 0.14), jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5),
            ),
        ),
    }
