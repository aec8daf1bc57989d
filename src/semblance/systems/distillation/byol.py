"""BYOL: predict what a moving average of the network makes of another view; no negatives."""

from collections.abc import Collection
from copy import deepcopy

import torch
from torch import Tensor, nn

from semblance.losses import byol_regression
from semblance.nets.heads import mlp
from semblance.systems.method import Clock, Embeddings, Method, ema, embedding_std, rising_momentum
from semblance.systems.recipe import Count, Recipe, Share
from semblance.views.view import View


class BYOL(Method):
    """Grill et al. 2020, "Bootstrap Your Own Latent"; google-deepmind/deepmind-research: byol/.

    The crops of the published run are theirs (views/boxes.py). Deviations: the target starts as a copy of the online
    network (theirs has its own weights); crops are antialiased (theirs not); brightness jitter is multiplicative
    (theirs additive), contrast is about the mean grey (theirs each channel's mean), and blur reflects at the borders
    (theirs pads zeros); strided convolutions and max-pooling pad both sides (theirs as SAME: more at the far side);
    convolutions start as timm's, normal by their outputs (theirs truncated normal by their inputs), the linear layers
    of the heads as torch's, weights and biases uniform to the root of 1 / inputs (theirs truncated normal of that
    deviation, biases 0); running variances are unbiased (theirs biased); incomplete batches are left out of an epoch
    (theirs run on into the next).
    """

    family = "distillation"
    title = "BYOL"
    paper = "Grill et al. 2020, arXiv:2006.07733"
    equation = "|p1 - z2'|² + |p2 - z1'|² of unit vectors, mean over the batch"
    picture = """
image ─┬─ view ─ backbone ─ projector ─ predictor ─ p ─┐ near,
       │            ┊ moving average                   │ both ways
       └─ view ─ backbone ─ projector ─ z, no gradient ┘
"""
    guards = {
        "stop_gradient": "no gradient reaches the target",
        "predictor": "only the online branch has a predictor",
        "ema": "the target follows the online network slowly (collapsed without it in the paper, but see SimSiam)",
    }

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        momentum: Share = 0.996,  # of the target at first; rises to 1 by a cosine
        hidden: Count = 4096,
        dim: Count = 256,
    ) -> None:
        super().__init__(backbone, without)
        self.momentum = momentum
        self.projector = mlp(self.features, hidden, dim, output_bias=False)
        self.predictor = mlp(dim, hidden, dim, output_bias=False) if self.has("predictor") else nn.Identity()
        self.target = deepcopy(nn.Sequential(backbone, self.projector)).requires_grad_(False)

    @property
    def teacher(self) -> nn.Module:
        return self.target[0]

    def embed(self, views: list[Tensor]) -> Embeddings:
        z1, z2 = (self.projector(self.backbone(view)) for view in views)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        if self.has("stop_gradient"):
            with torch.no_grad():
                z1, z2 = (self.target(view) for view in views)
        return {"p1": p1, "p2": p2, "target1": z1, "target2": z2}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss = byol_regression(z["p1"], z["target2"]) + byol_regression(z["p2"], z["target1"])
        return loss, {"embedding_std": embedding_std(z["p1"]), "target_momentum": torch.tensor(self.tau(clock))}

    def tau(self, clock: Clock) -> float:
        """Momentum of the target at this step."""
        return rising_momentum(self.momentum, clock) if self.has("ema") else 0.0

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        ema(self.target, nn.Sequential(self.backbone, self.projector), self.tau(clock))

    def constants(self, batch_size: int) -> dict[str, float]:
        return {"4: prediction and target unrelated": 4.0, "0: equal (with std near 0: collapsed)": 0.0}

    recipes = {
        "imagenet": Recipe(
            backbone="resnet50", image_size=224, batch_size=4096, epochs=1000,
            views=(
                View(
                    224, law="byol", bicubic=True, jitter=(0.4, 0.4, 0.2, 0.1), hsv=True, blur_p=1.0, blur_cut=True,
                ),
                View(
                    224, law="byol", bicubic=True, jitter=(0.4, 0.4, 0.2, 0.1), hsv=True, blur_p=0.1, blur_cut=True,
                    solarize_p=0.2,
                ),
            ),
            optimizer="lars", lr=0.2, weight_decay=1.5e-6,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"momentum": 0.9, "hidden": 512},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=64, epochs=7, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01, hyper={"momentum": 0.9, "hidden": 256},
        ),
    }  # fmt: skip
