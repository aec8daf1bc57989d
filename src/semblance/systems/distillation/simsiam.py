"""SimSiam: BYOL without the moving average; a predictor and a stopped gradient suffice."""

from collections.abc import Collection

from torch import Tensor, nn

from semblance.losses import negative_cosine
from semblance.nets.heads import mlp
from semblance.systems.method import Clock, Embeddings, Method, embedding_std
from semblance.systems.recipe import Count, Few, Recipe
from semblance.views.view import View


class SimSiam(Method):
    """Chen & He 2021, "Exploring Simple Siamese Representation Learning"; facebookresearch/simsiam.

    The predictor keeps its learning rate (their --fix-pred-lr). Deviations: the learning rate follows its cosine per
    step (theirs per epoch); the projector's hidden layers are as wide as its output (theirs as the backbone's features,
    which is the same for a ResNet-50); blur is a Gaussian (theirs Pillow's).
    """

    family = "distillation"
    title = "SimSiam"
    paper = "Chen & He 2021, arXiv:2011.10566"
    equation = "- ½ cos(p1, z2) - ½ cos(p2, z1), z without gradient"
    picture = """
image ─┬─ view ─ backbone ─ projector ─ predictor ─ p ─┐ near,
       │            ┊ the same                         │ both ways
       └─ view ─ backbone ─ projector ─ z, no gradient ┘
"""
    guards = {
        "stop_gradient": "no gradient reaches what is predicted",
        "predictor": "only the predicting branch has a predictor",
    }
    fixed_lr = ("predictor",)

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        dim: Count = 2048,
        layers: Few = 3,  # of the projector; 2 for CIFAR-10 in re-implementations
        bottleneck: Count = 512,  # of the predictor
    ) -> None:
        super().__init__(backbone, without)
        self.projector = mlp(self.features, *[dim] * layers, bias=False, output_bias=False, output_norm=True)
        self.projector[-1] = nn.BatchNorm1d(dim, affine=False)
        predictor = mlp(dim, bottleneck, dim, bias=False)
        self.predictor = predictor if self.has("predictor") else nn.Identity()

    def embed(self, views: list[Tensor]) -> Embeddings:
        z1, z2 = (self.projector(self.backbone(view)) for view in views)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        if self.has("stop_gradient"):
            z1, z2 = z1.detach(), z2.detach()
        return {"p1": p1, "p2": p2, "z1": z1, "z2": z2}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (negative_cosine(z["p1"], z["z2"]) + negative_cosine(z["p2"], z["z1"])) / 2
        return loss, {"embedding_std": embedding_std(z["z1"])}

    def constants(self, batch_size: int) -> dict[str, float]:
        return {"0: prediction and target unrelated": 0.0, "-1: equal (with std near 0: collapsed)": -1.0}

    recipes = {
        "imagenet": Recipe(
            backbone="resnet50", image_size=224, batch_size=512, epochs=100, warmup_epochs=0,
            views=(View(224, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.5),),
            optimizer="sgd", lr=0.05, weight_decay=1e-4, decay_1d=True,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"dim": 512, "layers": 2, "bottleneck": 128},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=64, epochs=10, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"dim": 256, "layers": 2, "bottleneck": 64},
        ),
    }  # fmt: skip
