"""LeJEPA: views agree while their embeddings are pushed to an isotropic Gaussian, seen along random directions."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.losses import sigreg
from semblance.nets.heads import mlp
from semblance.nets.multi_crop import multi_crop
from semblance.runtime import random
from semblance.runtime.device import send
from semblance.systems.method import Clock, Embeddings, Empty, Method, embedding_std
from semblance.systems.recipe import Count, Recipe, Share
from semblance.views.view import View


class LeJEPA(Method):
    """Balestriero & LeCun 2025, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics";
    rbalestr-lab/lejepa (views, learning rate and decay of its README.md; lambda, warm-up and projector of MINIMAL.md).

    All views approach the mean of the large ones, as in the paper (in MINIMAL.md, the mean of all views). The
    regulariser grows with the batch, so lambda_ depends on its size; it is seen along 256 slices of MINIMAL.md (1024 in
    README.md), the same for all views, drawn by the run's seed and the step (in lejepa/multivariate/slicing.py by the
    step alone, the same in every run; in MINIMAL.md by the generator of each device).

    Deviations: small crops have 96 px (theirs 98, which patches of 16 do not fill); the backbone has no drop-path
    (theirs 0.1); the projector takes the backbone's features (theirs 512 outputs of a linear layer); the blur's kernel
    is a tenth of the side (7 px of 128 in MINIMAL.md, README.md names none); the rate warms up from 0 (in MINIMAL.md
    from a hundredth of its peak).
    """

    family = "redundancy reduction"
    title = "LeJEPA"
    paper = "Balestriero & LeCun 2025, arXiv:2511.08544"
    equation = "λ SIGReg(z) + (1 - λ) mean_D (z - mean of the large views)²"
    picture = """
image ─┬─ view ─ backbone ─ projector ─ z1 ─┐ near their mean; along random
       └─ view ─ backbone ─ projector ─ z2 ─┘ directions, all like N(0, 1)
"""
    guards = {"gaussian": "embeddings are pushed to an isotropic Gaussian"}

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        lambda_: Share = 0.02,  # share of the regulariser in the loss
        directions: Count = 256,  # drawn at every step
        hidden: Count = 2048,
        dim: Count = 128,
    ) -> None:
        super().__init__(backbone, without)
        self.lambda_, self.directions, self.dim = lambda_, directions, dim
        self.projector = mlp(self.features, hidden, hidden, dim)

    def embed(self, views: list[Tensor]) -> Embeddings:
        features, large = multi_crop(self.backbone, views)
        z = self.projector(features).view(len(views), len(views[0]), -1).transpose(0, 1)
        return {"large": z[:, :large], "small": z[:, large:]}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        crops = torch.cat([z["large"], z["small"]], 1)  # (B, V, D)
        invariance = (crops - z["large"].mean(1, keepdim=True)).square().mean()
        generator = torch.Generator().manual_seed(random.key(clock.seed, "directions", clock.step))
        directions = F.normalize(torch.randn(self.dim, self.directions, generator=generator), dim=0)
        directions = send(directions, crops.device).to(crops.dtype)
        gaussian = torch.stack([sigreg(crop, directions) for crop in crops.unbind(1)]).mean()
        weight = self.lambda_ if self.has("gaussian") else 0.0
        loss = weight * gaussian + (1 - weight) * invariance
        numbers = {"invariance": invariance.detach(), "gaussian": gaussian.detach()}
        return loss, numbers | {"embedding_std": embedding_std(crops[:, 0])}

    def constants(self, batch_size: int) -> dict[str, float]:
        if not self.has("gaussian"):
            return {}
        return {"all embeddings 0": Empty(self.lambda_ * 0.402048 * batch_size), "a Gaussian": self.lambda_ * 1.052464}

    recipes = {
        "imagenet": Recipe(
            backbone="vit_small_patch16_224", image_size=224, batch_size=512, epochs=100, warmup_epochs=1,
            views=(
                View(
                    224, count=2, scale=(0.3, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), blur_p=0.5, blur_cut=True,
                    solarize_p=0.2,
                ),
                View(
                    96, count=6, scale=(0.05, 0.3), jitter=(0.4, 0.4, 0.2, 0.1), blur_p=0.5, blur_cut=True,
                    solarize_p=0.2,
                ),
            ),
            optimizer="adamw", lr=2.5e-4, weight_decay=5e-2, decay_1d=True, final_lr=0.001,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"hidden": 1024},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=64, epochs=9, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"hidden": 256},
        ),
    }  # fmt: skip
