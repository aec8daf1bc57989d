"""Barlow Twins: every dimension agrees between the views and tells something the others do not."""

from collections.abc import Collection

from torch import Tensor, nn

from semblance.losses import barlow_twins, cross_correlation
from semblance.nets.heads import mlp
from semblance.systems.method import Clock, Embeddings, Empty, Method, embedding_std
from semblance.systems.recipe import Amount, Count, Recipe
from semblance.views.view import View


class BarlowTwins(Method):
    """Zbontar et al. 2021, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction";
    facebookresearch/barlowtwins.

    Deviations: the gradient of the global batch is exact; the authors' is 1/world_size of it on biases and norms,
    since their all-reduce carries no gradient. Blur is a Gaussian (theirs Pillow's); the last, incomplete batch of an
    epoch is left out (theirs kept).
    """

    family = "redundancy reduction"
    title = "Barlow Twins"
    paper = "Zbontar et al. 2021, arXiv:2103.03230"
    equation = "Σ_i (1 - C_ii)² + λ Σ_(i ≠ j) C_ij²,  C the cross-correlation of z1 and z2 over the batch"
    picture = """
image ─┬─ view ─ backbone ─ projector ─ z1 ─┐ cross-correlation
       └─ view ─ backbone ─ projector ─ z2 ─┘ = identity
"""
    guards = {"decorrelation": "the off-diagonal of the cross-correlation is driven to zero"}

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        lambda_: Amount = 0.0051,  # weight of the off-diagonal
        dim: Count = 8192,  # width of the projector's three layers
    ) -> None:
        super().__init__(backbone, without)
        self.lambda_ = lambda_ if self.has("decorrelation") else 0.0
        self.dim = dim
        self.projector = mlp(self.features, dim, dim, dim, bias=False, output_bias=False)

    def embed(self, views: list[Tensor]) -> Embeddings:
        z1, z2 = (self.projector(self.backbone(view)) for view in views)
        return {"z1": z1, "z2": z2}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        z1, z2 = z["z1"], z["z2"]
        loss = barlow_twins(z1, z2, self.lambda_)
        on_diagonal = cross_correlation(z1.detach(), z2.detach()).diagonal().mean()
        return loss, {"on_diagonal": on_diagonal, "embedding_std": embedding_std(z1)}

    def constants(self, batch_size: int) -> dict[str, float]:
        levels = {"D: the views do not agree at all": Empty(self.dim)}
        return levels | ({"the optimum": 0.0} if self.has("decorrelation") else {})

    recipes = {
        "imagenet": Recipe(
            backbone="resnet50", image_size=224, batch_size=2048, epochs=1000,
            views=(
                View(224, bicubic=True, jitter=(0.4, 0.4, 0.2, 0.1), blur_p=1.0),
                View(224, bicubic=True, jitter=(0.4, 0.4, 0.2, 0.1), blur_p=0.1, solarize_p=0.2),
            ),
            optimizer="lars", lr=0.2, bias_lr=0.0048, weight_decay=1e-6, final_lr=0.001,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"dim": 512},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=12, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"dim": 128},
        ),
    }  # fmt: skip
