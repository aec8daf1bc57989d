"""SeLa: labels that share the pictures equally over the classes, found by optimal transport."""

from collections.abc import Collection
from functools import partial
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.systems.grouping import balanced_labels, count_used, nearest
from semblance.systems.method import Clock, Embeddings, Empty, Method, WholeSet, embedding_std
from semblance.systems.recipe import Count, Few, Natural, Positive, Recipe
from semblance.views.view import View


class SeLa(Method):
    """Asano et al. 2020, "Self-labelling via simultaneous clustering and representation learning";
    yukimasano/self-label.

    As in theirs, the pass over the whole set takes augmented pictures with the model in training mode. Deviations: a
    plain ResNet (theirs is pre-activation); the learning rate falls by a cosine (theirs by steps); of two assignments
    due at one step, one is made (theirs makes the second at the next step); the first assigns all heads, even if later
    ones take turns (theirs begins with random labels); a transport that does not converge ends after 1,000 iterations
    (theirs goes on); jitter comes before greyscale (theirs after); the last, incomplete batch of an epoch is left out
    (theirs kept); batch norms see the whole batch (theirs each device's).
    """

    family = "clustering"
    title = "SeLa"
    paper = "Asano et al. 2020, arXiv:1911.05371"
    equation = (
        "- log softmax(W z)_label, mean over heads;  labels: optimal transport of the whole set, every class as large"
    )
    picture = """
image ─── view ─ backbone ─ z ─ linear heads ─── cross-entropy
now and then: all images ─ heads ─ Sinkhorn-Knopp ─ labels
"""
    guards = {"balance": "every class gets as many pictures"}

    labels: Tensor  # (heads, pictures)

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        clusters: Count = 3000,  # of each head
        heads: Few = 10,
        sharpness: Positive = 25.0,  # lambda of the optimal transport; 10 for CIFAR-10
        tolerance: Positive = 0.1,  # of its convergence; 0.01 for CIFAR-10
        assignments: Natural = 100,  # over the run; 0: one per epoch, as for CIFAR-10 (400 in 400 epochs)
        spacing: Positive = 2.0,  # exponent of their times: dense at first; 1 for CIFAR-10
        in_turn: bool = False,  # one head at a time instead of all, as for CIFAR-10
    ) -> None:
        super().__init__(backbone, without)
        self.clusters, self.heads, self.transport = clusters, heads, (sharpness, tolerance)
        self.assignments, self.spacing, self.in_turn = assignments, spacing, in_turn
        self.top = nn.Linear(self.features, heads * clusters)

    def prepare(self, samples: int) -> None:
        self.register_buffer("labels", torch.zeros(self.heads, samples, dtype=torch.long))

    def assigned(self, clock: Clock, step: int) -> int:
        """Assignments due up to a step: i at (i / (n - 1)) ** spacing of the run, the last just after its end."""
        if step < 0:
            return 0
        if not self.assignments:
            return step // clock.steps_per_epoch + 1
        end = clock.total_steps + 0.01 * clock.steps_per_epoch
        return int((self.assignments - 1) * (step / end) ** (1 / self.spacing)) + 1

    @torch.no_grad()
    def start_step(self, whole: WholeSet, clock: Clock) -> None:
        made = self.assigned(clock, clock.step - 1)
        if self.assigned(clock, clock.step) == made:
            return
        x = whole.crops(lambda views: self.backbone(views[0]), clock.step)
        chosen = [made % self.heads] if self.in_turn and made else range(self.heads)
        for head in chosen:
            rows = slice(head * self.clusters, (head + 1) * self.clusters)
            weight, bias = self.top.weight[rows], self.top.bias[rows]
            if self.has("balance"):
                self.labels[head] = balanced_labels(
                    x,
                    partial(_scores, weight, bias),
                    *self.transport,
                    partial(whole.track, what=f"optimal transport {head + 1}, steps at most"),
                )
            else:
                self.labels[head] = nearest(x, weight, bias)

    def embed(self, views: list[Tensor]) -> Embeddings:
        return {"z": self.backbone(views[0])}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.top(z["z"]).view(-1, self.heads, self.clusters)
        loss = F.cross_entropy(logits.transpose(1, 2), self.labels[:, index].T)
        used = count_used(self.labels[0], self.clusters)
        return loss, {"embedding_std": embedding_std(z["z"]), "classes_in_use": used}

    @property
    def group_count(self) -> int:
        return self.clusters

    def constants(self, batch_size: int) -> dict[str, float]:
        return {f"ln {self.clusters}: all predictions uniform": Empty(log(self.clusters))}

    recipes = {
        "imagenet": Recipe(
            backbone="resnet50", image_size=224, batch_size=256, epochs=401, warmup_epochs=0,  # theirs count 0 to 400
            views=(View(224, jitter=(0.4, 0.4, 0.4, 0.4), jitter_p=1.0),),
            optimizer="sgd", lr=0.08, weight_decay=1e-5, decay_1d=True,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01,
            hyper={"clusters": 128, "sharpness": 10.0, "tolerance": 1.0, "assignments": 0, "heads": 4},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=12, warmup_epochs=1,
            views=(View(32, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01,
            hyper={"clusters": 64, "sharpness": 10.0, "assignments": 0, "heads": 3},
        ),
    }  # fmt: skip


def _scores(weight: Tensor, bias: Tensor, features: Tensor) -> Tensor:
    """Logits (n, K) of features that may be in half precision."""
    return F.linear(features.to(weight.dtype), weight, bias)
