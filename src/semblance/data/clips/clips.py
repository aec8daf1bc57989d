"""Clips: frames with their sound, decoded once, read a window at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from semblance.data.samples import Attribute, Skipped
from semblance.runtime import random
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView

MARGIN = 0.5  # seconds by which a window of video may lie outside that of its sound, in training


@dataclass
class Clips:
    """A set of N clips.

    frames: of each clip uint8 (T, 3, canvas, canvas) at video.fps; T is 1 where it is a still picture.
    sounds: of each clip int16 (L,) at sound.rate. Either may be a view of a file on disk.
    sizes: int32 (N, 2), the frames' heights and widths before they were put on the square canvas.
    attributes: what the clips are labelled by.
    skipped: the files that could not be read; they are not among the clips.
    place: where windows lie that are not drawn at random, from 0, the beginning, to 1, the end.
    """

    name: str
    canvas: int
    items: Sequence[Any]
    frames: Sequence[Tensor]
    sounds: Sequence[Tensor]
    sizes: Tensor
    video: ClipView
    sound: SoundView
    attributes: dict[str, Attribute] = field(default_factory=dict)
    skipped: Skipped = field(default_factory=list)
    place: float = 0.5
    at_hand = True

    def __len__(self) -> int:
        return len(self.items)

    @property
    def readable(self) -> Tensor:
        """All of them: int64 (N,)."""
        return torch.arange(len(self))

    def read(self, index: Sequence[int] | Tensor, key: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """A window of each clip: frames uint8 (n, T, 3, canvas, canvas), sizes (n, 2), sounds int16 (n, samples).

        T is video.frames, or 1 where all clips are still pictures. Too short a clip starts again from its first frame,
        too short a sound ends in silence.
        """
        index = torch.as_tensor(index)
        start, heard = self.windows(index, key)
        t = min(self.video.frames, max(map(len, self.frames)))
        frames, sounds = [], []
        for i, first, sample in zip(index.tolist(), start.tolist(), heard.tolist(), strict=True):
            clip, wave = self.frames[i], self.sounds[i][sample : sample + self.sound.samples]
            frames.append(clip[first : first + t] if first + t <= len(clip) else clip[torch.arange(t) % len(clip)])
            sounds.append(torch.nn.functional.pad(wave, (0, self.sound.samples - len(wave))))
        return torch.stack(frames), self.sizes[index], torch.stack(sounds)

    def windows(self, index: Tensor, key: int | None) -> tuple[Tensor, Tensor]:
        """First frame and first sample of the windows: int64 (n,) each.

        The sound's is drawn uniformly from those that fit; then the video's from those that lie at most half a second
        outside the sound's. Without a key, the sound's lies at `place` and the video's at its middle.
        (Morgado et al. 2021; facebookresearch/AVID-CMA: datasets/video_db.py)
        Both lie in the time that is seen and heard, and a window of less than half a second touches that of its sound.
        """
        video, sound = self.video, self.sound
        seconds = [self._seconds(len(self.frames[i]), len(self.sounds[i])) for i in index.tolist()]
        shared = torch.tensor(seconds, dtype=torch.float64)
        last_frame = ((shared * video.fps + 1e-6).floor() - video.frames).clamp(min=0)
        last_sample = ((shared * sound.rate).round() - sound.samples).clamp(min=0)
        if key is None:
            u = torch.tensor([self.place, 0.5]).expand(len(index), 2).double()
            margin = 0.0
        else:
            u, margin = random.uniform(key, index, 2).double(), min(MARGIN, video.seconds)
        sample = (u[:, 0] * (last_sample + 1)).floor().minimum(last_sample)
        at = sample / sound.rate
        low = ((at - margin) * video.fps).clamp(min=0).minimum(last_frame)
        high = ((at + sound.seconds + margin) * video.fps - video.frames).clamp(min=0)
        high = high.minimum(last_frame).maximum(low)
        frame = (low + u[:, 1] * (high - low)).round()
        inside = low.ceil() <= high.floor()
        frame = torch.where(inside, frame.maximum(low.ceil()).minimum(high.floor()), frame)
        return frame.long(), sample.long()

    def _seconds(self, frames: int, samples: int) -> float:
        """How long a clip is seen and heard; a still picture is seen as long as it is heard."""
        heard = samples / self.sound.rate
        return heard if frames == 1 else min(frames / self.video.fps, heard)

    def at(self, place: float) -> "Clips":
        """The same clips, read at another place."""
        return replace(self, place=place)

    def subset(self, index: Sequence[int] | Tensor) -> "Clips":
        """The clips of the given indices as a set of their own."""
        index = torch.as_tensor(index)

        def pick(rows: Sequence[Any]) -> list[Any]:
            return [rows[i] for i in index.tolist()]

        chosen = {name: Attribute(a.values[index], a.classes) for name, a in self.attributes.items()}
        return replace(
            self, items=pick(self.items), frames=pick(self.frames), sounds=pick(self.sounds), sizes=self.sizes[index],
            attributes=chosen,
        )  # fmt: skip

    def fingerprint(self) -> str:
        """A hash of the clips' names in order, and of some sounds where rows have no names: tells whether a memory bank
        belongs to them."""
        digest = blake2b("\0".join(map(str, self.items)).encode(errors="surrogateescape"), digest_size=8)
        if isinstance(self.items[0], int):
            for i in range(0, len(self), -(-len(self) // 16)):
                digest.update(self.sounds[i].numpy().tobytes())
        return digest.hexdigest()
