"""VICReg: equal views, with every dimension kept from shrinking and from repeating another."""

from collections.abc import Collection

from torch import Tensor, nn

from semblance.losses import vicreg
from semblance.nets.heads import mlp
from semblance.systems.method import Clock, Embeddings, Empty, Method, embedding_std
from semblance.systems.recipe import Amount, Count, Recipe
from semblance.views.view import View


class VICReg(Method):
    """Bardes et al. 2022, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning";
    facebookresearch/vicreg.

    Deviations: blur is a Gaussian (theirs Pillow's); the last, incomplete batch of an epoch is left out (theirs kept).
    """

    family = "redundancy reduction"
    title = "VICReg"
    paper = "Bardes et al. 2022, arXiv:2105.04906"
    equation = "25 |z1 - z2|² / D + Σ_z [25/2 mean relu(1 - std z) + 1 Σ_(i ≠ j) Cov(z)_ij² / D], z each of z1 and z2"
    picture = """
image ─┬─ view ─ backbone ─ projector ─ z1 ─ std 1, no covariance ─┐ near
       └─ view ─ backbone ─ projector ─ z2 ─ std 1, no covariance ─┘
"""
    guards = {
        "variance": "a hinge keeps the standard deviation of every dimension at 1",
        "covariance": "the dimensions are decorrelated",
    }

    weights = ("invariance", "variance", "covariance")

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        invariance: Amount = 25.0,
        variance: Amount = 25.0,
        covariance: Amount = 1.0,
        dim: Count = 8192,  # width of the projector's three layers
    ) -> None:
        super().__init__(backbone, without)
        self.invariance = invariance
        self.variance = variance if self.has("variance") else 0.0
        self.covariance = covariance if self.has("covariance") else 0.0
        self.projector = mlp(self.features, dim, dim, dim, output_bias=False)

    def embed(self, views: list[Tensor]) -> Embeddings:
        z1, z2 = (self.projector(self.backbone(view)) for view in views)
        return {"z1": z1, "z2": z2}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        z1, z2 = z["z1"], z["z2"]
        loss = vicreg(z1, z2, self.invariance, self.variance, self.covariance)
        return loss, {"deviation": z1.detach().std(0).mean(), "embedding_std": embedding_std(z1)}

    def constants(self, batch_size: int) -> dict[str, float]:
        collapsed = {f"{0.99 * self.variance:.4g}: all embeddings equal": Empty(0.99 * self.variance)}
        return ({} if self.without else {"the optimum": 0.0}) | (collapsed if self.variance else {})

    recipes = {
        "imagenet": Recipe(
            backbone="resnet50", image_size=224, batch_size=2048, epochs=1000,
            views=(
                View(224, bicubic=True, jitter=(0.4, 0.4, 0.2, 0.1), blur_p=1.0),
                View(224, bicubic=True, jitter=(0.4, 0.4, 0.2, 0.1), blur_p=0.1, solarize_p=0.2),
            ),
            optimizer="lars", lr=0.2, weight_decay=1e-6, final_lr=0.001,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"dim": 512},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=11, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"dim": 128},
        ),
    }  # fmt: skip
