"""SimCLR: two views of an image attract, all other embeddings of the batch repel."""

from collections.abc import Collection
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.losses import nt_xent
from semblance.nets.heads import mlp
from semblance.systems.method import Clock, Embeddings, Empty, Method, embedding_std
from semblance.systems.recipe import Count, Few, Positive, Recipe
from semblance.views.view import View


class SimCLR(Method):
    """Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations";
    google-research/simclr: tf2/. Learning rate and decay are the paper's, the projector's three layers their later
    code's, the crops of the published run theirs (views/boxes.py), the loss their sum over both views.

    Deviations: images are normalised by mean and deviation (the authors keep [0, 1]); blur draws its sigma per image
    (theirs per batch) and reflects at the borders (theirs pads zeros); crops are antialiased (theirs not); contrast is
    about the mean grey (theirs each channel's mean); convolutions start as timm's, normal by their outputs (theirs
    truncated normal by their inputs), linear layers as torch's, uniform to the root of 1 / inputs (theirs normal of
    deviation 0.01); max-pooling pads both sides (theirs the far one); running variances are unbiased (theirs biased);
    incomplete batches are left out of an epoch (theirs run on into the next).
    """

    family = "contrastive"
    title = "SimCLR"
    paper = "Chen et al. 2020, arXiv:2002.05709"
    equation = (
        "- log exp(z_i·z_j / τ) / Σ_(k ≠ i) exp(z_i·z_k / τ), sum over the 2N embeddings, over N; j: i's other view"
    )
    picture = """
image ─┬─ view ─ backbone ─ projector ─ z1 ─┐ own view attracts,
       └─ view ─ backbone ─ projector ─ z2 ─┘ 2N - 2 others repel
"""
    guards = {"negatives": "the other 2N - 2 embeddings of the batch repel"}

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        temperature: Positive = 0.1,  # 0.5 for CIFAR-10 (README.md of the authors)
        hidden: Count = 2048,  # width of the projector
        layers: Few = 3,  # of the projector; 2 in the first version
        dim: Count = 128,
    ) -> None:
        super().__init__(backbone, without)
        self.temperature = temperature
        widths = [self.features, *[hidden] * (layers - 1), dim]
        self.projector = mlp(*widths, bias=False, output_bias=False, output_norm=True)
        norm = self.projector[-1]
        norm.bias.requires_grad_(False)  # the authors' last batch norm scales but does not shift

    def embed(self, views: list[Tensor]) -> Embeddings:
        n = len(views[0])
        z = self.projector(self.backbone(torch.cat(views)))  # one forward: the views share batch statistics
        return {"z1": z[:n], "z2": z[n:]}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        z1, z2 = z["z1"], z["z2"]
        alignment = F.cosine_similarity(z1, z2).mean()
        loss = nt_xent(z1, z2, self.temperature) if self.has("negatives") else -2 * alignment / self.temperature
        return loss, {"positive_similarity": alignment, "embedding_std": embedding_std(z1)}

    def constants(self, batch_size: int) -> dict[str, float]:
        if not self.has("negatives"):
            return {}
        return {"2 ln(2N - 1): all embeddings equal": Empty(2 * log(2 * batch_size - 1))}

    recipes = {
        "imagenet": Recipe(
            backbone="resnet50", image_size=224, batch_size=4096, epochs=1000,
            views=(
                View(
                    224, count=2, law="simclr", bicubic=True, jitter=(0.8, 0.8, 0.8, 0.2), hsv=True, blur_p=0.5,
                    blur_cut=True,
                ),
            ),
            optimizer="lars-simclr", lr=0.3, weight_decay=1e-6,
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, bias_lr=0.15, weight_decay=0.01, hyper={"layers": 2},
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=12, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, bias_lr=0.15, weight_decay=0.01, 
            hyper={"temperature": 0.2, "layers": 2, "hidden": 256},
        ),
    }  # fmt: skip
