"""DeepCluster: the clusters of the features are the classes of the next epoch."""

from collections.abc import Collection
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.nets.heads import mlp
from semblance.runtime import random
from semblance.systems.grouping import group_sizes, kmeans, whiten
from semblance.systems.method import Clock, Embeddings, Empty, Method, WholeSet, embedding_std
from semblance.systems.recipe import Count, Few, Recipe
from semblance.views.view import View


class DeepCluster(Method):
    """Caron et al. 2018, "Deep Clustering for Unsupervised Learning of Visual Features"; facebookresearch/deepcluster.

    The suffix -sobel puts their fixed Sobel filters in front of a backbone. Deviations: a ResNet-50 and a projector
    instead of their AlexNet and VGG-16 with fully connected layers (the rest of `imagenet` is theirs); no dropout; the
    learning rate falls by a cosine (theirs is constant); an empty cluster of k-means takes half of the largest (faiss
    draws one by size); the last, incomplete batch of an epoch is left out (theirs kept); batch norms see the whole
    batch (theirs each device's).
    """

    family = "clustering"
    title = "DeepCluster"
    paper = "Caron et al. 2018, arXiv:1807.05520"
    equation = "- log softmax(W relu(z))_label;  labels: k-means of whitened z of the whole set, W new at every epoch"
    picture = """
image ─── view ─ backbone ─ projector ─ top layer ─── cross-entropy
every epoch: all images ─ features ─ PCA, whitening ─ k-means ─ labels
"""
    guards = {"uniform_sampling": "an epoch visits every cluster equally often, so that none can win by its size"}
    no_momentum = ("top",)  # its classes change with each epoch

    labels: Tensor  # (pictures,)

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        clusters: Count = 10_000,
        components: Count = 256,  # principal components that are whitened and clustered
        iterations: Few = 20,  # of k-means
        hidden: Count = 4096,  # widths of the projector
    ) -> None:
        super().__init__(backbone, without)
        self.clusters, self.components, self.iterations = clusters, components, iterations
        self.projector = mlp(self.features, hidden, hidden, norm=False)
        self.top = nn.Linear(hidden, clusters)

    def prepare(self, samples: int) -> None:
        self.register_buffer("labels", torch.zeros(samples, dtype=torch.long))

    def start_step(self, whole: WholeSet, clock: Clock) -> None:
        if not clock.starts_epoch:
            return
        self.eval()
        x = whole.plain(lambda pictures: self.projector(self.backbone(pictures)))
        self.train()
        x = whiten(x, self.components, lambda blocks: whole.track(blocks, "whitening"))
        key = random.key(clock.seed, "k-means", clock.epoch)
        self.labels.copy_(kmeans(x, self.clusters, self.iterations, key, lambda steps: whole.track(steps, "k-means")))
        fresh = torch.randn(self.top.weight.shape, generator=torch.Generator().manual_seed(key)) * 0.01
        with torch.no_grad():
            self.top.weight.copy_(fresh)
            self.top.bias.zero_()

    def order(self, samples: int, clock: Clock) -> Tensor:
        """The same number of pictures from each cluster, with repeats where it has too few."""
        if not self.has("uniform_sampling"):
            return super().order(samples, clock)
        key, labels = random.key(clock.seed, "clusters", clock.epoch), self.labels.cpu()
        shuffled = random.permutation(random.key(key, "members"), samples)
        members = shuffled[labels[shuffled].argsort(stable=True)]  # cluster after cluster, each in random order
        sizes = labels.bincount()
        starts, sizes = (sizes.cumsum(0) - sizes)[sizes > 0], sizes[sizes > 0]
        share = samples // len(sizes) + 1
        nth = torch.arange(share).expand(len(sizes), -1)
        again = random.bits(random.key(key, "again"), torch.arange(len(sizes)), share) % sizes[:, None]
        chosen = members[(starts[:, None] + torch.where(sizes[:, None] > share, nth, again)).flatten()]
        return chosen[random.permutation(random.key(key, "order"), len(chosen))][:samples]

    def embed(self, views: list[Tensor]) -> Embeddings:
        return {"z": self.projector(self.backbone(views[0]))}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss = F.cross_entropy(self.top(z["z"].relu()), self.labels[index])
        largest = group_sizes(self.labels, self.clusters).max() / len(self.labels)
        return loss, {"embedding_std": embedding_std(z["z"]), "largest_cluster": largest}

    @property
    def group_count(self) -> int:
        return self.clusters

    def constants(self, batch_size: int) -> dict[str, float]:
        return {f"ln {self.clusters}: a new top layer": Empty(log(self.clusters))}

    recipes = {
        "imagenet": Recipe(
            backbone="resnet50-sobel", image_size=224, batch_size=256, epochs=200, warmup_epochs=0,
            views=(View(224, grey_p=0.0),),
            optimizer="sgd", lr=0.05, weight_decay=1e-5, decay_1d=True,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01,
            hyper={"clusters": 1000, "components": 128, "hidden": 512},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=11, warmup_epochs=1,
            views=(View(32, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"clusters": 200, "components": 64, "hidden": 512},
        ),
    }  # fmt: skip
