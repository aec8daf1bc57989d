"""DeepCluster-v2: prototypes are centroids of last epoch's embeddings, and every crop predicts its picture's."""

from collections.abc import Collection
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.nets.heads import mlp
from semblance.nets.multi_crop import multi_crop
from semblance.runtime import random
from semblance.systems.grouping import count_used, nearest, spherical_kmeans
from semblance.systems.method import Clock, Embeddings, Empty, Method, WholeSet, embedding_std, unit
from semblance.systems.recipe import Count, Few, Positive, Recipe
from semblance.views.view import View


class DeepClusterV2(Method):
    """Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", appendix;
    facebookresearch/swav: main_deepclusterv2.py.

    Deviations: pictures that an epoch left out keep the embeddings they had (theirs are left out of the next epoch's
    loss); red is divided by 0.229 (theirs 0.228); the learning rate warms up from 0 (theirs from 0.3, to 4.8); batch
    norms see the whole batch (theirs groups of 8 devices); blur is a Gaussian (theirs Pillow's).
    """

    family = "clustering"
    title = "DeepCluster-v2"
    paper = "Caron et al. 2020, arXiv:2006.09882"
    equation = (
        "- log softmax(z·c / τ)_label, mean over crops and heads;  c, labels: spherical k-means of last epoch's z"
    )
    picture = """
image ─── crops ─ backbone ─ projector ─ z ─┬─ z·C ─ cross-entropy
                                            └▶ memory ─ k-means ─ C, labels
"""
    guards = {"refit": "prototypes are moved to the centroids of the embeddings, so that all of them keep members"}

    memory: Tensor  # (crops, pictures, dim), the latest embeddings of the first large crops
    labels: Tensor  # (heads, pictures)
    prototypes: Tensor  # (heads, clusters, dim), unit rows

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 0.1,
        clusters: Count = 3000,  # of each head
        heads: Few = 3,  # clusterings, which take the crops' memories in turn
        crops: Few = 2,  # large crops that are remembered
        iterations: Few = 10,  # of k-means
        hidden: Count = 2048,
        dim: Count = 128,
    ) -> None:
        super().__init__(backbone, without)
        self.temperature, self.crops, self.iterations, self.dim = temperature, crops, iterations, dim
        self.projector = mlp(self.features, hidden, dim)
        self.register_buffer("prototypes", F.normalize(torch.randn(heads, clusters, dim), dim=2))

    def prepare(self, samples: int) -> None:
        self.register_buffer("memory", torch.zeros(self.crops, samples, self.dim))
        self.register_buffer("labels", torch.zeros(len(self.prototypes), samples, dtype=torch.long))

    def start_step(self, whole: WholeSet, clock: Clock) -> None:
        if clock.step == 0:
            z = whole.crops(self._remembered, clock.step)
            self.memory.copy_(z.transpose(0, 1))
        if clock.starts_epoch:
            for head in range(len(self.prototypes)):
                self.regroup(head, self.memory[head % self.crops], whole, clock)

    @torch.no_grad()
    def regroup(self, head: int, memory: Tensor, whole: WholeSet, clock: Clock) -> None:
        """New prototypes and labels of one head, from the memory (N, D) of one crop."""
        prototypes = self.prototypes[head]
        if not self.has("refit"):
            self.labels[head] = nearest(memory, prototypes)
            return
        centroids, self.labels[head] = spherical_kmeans(
            memory,
            len(prototypes),
            self.iterations,
            self.first_rows(head, clock),
            lambda steps: whole.track(steps, f"k-means {head + 1}"),
        )
        prototypes.copy_(centroids)

    def first_rows(self, head: int, clock: Clock) -> int | Tensor:
        """What the k-means of a head begins from: a key that draws pictures, or their numbers, int64 (clusters,)."""
        return random.key(clock.seed, "k-means", clock.epoch, head)

    def _remembered(self, views: list[Tensor]) -> Tensor:
        """Embeddings (b, crops, dim) of the large crops, each in its own forward pass, as in their init_memory."""
        return torch.cat([self.embed([view])["z"] for view in views[: self.crops]], 1)

    def embed(self, views: list[Tensor]) -> Embeddings:
        features, _ = multi_crop(self.backbone, views)
        z = unit(self.projector(features))
        return {"z": z.view(len(views), len(views[0]), -1).transpose(0, 1)}  # large crops first

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        crops = z["z"].transpose(1, 2)  # (B, D, V)
        losses = [
            F.cross_entropy(prototypes @ crops / self.temperature, labels[index, None].expand(-1, crops.shape[2]))
            for prototypes, labels in zip(self.prototypes, self.labels, strict=True)
        ]
        used = count_used(self.labels[0], self.prototypes.shape[1])
        return torch.stack(losses).mean(), {"embedding_std": embedding_std(z["z"][:, 0]), "prototypes_in_use": used}

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        self.memory[:, index] = z["z"][:, : self.crops].transpose(0, 1).to(self.memory.dtype)

    @property
    def group_count(self) -> int:
        return self.prototypes.shape[1]

    def constants(self, batch_size: int) -> dict[str, float]:
        clusters = self.prototypes.shape[1]
        return {f"ln {clusters}: all predictions uniform": Empty(log(clusters))}

    recipes = {
        "imagenet": Recipe(
            backbone="torchvision/resnet50", image_size=224, batch_size=4096, epochs=800,
            views=(
                View(224, count=2, scale=(0.14, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5),
                View(96, count=6, scale=(0.05, 0.14), jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5),
            ),
            optimizer="larc", lr=0.3, weight_decay=1e-6, final_lr=0.001, decay_1d=True,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"clusters": 1000, "hidden": 1024},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=10, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"clusters": 200, "hidden": 256},
        ),
    }  # fmt: skip
