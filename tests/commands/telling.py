"""A method whose features are known beforehand: what its network reads off a picture hangs on how it is asked.

A picture of 16 x 16 pixels has 64 cells of one grey level each. In training pictures all of them say the class; in a
held-out one each says it or the other one, so that accuracies tell which cell was read.
"""

from collections.abc import Collection
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from semblance.systems import Method, Recipe, View

SIDE, CELL = 16, 2
CELLS = (SIDE // CELL) ** 2
UNTRAINED, STUDENT, TEACHER, IN_TRAINING, BF16, FLOAT64, CHANNELS_LAST = range(7)  # the others: the ground
PLAIN = View(SIDE, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip_p=0.0, grey_p=0.0)


class Reader(nn.Module):
    """Whether a cell is brighter than training pictures are in the mean, as a row of two features."""

    num_features = 2

    def __init__(self) -> None:
        super().__init__()
        self.mean_of_cells = nn.Conv2d(3, 1, CELL, stride=CELL, bias=False)
        nn.init.constant_(self.mean_of_cells.weight, 1 / (3 * CELL**2))
        self.norm = nn.BatchNorm2d(1, affine=False, momentum=None)  # the plain mean over all batches
        self.register_buffer("cell", torch.tensor(UNTRAINED))
        self.register_buffer("third", torch.tensor(0.0))  # 1 / 3 after a step, as exact as its type

    def forward(self, x: Tensor) -> Tensor:
        cells = self.mean_of_cells(x)
        cell = int(self.cell)
        if self.training:
            cell = IN_TRAINING
        elif cells.dtype == torch.bfloat16:
            cell = BF16
        elif cells.dtype == torch.float64:
            cell = FLOAT64 if float(self.third) in (0.0, 1 / 3) else UNTRAINED
        elif x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            cell = CHANNELS_LAST
        bright = self.norm(cells).flatten(1)[:, cell] > 0
        return torch.stack([~bright, bright], 1) + 0 * cells.mean()


class Telling(Method):
    """Its networks read the first cell before a step, and each a cell of its own after it."""

    family, title, paper, equation, picture = "contrastive", "Telling", "nobody 2026", "none", "picture"
    guards: dict[str, str] = {}
    recipes = {
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=SIDE, views=(PLAIN,), batch_size=8, epochs=1, optimizer="sgd",
            lr=0.0, weight_decay=0.0,
        )
    }  # fmt: skip

    def __init__(self, backbone: nn.Module, without: Collection[str] = ()) -> None:
        super().__init__(Reader(), without)
        self.slow = deepcopy(self.backbone).requires_grad_(False)

    @property
    def teacher(self) -> nn.Module:
        return self.slow

    def embed(self, views: list[Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            self.slow(views[0])
        return {"z": self.backbone(views[0])}

    def objective(self, z: dict[str, Tensor], index: Tensor, clock: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return z["z"].sum() * 0 + clock.step + 1, {"trains": torch.tensor(float(self.backbone.training))}

    def update(self, z: dict[str, Tensor], index: Tensor, clock: Any) -> None:
        self.backbone.get_buffer("cell").fill_(STUDENT)
        self.backbone.get_buffer("third").fill_(1 / 3)
        self.slow.get_buffer("cell").fill_(TEACHER)


class TellingTeacher(Telling):
    """The same; its authors would evaluate the teacher."""

    network = "teacher"
