"""What a pair of networks makes of clips: embeddings, features, and the raw input they are compared with."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.data.clips.clips import Clips
from semblance.data.loader import in_parts, joined
from semblance.evaluation.table import Embedded
from semblance.runs.config import TrainConfig
from semblance.runtime import random
from semblance.runtime.precision import autocast
from semblance.systems.clip_method import ClipMethod
from semblance.views.clip import plain_clip

PLACES = (0.0, 0.5, 1.0)  # of the windows that a clip's embedding and features are averaged over


def embed_clips(method: ClipMethod, clips: Clips, config: TrainConfig, places: Sequence[float] = PLACES) -> Embedded:
    """Embeddings and features of every clip, undistorted, networks in evaluation mode.

    The features are those of AVID's linear probes: the last convolutional map, pooled to a grid of 4 x 4, of video by
    the maximum, of sound by the mean (Morgado et al. 2021), with as many steps of time as the network keeps parts.
    Ranks share the work, so all must call this.
    """
    weight = next(method.parameters())
    training = method.training
    method.eval()
    widths: list[int] = []

    def rows(raw: Sequence[Tensor], index: Tensor) -> Tensor:
        views = [plain_clip(raw, config.image_size), config.sound.plain(raw[2].float() / 32767)]
        networks = [method.backbone, method.audio_backbone]
        with autocast(config.precision, weight.device):
            seen: list[Tensor] = []
            for network, view in zip(networks, views, strict=True):
                seen += _features(network, view.to(weight.dtype))
            pooled = method.project(seen[0], seen[2])
        columns = [pooled["video"].float(), pooled["audio"].float(), seen[1].float(), seen[3].float()]
        widths[:] = [c.shape[1] for c in columns]
        return torch.cat(columns, 1)

    mean = _mean(clips, rows, weight.device, config, places)
    method.train(training)
    video, audio, video_features, audio_features = mean.split(widths, 1)
    return Embedded(
        {"video": video_features.contiguous(), "audio": audio_features.contiguous()},
        {"video": F.normalize(video, dim=1), "audio": F.normalize(audio, dim=1)},
    )


def view_features(method: ClipMethod, clips: Clips, config: TrainConfig, count: int) -> dict[str, Tensor]:
    """Features of `count` training views of every clip by each backbone in evaluation mode, and, as "between", the
    embeddings of the first views of both: float32 (N, count, D), (N, 2, D). The views are the same whenever asked for.
    """
    weight = next(method.parameters())
    training = method.training
    method.eval()
    shapes: list[torch.Size] = []

    def rows(raw: Sequence[Tensor], index: Tensor) -> Tensor:
        columns: list[Tensor] = []
        for n in range(count):
            key = random.key(0, "label-free", n)
            views = [
                view.make(raw, index, random.key(key, place)).to(weight.dtype)
                for place, view in enumerate(config.views)
            ]
            with autocast(config.precision, weight.device):
                if n == 0:
                    met = method.embed(views)
                    columns.append(
                        torch.stack([F.normalize(met[stream].float(), dim=1) for stream in method.streams], 1)
                    )
                columns += [method.backbone(views[0]).float(), method.audio_backbone(views[1]).float()]
        seen, heard = (torch.stack(columns[1 + place :: 2], 1) for place in (0, 1))
        shapes[:] = [t.shape[1:] for t in (columns[0], seen, heard)]
        return torch.cat([t.flatten(1) for t in (columns[0], seen, heard)], 1)

    found = joined(in_parts(clips, rows, weight.device, config.workers), len(clips))
    method.train(training)
    parts = found.split([shape.numel() for shape in shapes], 1)
    names = ("between", *method.streams)
    return {name: part.unflatten(1, shape) for name, part, shape in zip(names, parts, shapes, strict=True)}


def backbone_features(video: nn.Module, audio: nn.Module, clips: Clips, config: TrainConfig) -> dict[str, Tensor]:
    """Features of every clip by a pair of backbones in evaluation mode, the mean over PLACES.

    float32 (N, num_features) by modality.
    """
    weight = next(video.parameters())
    device = weight.device

    def rows(raw: Sequence[Tensor], index: Tensor) -> Tensor:
        with autocast(config.precision, device):
            seen = video(plain_clip(raw, config.image_size).to(weight.dtype))
            heard = audio(config.sound.plain(raw[2].float() / 32767).to(weight.dtype))
        return torch.cat([seen.float(), heard.float()], 1)

    found = _mean(clips, rows, device, config, PLACES)
    split = found.tensor_split([int(video.num_features)], 1)  # type: ignore[arg-type]
    return {"video": split[0].contiguous(), "audio": split[1].contiguous()}


def _mean(
    clips: Clips,
    rows: Callable[[Sequence[Tensor], Tensor], Tensor],
    device: torch.device,
    config: TrainConfig,
    places: Sequence[float],
) -> Tensor:
    """What `rows` makes of every clip, (N, D) on the CPU, the mean over windows at the places."""
    every = torch.arange(len(clips))
    windows = [torch.stack(clips.at(place).windows(every, None)) for place in places]
    if all(w.equal(windows[0]) for w in windows):  # e.g. where windows are whole clips
        places = places[:1]
    found = [
        torch.cat([part.cpu() for part in in_parts(clips.at(place), rows, device, config.workers)]) for place in places
    ]
    return torch.stack(found).mean(0)


def _features(network: Any, view: Tensor) -> tuple[Tensor, Tensor]:
    """What goes to the projector (N, D), and the probe's grid of the last map, flat (N, F)."""
    if not hasattr(network, "pool"):
        pooled = network(view)
        return pooled, pooled
    last = network.forward_features(view)
    return network.pool(last), probed(last, network.parts)


def probed(last: Tensor, parts: int) -> Tensor:
    """A last map (N, D, T, H, W) or (N, D, T, bins), pooled to the grid of AVID's probes if finer, flat (N, F)."""
    time, *across = (min(4, n) for n in last.shape[2:])
    if last.ndim == 5:
        return F.adaptive_max_pool3d(last, (parts, across[0], across[1])).flatten(1)
    return F.adaptive_avg_pool2d(last, (max(parts, time), across[0])).flatten(1)


def raw_input(clips: Clips, config: TrainConfig) -> dict[str, Tensor]:
    """Frames of 8 x 8 pixels, and spectrograms of about 24 x 32 values, as features: float32 (N, F) by modality."""
    found: dict[str, list[Tensor]] = {"video": [], "audio": []}
    for index in torch.arange(len(clips)).split(100):
        raw = clips.read(index)
        frames = plain_clip(raw, config.image_size)
        found["video"].append(F.adaptive_avg_pool3d(frames, (frames.shape[2], 8, 8)).flatten(1))
        found["audio"].append(F.adaptive_avg_pool2d(config.sound.plain(raw[2].float() / 32767), (24, 32)).flatten(1))
    return {name: torch.cat(parts) for name, parts in found.items()}


def sound_statistics(clips: Clips, config: TrainConfig, most: int = 2000) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each frequency bin over training clips, evenly chosen: float32 (bins,) each, in dB."""
    index = torch.arange(len(clips))[:: -(-len(clips) // most)]
    total = squares = torch.zeros(config.sound.bins, dtype=torch.float64)
    count = 0
    for part in index.split(100):
        level = config.sound.plain(clips.read(part)[2].float() / 32767).double().flatten(0, 2)
        total, squares, count = total + level.sum(0), squares + level.square().sum(0), count + len(level)
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float()
