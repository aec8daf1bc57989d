"""The contract of a method that learns from clips: what their evaluation and report ask beside the contract of any."""

from collections.abc import Collection
from typing import ClassVar

from torch import Tensor, nn

from semblance.systems.method import Embeddings, Method

VIDEO, AUDIO = "video", "audio"


class ClipMethod(Method):
    """A backbone that sees frames, one that hears spectrograms, and embeddings of both in one space.

    Views of a clip: frames, float (b, 3, T, size, size), and spectrograms in dB, float (b, 1, time, bins).
    """

    modality = "clips"
    streams: ClassVar[tuple[str, ...]] = (VIDEO, AUDIO)
    example = "bounce"
    positives: int = 8  # clips said to agree with each one, where the report mines them
    agreement: str = "consensus"  # by which they do, a key of systems/agreement.py's AGREEMENTS

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
        """The embeddings of every training clip, of video and of audio, (N, D) each; None where none are kept."""
        return None

    @property
    def chosen_positives(self) -> Tensor | None:
        """The clips that each clip was drawn to beside itself, int64 (N, P); None where there are none."""
        return None
