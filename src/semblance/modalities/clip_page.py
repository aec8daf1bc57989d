"""What the report shows of clips: their nearest sounds to listen to, mined positives, recall by rank, their views."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.data import Clips
from semblance.evaluation.retrieval import ranks
from semblance.evaluation.table import Embedded
from semblance.report.clips import ClipPage, Shown, moving, playable
from semblance.report.gallery import Gallery, file_name
from semblance.runs.config import TrainConfig
from semblance.systems.agreement import AGREEMENTS, mine
from semblance.systems.clip_method import ClipMethod
from semblance.views.clip import plain_clip
from semblance.views.view import MEAN, STD, make_views

HEARD, DRAWN, FOUND = 5, 3, 4  # rows of clips with sounds near to them, and with positives, and those beside each
SHOWN = 1000  # held-out clips in the map, at most


def gallery(clips: Clips, embedded: Embedded) -> Gallery:
    """Held-out clips by their middle frames, with their embeddings of video."""
    shown = clips.subset(torch.arange(len(clips))[:SHOWN])
    middle = torch.stack([frames[len(frames) // 2] for frames in shown.frames])
    return Gallery.of(shown, middle, embedded.embeddings["video"][: len(shown)], shown.sizes)


def clip_page(summary: dict[str, Any], method: ClipMethod, train: Clips, clips: Clips, test: Embedded) -> ClipPage:
    """Held-out clips with the sounds nearest to what is seen, training clips with those that agree with them."""
    queries = _evenly(len(clips), HEARD)
    similarity = test.embeddings["video"][queries] @ test.embeddings["audio"].T
    nearest = similarity.topk(min(FOUND, len(clips)), dim=1).indices.tolist()
    sounds = [(show(clips, q), [show(clips, i, q) for i in best]) for q, best in zip(queries, nearest, strict=True)]
    places = {way: ranks(*pair) for way, pair in _ways(test).items()}
    positives, chosen = _positives(method, train)
    return ClipPage(sounds, positives, places, summary["retrieval"], summary["positives"], chosen)


def _positives(method: ClipMethod, train: Clips) -> tuple[list[tuple[Shown, list[Shown]]], str]:
    """Training clips with the closest of their positives, and which those are, in words; none without banks."""
    if method.banks is None:
        return [], ""
    chosen = "the positives it was drawn to, mined by CMA from its embeddings"
    positives = method.chosen_positives
    if positives is None:
        positives = mine(*method.banks, min(FOUND, len(train) - 2), "consensus")
        chosen = "those most like it in both, which CMA would take for its positives"
    rows = []
    for q in _evenly(len(train), DRAWN):
        score = AGREEMENTS[method.agreement](*(bank[positives[q]] @ bank[q] for bank in method.banks))
        closest = positives[q][score.topk(min(FOUND, len(score))).indices].tolist()
        rows.append((show(train, q), [show(train, i, q) for i in closest]))
    return rows, chosen


def _evenly(n: int, most: int) -> list[int]:
    """Some of n rows."""
    return torch.linspace(0, n - 1, min(most, n)).long().tolist()


def _ways(test: Embedded) -> dict[str, tuple[Tensor, Tensor]]:
    video, audio = test.embeddings["video"], test.embeddings["audio"]
    return {"video_to_audio": (video, audio), "audio_to_video": (audio, video)}


def show(clips: Clips, i: int, query: int | None = None) -> Shown:
    """A clip for the page; beside a query, whether it is the query's own, of its class, or another."""
    verdict = ""
    label = next(iter(clips.attributes.values()), None)
    if query is not None:
        verdict = "own" if query == i else ""
        if not verdict and label is not None and label.known[[i, query]].all():
            verdict = "same" if label.values[i] == label.values[query] else "other"
    file = file_name(clips.items[i])
    name = label.names[i] if label is not None and label.known[i] else file
    picture, sound = moving(clips.frames[i], clips.video.fps), playable(clips.sounds[i], clips.sound.rate)
    return Shown(picture, sound, name, file, verdict)


def usage(config: TrainConfig) -> list[str]:
    """Lines of Python that use both backbones of the folder `run` on a clip, seen and heard as it is in training."""
    video, sound, size = config.video, config.sound, config.image_size
    shape = f"1, 3, {video.frames}, {size}, {size}"
    return [
        "import torch",
        "from semblance.views.sound import SoundView",
        "",
        f"frames = torch.rand({shape})  # yours, of values from 0 to 1, {video.fps:g} a second",
        f"wave = torch.rand(1, {sound.samples}) * 2 - 1  # yours, of values from -1 to 1, {sound.rate:,} a second",
        f"mean, std = (torch.tensor(c).view(3, 1, 1, 1) for c in ({list(MEAN)}, {list(STD)}))",
        'seen = sb.load_backbone(run + "/video_backbone.safetensors")((frames - mean) / std)',
        f'heard = sb.load_backbone(run + "/audio_backbone.safetensors")({sound}.plain(wave))',
    ]


def sheet(config: TrainConfig, clips: Clips, rows: Sequence[int] = range(6)) -> Tensor:
    """A frame and a spectrogram as they are and as the network sees them: uint8 (n, 4, 3, S, S)."""
    index = torch.tensor([i for i in rows if i < len(clips)])
    raw = clips.read(index, key=0)
    plain = plain_clip(raw, config.image_size)
    frames, sound = make_views((config.video, config.sound), raw, index, seed=config.seed, step=0)
    mean, std = (torch.tensor(c)[:, None, None] for c in (MEAN, STD))
    cells = [v[:, :, 0] * std + mean for v in (plain, frames)] + [frames[:, :, -1] * std + mean]
    level = ((sound + 60) / 80).clamp(0, 1).transpose(2, 3).flip(2)  # time to the right, high sounds on top
    cells.append(F.interpolate(level, (config.image_size,) * 2, mode="area").expand(-1, 3, -1, -1))
    return (torch.stack(cells, 1).clamp(0, 1) * 255).round().to(torch.uint8)
