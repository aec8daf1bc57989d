"""SwAV: predict the balanced soft cluster assignment of one view from another."""

from collections.abc import Collection
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.losses import sinkhorn, swapped_prediction
from semblance.nets.heads import mlp
from semblance.nets.multi_crop import multi_crop
from semblance.systems.grouping import count_used
from semblance.systems.method import Clock, Embeddings, Empty, Method, embedding_std, unit
from semblance.systems.recipe import Amount, Count, Few, Natural, Positive, Recipe
from semblance.views.view import View


class SwAV(Method):
    """Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments";
    facebookresearch/swav.

    Codes are computed for views of the largest size. Deviations: the queue holds `queue` embeddings in all, whatever
    the number of ranks; red is divided by 0.229 (theirs 0.228); the learning rate warms up from 0 (theirs from 0.3, to
    4.8); batch norms see the whole batch (theirs groups of 8 devices); blur is a Gaussian (theirs Pillow's).
    """

    family = "clustering"
    title = "SwAV"
    paper = "Caron et al. 2020, arXiv:2006.09882"
    equation = "- Σ_k q_k log softmax(z·c / τ)_k, q the balanced code of another crop; mean over pairs of crops"
    picture = """
image ─┬─ view ─ backbone ─ projector ─ z1·C ─ Sinkhorn ─ q1 ─┐ each predicts
       └─ view ─ backbone ─ projector ─ z2·C ─ Sinkhorn ─ q2 ─┘ the other's code
"""
    guards = {"sinkhorn": "codes are balanced over the prototypes"}

    queue: Tensor  # (2, queue, dim), newest first, zeros until filled

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 0.1,
        epsilon: Positive = 0.05,  # of Sinkhorn
        iterations: Few = 3,
        prototypes: Count = 3000,
        hidden: Count = 2048,
        dim: Count = 128,
        freeze_epochs: Amount = 1.0,  # for which the prototypes are frozen (theirs: 313 steps, 312 being an epoch)
        queue: Natural = 0,  # embeddings of past batches that help to balance the codes; 3840 for batches of 256
        queue_epoch: Natural = 15,
    ) -> None:
        super().__init__(backbone, without)
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.freeze_epochs, self.queue_epoch = freeze_epochs, queue_epoch
        self.projector = mlp(self.features, hidden, dim)
        self.prototypes = nn.Linear(dim, prototypes, bias=False)
        self.register_buffer("queue", torch.zeros(2, queue, dim))
        self._asked: tuple[Tensor | None, int, list[bool]] = (None, -1, [])
        self._normalise_prototypes()

    @torch.no_grad()
    def _normalise_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def embed(self, views: list[Tensor]) -> Embeddings:
        features, large = multi_crop(self.backbone, views)
        z = unit(self.projector(features)).view(len(views), len(views[0]), -1)
        return {"large": z[:large].transpose(0, 1), "small": z[large:].transpose(0, 1)}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        weight = self.prototypes.weight
        if clock.step < self.freeze_epochs * clock.steps_per_epoch:
            weight = weight.detach()  # no gradient at all, so weight decay and LARC skip it too
        scores = [crop @ weight.T for crop in torch.cat([z["large"], z["small"]], 1).unbind(1)]
        codes = [self.codes(s.detach(), i) for i, s in enumerate(scores[: z["large"].shape[1]])]
        loss = swapped_prediction(scores, codes, self.temperature)
        used = count_used(codes[0].argmax(1), len(weight))
        return loss, {"embedding_std": embedding_std(z["large"][:, 0]), "prototypes_in_use": used}

    @torch.no_grad()
    def codes(self, scores: Tensor, crop: int) -> Tensor:
        """Codes (B, K) of the scores (B, K) of a large crop, balanced with its queue once that is full."""
        if not self.has("sinkhorn"):
            return F.softmax(scores / self.epsilon, dim=1)
        batch, queue = len(scores), self.queue[crop]
        if len(queue) and self.full[crop]:
            scores = torch.cat([queue @ self.prototypes.weight.T, scores])
        return sinkhorn(scores, self.epsilon, self.iterations)[-batch:]

    @property
    def full(self) -> list[bool]:
        """Whether the queue of each large crop is; asked once after every change, since a GPU is waited for."""
        queue, version, full = self._asked
        if queue is not self.queue or version != queue._version:
            full = self.queue[:, -1].any(1).tolist()
            self._asked = self.queue, self.queue._version, full
        return full

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        self._normalise_prototypes()
        if self.queue.shape[1] and clock.epoch >= self.queue_epoch:
            newest = z["large"].transpose(0, 1)
            self.queue.copy_(torch.cat([newest, self.queue], 1)[:, : self.queue.shape[1]])

    @property
    def group_count(self) -> int:
        return self.prototypes.out_features

    def constants(self, batch_size: int) -> dict[str, float]:
        k = len(self.prototypes.weight)
        return {f"ln {k}: all predictions uniform": Empty(log(k))}

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
            optimizer="adamw", lr=1e-2, weight_decay=1e-6, hyper={"prototypes": 256, "freeze_epochs": 0.2},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=64, epochs=10, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"prototypes": 256, "hidden": 256},
        ),
    }  # fmt: skip
