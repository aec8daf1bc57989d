"""The public functions; their keyword arguments are the flags of the command line."""

from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from .errors import UserError


def train(
    method: str = "simclr",
    *,
    data: str | None = None,
    recipe: str | None = None,
    backbone: str | None = None,
    audio_backbone: str | None = None,
    image_size: int | None = None,
    flip_p: float | None = None,
    frames: int | None = None,
    fps: float | None = None,
    seconds: float | None = None,
    mel: int | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    warmup_epochs: float | None = None,
    clip_grad: float | None = None,
    hyper: dict[str, float | str] | None = None,
    without: list[str] | None = None,
    from_run: Annotated[str | None, Parameter(name=("--from", "--from-run"))] = None,
    seed: int = 0,
    devices: int | None = None,
    shard: bool = False,
    precision: Literal["auto", "32", "bf16", "64"] = "auto",
    channels_last: bool | None = None,
    compile: bool | None = None,
    workers: int | None = None,
    eval_every: int | None = None,
    data_root: str = "data",
    download: bool = False,
    resume: bool = False,
    out: str | None = None,
) -> dict[str, Any]:
    """Train an encoder without labels, measure it, and leave a run folder with the backbone and a report.

    Parameters
    ----------
    method
        The system to train with, see `semblance methods`.
    data
        A folder of images, a tar of one, a .npy or .npz of uint8 pictures, or a name: shapes, digits (both need no
        download), cifar10, cifar100, mnist, fashion-mnist, svhn, stl10. For avid and avid-cma: a folder or tar of
        videos with sound, or of pictures with a sound file each, a .npz of both, or bounce, which is drawn here.
        Labels, where there are any, serve evaluation only. Default: shapes, or bounce.
    recipe
        quick (minutes on a CPU, the default for shapes, digits and bounce), small (32 to 96 px, or 112 for clips, the
        default otherwise) or imagenet (as published).
    backbone
        Any timm model, or torchvision/NAME; resnet18-cifar has the stem of small images. Default: the recipe's.
    audio_backbone
        For avid and avid-cma: conv2d-10, or any timm model over spectrograms. Their backbone sees frames: r2plus1d-10,
        -18, -34, or any timm model over each. Suffixes: -small, -w16 (width); -t4 keeps four parts of time apart, where
        timing is what tells clips apart.
    image_size
        Side of the views in pixels. Default: the recipe's, or up to 96 where the pictures are larger.
    flip_p
        Chance that a view is mirrored: 0 where left and right differ, as in digits and text. Default: the recipe's.
    frames
        Frames of a window of video, for avid and avid-cma. Default: the recipe's, as for the next three.
    fps
        Frames per second of a window of video, for avid and avid-cma.
    seconds
        Seconds of a window of sound, for avid and avid-cma.
    mel
        Bands of a log-mel spectrogram, for avid and avid-cma; 0 for AVID's linear one.
    epochs
        Passes over the data. Default: the recipe's.
    max_steps
        Stop after so many steps; the schedule ends there too.
    batch_size
        Samples of one step over all devices; the recipe's learning rate is scaled by it.
    micro_batch
        Samples embedded at once on each device. Less memory, the same objective over the whole batch; batch norms
        then see a micro-batch.
    optimizer
        sgd, adam, adamw, muon, or a variant of LARS: lars, lars-simclr, larc, lars-clip. Default: the recipe's.
    lr
        Peak learning rate at the actual batch size. Default: the recipe's, scaled by batch_size / 256.
    weight_decay
        Default: the recipe's.
    warmup_epochs
        Epochs of linear warm-up, at most a tenth of the run. Default: the recipe's.
    clip_grad
        Largest norm of the whole gradient. Default: not clipped.
    hyper
        Hyper-parameters of the method by name, e.g. --hyper.temperature 0.2.
    without
        Guards against collapse to switch off, to watch what they prevent.
    from_run
        A run whose weights, banks and constants this one starts with, e.g. avid-cma from one of avid. Data, recipe,
        networks, windows and shared hyper-parameters are that run's by default.
    seed
        Every random choice follows from it.
    devices
        Devices (GPUs, or processes on a CPU) on this machine; 1 by default. torchrun and Slurm decide it themselves.
    shard
        Spread the backbone over the devices (FSDP), where one cannot hold it; for ViTs, and of no effect on one.
    precision
        auto takes bf16 where the hardware computes in it, else 32; 64 is for checking.
    channels_last
        Memory layout of images. Default: measured at the start.
    compile
        Use torch.compile. Default: where a long run gains by it.
    workers
        Processes that decode pictures of sets too large for memory; 2 by default.
    eval_every
        Epochs between kNN evaluations; 0 for none before the end. Default: a sixth of the run.
    data_root
        Folder in which torchvision's sets are looked for.
    download
        Fetch the named set into data_root where it is missing.
    resume
        Go on with the run in --out from its last checkpoint. All other flags are the run's own, but --devices and
        --workers may be given anew.
    out
        Folder of the run. Default: runs/METHOD-DATA-1, -2, ...
    """
    flags = dict(locals())
    resume, out = flags.pop("resume"), flags.pop("out")
    given = [name for name, value in flags.items() if value != signature(train).parameters[name].default]
    given = [name for name in given if name not in ("devices", "workers")]
    if resume and given:
        raise UserError(f"--resume goes on with the run as it was configured: leave out {', '.join(given)}.")
    from .engine.run import train as run

    return run(flags, resume=resume, out=out)


def evaluate(
    run: str, *, data: str | None = None, data_root: str = "data", download: bool = False
) -> list[dict[str, Any]]:
    """Measure a trained backbone by kNN and a linear probe, next to raw pixels; a run on clips by retrieval and probes.

    Parameters
    ----------
    run
        A run folder, or its backbone.safetensors.
    data
        Labelled pictures, or clips, as for train; for a run on clips, a folder of sounds classifies those, fold by
        fold: named as ESC's are, or in a folder for each class. Default: those of the run.
    data_root
        Folder in which torchvision's sets are looked for.
    download
        Fetch the named set into data_root where it is missing.
    """
    from .evaluation.run import evaluate as measure

    return measure(run, data=data, data_root=data_root, download=download)


def embed(run: str, *, data: str, out: str | None = None, data_root: str = "data", download: bool = False) -> Any:
    """Features of pictures by a trained backbone: a float32 tensor (N, D), training pictures first, then held-out ones.

    Of a run on clips a dict of two such tensors, "video" and "audio": what its backbones give, the mean over windows at
    the beginning, in the middle and at the end of each clip.

    Parameters
    ----------
    run
        A run folder, or its backbone.safetensors.
    data
        Pictures, or for a run on clips clips, as for train.
    out
        A .npz to write: features, names and, where there are any, labels. Of clips video and audio, names, and for each
        attribute a label_ATTRIBUTE with the names of classes.
    data_root
        Folder in which torchvision's sets are looked for.
    download
        Fetch the named set into data_root where it is missing.
    """
    from .evaluation.run import embed as run_embed

    return run_embed(run, data=data, out=Path(out) if out else None, data_root=data_root, download=download)
