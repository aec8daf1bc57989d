"""A method on clips whose embeddings are known beforehand: a number that a clip shows, and one that it sounds like.

Shown as the grey level of the last frame of a window, heard as the loudest bin; each is embedded as one of ten axes.
"""

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.systems import Recipe, View
from semblance.systems.clip_method import AUDIO, VIDEO, ClipMethod
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import MEAN, STD

NUMBERS, SIDE, FRAMES, FPS, RATE, FIRST = 10, 16, 4, 8.0, 4000, 3
SOUND = SoundView(seconds=FRAMES / FPS, rate=RATE, fft=64, hop=40)
STUDENT, IN_TRAINING, FLOAT64, UNTRAINED, BF16 = range(5)  # by how much the number that is seen is too high


def grey(number: int) -> int:
    return 20 + 20 * number


def pitch(number: int) -> float:
    """In Hz, between the two frequencies whose mean is a bin of the spectrogram."""
    return (2 * (FIRST + number) - 0.5) * RATE / SOUND.fft


class Seeing(nn.Module):
    num_features = NUMBERS

    def __init__(self) -> None:
        super().__init__()
        self.mean_of_frame = nn.Conv2d(3, 1, SIDE, bias=False)
        nn.init.constant_(self.mean_of_frame.weight, 1 / (3 * SIDE**2))
        self.register_buffer("off", torch.tensor(UNTRAINED))

    def forward(self, x: Tensor) -> Tensor:
        seen = self.mean_of_frame(x[:, :, -1]).flatten()
        off = {torch.float64: FLOAT64, torch.bfloat16: BF16}.get(seen.dtype, int(self.off))
        off = IN_TRAINING if self.training else off
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        level = (seen.float() + (mean / std).mean()) / (1 / std).mean()
        number = ((255 * level - grey(0)) / 20).round().long()
        return F.one_hot((number + off) % NUMBERS, NUMBERS) + 0 * seen[:, None]


class Standardise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(SOUND.bins))
        self.register_buffer("std", torch.ones(SOUND.bins))


class Hearing(nn.Module):
    """Deaf to what is 30 dB louder or softer than what it knows."""

    num_features = NUMBERS

    def __init__(self) -> None:
        super().__init__()
        self.standardise = Standardise()
        self.norm = nn.BatchNorm1d(1, affine=False, momentum=None)
        self.louder = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        level, loudest = x.mean((1, 2, 3))[:, None], x.mean((1, 2)).argmax(1)
        self.norm(level)
        knows = self.training or (level - self.norm.running_mean).abs() < 30
        return F.one_hot((loudest - FIRST) % NUMBERS, NUMBERS) * self.louder * knows


class TellingClips(ClipMethod):
    family, title, paper, equation, picture = "contrastive", "TellingClips", "nobody 2026", "none", "clip"
    guards: dict[str, str] = {}
    recipes = {
        "quick": Recipe(
            backbone="r2plus1d-10-w4", audio_backbone="conv2d-10-w4", image_size=SIDE, batch_size=5, epochs=1,
            views=(ClipView(View(SIDE, flip_p=0.0, grey_p=0.0), frames=FRAMES, fps=FPS), SOUND), optimizer="sgd",
            lr=0.0, weight_decay=0.0,
        )
    }  # fmt: skip

    def __init__(self, backbone: nn.Module, audio_backbone: nn.Module, without: Collection[str] = ()) -> None:
        super().__init__(Seeing(), Hearing(), without)

    def project(self, video: Tensor, audio: Tensor) -> dict[str, Tensor]:
        return {VIDEO: video, AUDIO: audio}

    def objective(self, z: dict[str, Tensor], index: Tensor, clock: Any) -> tuple[Tensor, dict[str, Tensor]]:
        modes = {n: torch.tensor(float(self.get_submodule(n).training)) for n in ("backbone", "audio_backbone")}
        return (z[VIDEO] + z[AUDIO]).sum() * 0 + clock.step + 1, modes

    def update(self, z: dict[str, Tensor], index: Tensor, clock: Any) -> None:
        self.backbone.get_buffer("off").fill_(STUDENT)
