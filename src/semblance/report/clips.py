"""What the report shows of a run on clips: their nearest sounds to listen to, mined positives, recall by rank."""

import io
import wave
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..config import TrainConfig
from ..data.clips import Clips, ClipSource
from ..engine.folder import RunFolder
from ..evaluation.clips import Embedded
from ..evaluation.retrieval import ranks
from ..systems.agreement import AGREEMENTS, mine
from ..systems.contrastive.avid import AVID
from ..views.clip import plain_clip
from ..views.view import MEAN, STD, make_views
from . import Gallery, write_report
from .pictures import address

ROWS, FOUND = 8, 4  # clips shown, and sounds or positives beside each
SHOWN = 1000  # held-out clips in the map, at most
SIDE = 96  # pixels of a moving picture
RATE = 12_000  # of the sounds on the page


@dataclass
class Shown:
    """A clip on the page: a moving picture, its sound, a name, and what to say of it ("own", "same", "other", "")."""

    picture: str
    sound: str
    name: str
    verdict: str = ""


@dataclass
class ClipPage:
    """Rows of a clip with what belongs to it, recall at each rank both ways as points of a 300 x 100 drawing.

    chosen: which clips the positives are, in words. columns: titles of the sheet of views.
    """

    sounds: list[tuple[Shown, list[Shown]]]
    positives: list[tuple[Shown, list[Shown]]]
    recall: dict[str, str]
    retrieval: dict[str, Any]
    purities: dict[str, Any]
    chosen: str
    columns: tuple[str, ...] = ("a frame", "first shown", "last shown", "sound")


def clip_report(
    folder: RunFolder, config: TrainConfig, summary: dict[str, Any], method: AVID, source: ClipSource, test: Embedded
) -> None:
    """Write report.html of a run on clips. test: embeddings of the held-out clips."""
    shown = torch.arange(len(source.test))[:SHOWN]
    clips = source.test.subset(shown)
    middle = torch.stack([frames[len(frames) // 2] for frames in clips.frames])
    label = next(iter(clips.attributes.values()), None)
    gallery = Gallery(
        middle, test.embeddings["video"][shown], label.values if label else None, label.classes if label else []
    )
    write_report(
        folder.report,
        config=config.model_dump(),
        metrics=[*folder.read_metrics(), {"step": summary["steps"]}],
        summary=summary,
        constants=method.constants(config.batch_size),
        views=_sheet(config, source.train),
        gallery=gallery,
        clips=_page(summary, method, source, test),
    )


def _page(summary: dict[str, Any], method: AVID, source: ClipSource, test: Embedded) -> ClipPage:
    clips = source.test
    queries = torch.linspace(0, len(clips) - 1, min(ROWS, len(clips))).long().tolist()
    similarity = test.embeddings["video"][queries] @ test.embeddings["audio"].T
    best = similarity.topk(min(FOUND, len(clips)), dim=1).indices.tolist()
    sounds = [(show(clips, q), [show(clips, i, q) for i in row]) for q, row in zip(queries, best, strict=True)]
    train = source.train
    firsts = torch.linspace(0, len(train) - 1, min(ROWS, len(train))).long().tolist()
    positives = getattr(method, "positive_set", None)
    banks = method.video_bank.rows, method.audio_bank.rows
    chosen = "the positives it was drawn to, mined by CMA from its embeddings"
    if positives is None or int(positives[0, 0]) < 0:
        positives = mine(*banks, min(FOUND, len(train) - 2), "consensus")
        chosen = "those most like it in both, which CMA would take for its positives"
    agreement = AGREEMENTS[getattr(method, "agreement", "consensus")]
    mined = []
    for q in firsts:
        found = positives[q].long()
        score = agreement(*(rows[found] @ rows[q] for rows in banks))
        strongest = found[score.topk(min(FOUND, len(found))).indices].tolist()
        mined.append((show(train, q), [show(train, i, q) for i in strongest]))
    return ClipPage(
        sounds, mined, {way: _curve(ranks(*pair)) for way, pair in _ways(test).items()}, summary["retrieval"],
        summary["positives"], chosen,
    )  # fmt: skip


def _ways(test: Embedded) -> dict[str, tuple[Tensor, Tensor]]:
    video, audio = test.embeddings["video"], test.embeddings["audio"]
    return {"video_to_audio": (video, audio), "audio_to_video": (audio, video)}


def _curve(rank: Tensor) -> str:
    """Share of queries found by each rank, as points of a polyline: left to right the rank, in parts of all."""
    n = len(rank)
    at = torch.linspace(1, n, min(n, 100))
    return " ".join(f"{300 * float(k) / n:.1f},{100 - 100 * float((rank <= k).double().mean()):.1f}" for k in at)


def show(clips: Clips, i: int, query: int | None = None) -> Shown:
    """A clip for the page; beside a query, whether it is the query's own, of its class, or another."""
    verdict = ""
    label = next(iter(clips.attributes.values()), None)
    if query is not None:
        verdict = "own" if query == i else ""
        if not verdict and label is not None:
            verdict = "same" if label.values[i] == label.values[query] else "other"
    name = label.classes[int(label.values[i])] if label is not None else str(clips.items[i])
    return Shown(moving(clips.frames[i], clips.video.fps), playable(clips.sounds[i], clips.sound.rate), name, verdict)


def moving(frames: Tensor, fps: float) -> str:
    """uint8 frames (T, 3, S, S), at most 3 s of them, as a `data:` address of an animated picture."""
    if len(frames) == 1:
        return address(frames[0].numpy(), SIDE)
    pictures = [Image.fromarray(f.permute(1, 2, 0).numpy()) for f in frames[: round(3 * fps)]]
    if pictures[0].width != SIDE:
        pictures = [p.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for p in pictures]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "webp", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, quality=50
    )
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"


def playable(sound: Tensor, rate: int) -> str:
    """int16 samples (L,), at most 3 s of them, as a `data:` address of a WAV, as loud as it can be."""
    step = max(1, rate // RATE)
    samples = sound[: 3 * rate].double()
    samples = samples[: len(samples) // step * step].view(-1, step).mean(1)
    samples = samples * (30_000 / samples.abs().max().clamp(min=1))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, rate // step, 0, "NONE", ""))
        file.writeframes(samples.numpy().astype("<i2").tobytes())
    return f"data:audio/wav;base64,{b64encode(buffer.getvalue()).decode()}"


def _sheet(config: TrainConfig, clips: Clips, rows: Sequence[int] = range(6)) -> Tensor:
    """A frame and a spectrogram as they are and as the network sees them: uint8 (n, 4, 3, S, S)."""
    index = torch.tensor([i for i in rows if i < len(clips)])
    raw = clips.read(index, key=0)
    plain = plain_clip(raw, config.image_size)
    frames, sound = make_views((config.video, config.sound), raw, index, seed=config.seed, step=0)
    mean, std = (torch.tensor(c)[:, None, None] for c in (MEAN, STD))
    cells = [v[:, :, 0] * std + mean for v in (plain, frames)] + [frames[:, :, -1] * std + mean]
    level = ((sound + 60) / 80).clamp(0, 1).transpose(2, 3).flip(2)  # time to the right, high sounds on top
    cells.append(torch.nn.functional.interpolate(level, (config.image_size,) * 2, mode="area").expand(-1, 3, -1, -1))
    return (torch.stack(cells, 1).clamp(0, 1) * 255).round().to(torch.uint8)
