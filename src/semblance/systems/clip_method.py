"""The interface of a method that learns from clips: what their evaluation and report need besides Method."""

from collections.abc import Collection
from typing import ClassVar

from torch import Tensor, nn

from semblance.systems.method import Embeddings, Method

VIDEO, AUDIO = "video", "audio"


class ClipMethod(Method):
    """A backbone for frames, one for spectrograms, and embeddings of both in one space.

    Views of a clip: frames, float (b, 3, T, size, size), and spectrograms in dB, float (b, 1, time, bins).
    """

    modality = "clips"
    streams: ClassVar[tuple[str, ...]] = (VIDEO, AUDIO)
    example = "bounce"
    positives: int = 8  # mined for each clip, where the evaluation does it
    agreement: str = "consensus"  # what they are mined by, a key of AGREEMENTS in systems/agreement.py

    def __init__(self, backbone: nn.Module, audio_backbone: nn.Module, without: Collection[str] = ()) -> None:
        super().__init__(backbone, without)
        self.audio_backbone = audio_backbone

    def embed(self, views: list[Tensor]) -> Embeddings:
        frames, sound = views
        return self.project(self.backbone(frames), self.audio_backbone(sound))

    def project(self, video: Tensor, audio: Tensor) -> Embeddings:
        """Features of the two backbones, (b, F) each, to unit embeddings "video" and "audio", (b, D) each."""
        raise NotImplementedError

    @property
    def banks(self) -> tuple[Tensor, Tensor] | None:
        """The memory banks of video and of audio embeddings, one row per training clip, (N, D) each; None without."""
        return None

    @property
    def chosen_positives(self) -> Tensor | None:
        """The positives mined for each clip in training, int64 (N, P); None where there are none."""
        return None
