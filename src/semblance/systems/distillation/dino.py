"""DINO: from any crop, a student predicts the centred, sharpened output of its moving average on the large crops."""

from collections.abc import Collection
from copy import deepcopy
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from semblance.losses import swapped_prediction
from semblance.nets.multi_crop import multi_crop
from semblance.nets.positions import dinos_positions
from semblance.systems.grouping import mean_entropy, same_group
from semblance.systems.method import Clock, Embeddings, Empty, Method, ema, embedding_std, rising_momentum, unit
from semblance.systems.recipe import Amount, Count, Natural, Positive, Recipe, Share
from semblance.views.view import View


class DINO(Method):
    """Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers"; facebookresearch/dino.

    The published run is that of the ViT-S in their README.md. For views that are not of a ViT's own size, positions are
    interpolated in training as theirs (nets/positions.py). The backbone that is measured and exported is timm's, which
    antialiases them: features of pictures of its own size are the same, of others not. For 96 px in a ViT of 224,
    random positions, as at first, differ by 0.7 of their deviation, smooth ones (waves of 12 cells or more) by 0.08.

    Deviations: the backbone has no drop-path (theirs 0.1 in the student); blur is a Gaussian (theirs Pillow's); of N
    steps of warm-up, step t has t / N of the peak rate (theirs t / (N - 1)).
    """

    family = "distillation"
    title = "DINO"
    paper = "Caron et al. 2021, arXiv:2104.14294"
    equation = "- Σ_k softmax((t - centre) / τ_t)_k log softmax(s / τ_s)_k, mean over pairs of different crops"
    picture = """
image ─┬─ all crops ──── backbone ─ projector ─ last layer ─ s ─┐ cross-entropy
       │                    ┊ moving average                    │
       └─ large crops ── backbone ─ projector ─ last layer ─ t ─┘ centred, sharp
"""
    guards = {
        "centring": "the teacher's mean output is taken off, so that no output wins",
        "sharpening": "the teacher's temperature is below the student's, so that its output is not uniform",
    }

    network = "teacher"  # eval_knn.py and eval_linear.py, --checkpoint_key
    centre: Tensor  # (outputs,)

    def __init__(
        self,
        backbone: nn.Module,
        without: Collection[str] = (),
        *,
        student_temperature: Positive = 0.1,
        teacher_temperature: Positive = 0.07,  # 0.04 in the plain runs
        first_temperature: Positive = 0.04,  # of the teacher at first, rising over temperature_epochs
        temperature_epochs: Natural = 30,
        momentum: Share = 0.996,  # of the teacher at first; it rises to 1
        centre_momentum: Share = 0.9,
        outputs: Count = 65_536,
        hidden: Count = 2048,
        dim: Count = 256,
        norm_last: bool = True,  # whether rows of the last layer keep unit length; False lets their lengths learn
        freeze_epochs: Amount = 1.0,  # for which the last layer is frozen
    ) -> None:
        super().__init__(backbone, without)
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.first_temperature, self.temperature_epochs = first_temperature, temperature_epochs
        self.momentum, self.centre_momentum, self.freeze_epochs = momentum, centre_momentum, freeze_epochs
        if isinstance(token := getattr(backbone, "cls_token", None), nn.Parameter):  # of a ViT; timm's starts near 0
            nn.init.trunc_normal_(token, std=0.02)
        widths = [self.features, hidden, hidden, dim]
        layers = [nn.Linear(i, o) for i, o in zip(widths, widths[1:], strict=False)]
        for layer in layers:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.projector = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])
        self.last = weight_norm(nn.Linear(dim, outputs, bias=False))
        lengths = self.last.get_parameter("parametrizations.weight.original0")
        nn.init.ones_(lengths).requires_grad_(not norm_last)
        self.target = deepcopy(nn.ModuleList([backbone, self.projector, self.last])).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(outputs))

    @property
    def teacher(self) -> nn.Module:
        return self.target[0]

    def embed(self, views: list[Tensor]) -> Embeddings:
        with dinos_positions():
            features, large = multi_crop(self.backbone, views)
        student = self.projector(features)
        with torch.no_grad(), dinos_positions():
            backbone, projector, _ = self.target
            size = max(view.shape[-1] for view in views)
            teacher = projector(backbone(torch.cat([view for view in views if view.shape[-1] == size])))
        z = {"student": student.view(len(views), len(views[0]), -1), "teacher": teacher.view(large, len(views[0]), -1)}
        return {name: unit(x, dim=2).transpose(0, 1) for name, x in z.items()}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        weight = self.last.weight
        if clock.step < self.freeze_epochs * clock.steps_per_epoch:
            weight = weight.detach()
        students = [F.linear(x, weight) for x in z["student"].unbind(1)]
        outputs = self._teacher(z)
        if self.has("centring"):
            outputs = outputs - self.centre
        teachers = [F.softmax(t / self.temperature_at(clock), dim=1) for t in outputs.unbind(1)]
        loss = swapped_prediction(students, teachers, self.student_temperature)
        return loss, {
            "embedding_std": embedding_std(z["student"][:, 0]), "teacher_entropy": mean_entropy(torch.cat(teachers)),
            "teacher_agreement": same_group(students[1], teachers[0]),  # on two views
        }  # fmt: skip

    def temperature_at(self, clock: Clock) -> float:
        """The teacher's temperature, which rises once per epoch."""
        if not self.has("sharpening"):
            return 1.0
        share = min(1.0, clock.epoch / max(1, self.temperature_epochs - 1)) if self.temperature_epochs else 1.0
        return self.first_temperature + share * (self.teacher_temperature - self.first_temperature)

    def _teacher(self, z: Embeddings) -> Tensor:
        """The teacher's outputs (B, large crops, outputs)."""
        return self.target[2](z["teacher"])

    @torch.no_grad()
    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        self.centre.lerp_(self._teacher(z).mean((0, 1)), 1 - self.centre_momentum)
        ema(
            self.target,
            nn.ModuleList([self.backbone, self.projector, self.last]),
            rising_momentum(self.momentum, clock),
        )

    def constants(self, batch_size: int) -> dict[str, float]:
        return {f"ln {len(self.centre)}: the student's output is uniform": Empty(log(len(self.centre)))}

    recipes = {
        "imagenet": Recipe(
            backbone="vit_small_patch16_224", image_size=224, batch_size=1024, epochs=300,
            views=(
                View(224, scale=(0.4, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.2, 0.1), blur_p=1.0),
                View(224, scale=(0.4, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.2, 0.1), blur_p=0.1, solarize_p=0.2),
                View(96, count=8, scale=(0.05, 0.4), bicubic=True, jitter=(0.4, 0.4, 0.2, 0.1), blur_p=0.5),
            ),
            optimizer="adamw", lr=5e-4, weight_decay=0.04, final_weight_decay=0.4, clip_each=3.0, final_lr=0.0005,
            hyper={"norm_last": False},
        ),
        "small": Recipe(
            backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
            views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
            optimizer="muon", lr=0.3, weight_decay=0.01,
            hyper={
                "outputs": 2048, "hidden": 512, "momentum": 0.95, "temperature_epochs": 1, "teacher_temperature": 0.05,
            },
        ),
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=32, epochs=7, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="muon", lr=0.3, weight_decay=0.01,
            hyper={
                "outputs": 256, "hidden": 256, "dim": 128, "momentum": 0.95, "temperature_epochs": 1,
                "teacher_temperature": 0.05,
            },
        ),
    }  # fmt: skip
