"""A method on clips as somebody else would bring it: each picture picks its own sound out of the batch, no banks."""

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from semblance.losses import batch_nce
from semblance.systems import Recipe, View
from semblance.systems.clip_method import AUDIO, VIDEO, ClipMethod
from semblance.systems.method import unit
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView


class Matching(ClipMethod):
    family, title, paper, equation, picture = "contrastive", "Matching", "nobody 2026", "InfoNCE", "clip"
    guards = {"negatives": "the other clips of the batch repel"}
    recipes = {
        "quick": Recipe(
            backbone="r2plus1d-10-w4", audio_backbone="conv2d-10-w4", image_size=16, batch_size=8, epochs=1,
            views=(ClipView(View(16), fps=8), SoundView(fft=512, hop=480, mel=32)), optimizer="adam", lr=1e-3,
            weight_decay=0.0,
        )
    }  # fmt: skip

    def __init__(
        self, backbone: nn.Module, audio_backbone: nn.Module, without: Collection[str] = (), *, dim: int = 8
    ) -> None:
        super().__init__(backbone, audio_backbone, without)
        self.heads = nn.ModuleList(nn.Linear(int(b.num_features), dim) for b in (backbone, audio_backbone))

    def project(self, video: Tensor, audio: Tensor) -> dict[str, Tensor]:
        return {VIDEO: unit(self.heads[0](video)), AUDIO: unit(self.heads[1](audio))}

    def objective(self, z: dict[str, Tensor], index: Tensor, clock: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return batch_nce(z[VIDEO], z[AUDIO], 0.1), {}
