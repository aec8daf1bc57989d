"""`sb.load_backbone`: a trained network, by whatever names it."""

from os import PathLike, fspath
from pathlib import Path

import torch
from torch import nn

from semblance import modalities
from semblance.commands.opened import Opened
from semblance.errors import UserError
from semblance.runs import weights
from semblance.runs.folder import RunFolder
from semblance.runs.left import is_written
from semblance.runs.others import are_of_others, of_others
from semblance.runs.transform import OfFrames, OfSound, transform_of
from semblance.shown import shown

_OF_CLIPS = ("video_backbone.safetensors", "audio_backbone.safetensors")


def load_backbone(run: str | PathLike[str]) -> nn.Module:
    """A trained backbone in evaluation mode on the CPU: (N, 3, H, W) -> (N, backbone.num_features), float32.

    run: a run folder, finished or stopped; its backbone.safetensors; a folder that `export --to hub` or timm wrote; a
    file of others (.safetensors, .pth, .npz, ...), whose network is told by its tensors; or weights of timm or
    torchvision, as timm:NAME.TAG and torchvision:NAME.TAG. Nothing in a file is executed.

    `backbone.transform` makes of a PIL picture, of any mode and size, the normalised float32 (3, H, W) that the run
    showed its network when it was measured, which is also what `embed` shows it. Of weights of others it is what timm
    or torchvision show theirs, with ImageNet's statistics where a file does not say.

    Of a run on clips name its video_backbone.safetensors, for windows (N, 3, T, H, W), or its
    audio_backbone.safetensors, for spectrograms (N, 1, time, bins) in dB: `transform` then takes T pictures, or a
    waveform (samples,) in [-1, 1], one window of a clip; `embed` takes the mean of the features of three.

    Raises UserError where there is no such network, or not the whole of it.
    """
    path = Path(fspath(run))
    if are_of_others(str(run)):
        others = of_others(str(run))
        return _with(others.network, others.transform)
    folder = RunFolder(path if path.is_dir() else path.parent)
    if folder.config.exists() and not is_written(path, folder):
        return _of_checkpoint(folder, path.name)
    model, about = weights.load_with_metadata(path)
    return _with(model, transform_of(about))


def _of_checkpoint(folder: RunFolder, name: str) -> nn.Module:
    opened = Opened.of(folder.path)
    method = opened.method().to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
    config = opened.config
    if name not in _OF_CLIPS and opened.modality is modalities.named("clips"):
        raise UserError(f"{shown(folder.path)} has two backbones: name its {' or '.join(_OF_CLIPS)}.")
    if name == _OF_CLIPS[1]:
        return _with(method.audio_backbone, OfSound(config.sound))  # type: ignore[arg-type]
    if name == _OF_CLIPS[0]:
        return _with(method.backbone, OfFrames(config.image_size, config.video.frames, config.video.fps, config.canvas))
    return _with(method.encoder, opened.transform)


def _with(model: nn.Module, transform: object) -> nn.Module:
    model.transform = transform  # type: ignore[assignment]
    return model.eval()
