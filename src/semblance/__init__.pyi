"""Written by tests/commands/test_signature.py: what can be called, for editors and type checkers."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset

from semblance import losses as losses
from semblance import views as views
from semblance.api import embed as embed
from semblance.api import evaluate as evaluate
from semblance.api import export as export
from semblance.checking.check import check as check
from semblance.commands.backbones import load_backbone as load_backbone
from semblance.engine.callbacks import Callback as Callback
from semblance.engine.training_step import step as step
from semblance.errors import UserError as UserError
from semblance.evaluation.probes import knn as knn
from semblance.evaluation.probes import linear_probe as linear_probe
from semblance.systems import Method as Method

__version__: str
__all__ = ["Callback", "Method", "UserError", "check", "embed", "evaluate", "export", "knn", "linear_probe", "load_backbone", "losses", "methods", "step", "train", "views"]

def methods() -> list[str]:
    """Names of the methods that train() takes, those of other packages last."""

def train(
    method: str | PathLike[str] | type[Method] = "simclr",
    *,
    recipe: str | None = None,
    hyper: Mapping[str, float | str] | None = None,
    without: list[str] | None = None,
    from_run: str | PathLike[str] | None = None,
    init: str | PathLike[str] | None = None,
    seed: int = 0,
    data: str | PathLike[str] | None | Sequence[str | PathLike[str]] | np.ndarray | Tensor | Dataset[Any] | Callable[[], Any] = None,
    data_root: str | PathLike[str] = "data",
    download: bool = False,
    unlabelled: bool = False,
    labels: str | PathLike[str] | None = None,
    split: str | None = None,
    load_size: int | None = None,
    crop_from: Literal["original", "canvas"] | None = None,
    grey_levels: int | None = None,
    backbone: str | None | nn.Module | Callable[[], nn.Module] = None,
    audio_backbone: str | None = None,
    image_size: int | None = None,
    views: tuple[Any, ...] | None = None,
    flip_p: float | None = None,
    frames: int | None = None,
    fps: float | None = None,
    seconds: float | None = None,
    mel: int | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    bias_lr: float | None = None,
    backbone_lr: float | None = None,
    layer_decay: float | None = None,
    head_epochs: float | None = None,
    hold_norms: bool | None = None,
    final_lr: float | None = None,
    warmup_epochs: float | None = None,
    weight_decay: float | None = None,
    final_weight_decay: float | None = None,
    decay_1d: bool | None = None,
    clip_grad: float | None = None,
    clip_each: float | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    eval_every: int | None = None,
    minutes: float | None = None,
    eval_samples: int = 50000,
    knn_k: int | None = None,
    knn_temperature: float | None = None,
    keep: Literal["last", "best"] | None = None,
    log: str | list[str] = [],
    devices: int | None = None,
    shard: bool = False,
    precision: Literal["auto", "32", "bf16", "64"] = "auto",
    channels_last: bool | None = None,
    compile: bool | None = None,
    workers: int | None = None,
    out: str | PathLike[str] | None = None,
    resume: bool | str | PathLike[str] = False,
    config: str | PathLike[str] | None = None,
    dry_run: bool = False,
    callbacks: Any = [],
) -> dict[str, Any]:
    """Train an encoder without labels, measure it, and leave a run folder with the backbone and a report.

    From Python, parts of your own may be objects (docs/own_parts.md): method a class derived from Method; backbone a
    torch.nn.Module that maps (N, 3, H, W) to features (N, D), which starts with its own weights and stays as it is,
    since a copy is trained; data a uint8 array or tensor (N, H, W), (N, H, W, 3) or (N, 3, H, W), or a map-style
    Dataset of pictures or of (picture, label); views View objects, or dataclasses with count, scaled and make.

    Returns what summary.json holds. Raises UserError, which names all that is wrong, for options that cannot be.

    Parameters
    ----------
    method
        The system to train with, see `semblance methods`; or FILE.py:CLASS, a method of your own.
    recipe
        quick (minutes on a CPU, the default for shapes, digits and bounce), small (32 to 96 px, or 112 for clips,
        the default otherwise) or imagenet (as published).
    hyper
        Hyper-parameters of the method by name, e.g. --hyper.temperature 0.2.
    without
        Guards against collapse to switch off, to watch what they prevent; none: all are on, whatever a --config
        says.
    from_run
        A run whose weights, banks and constants this one starts with, e.g. avid-cma from one of avid. Data, recipe,
        networks, windows and shared hyper-parameters are that run's by default.
    init
        Weights that the backbone starts with: a file of others (.safetensors, .pth, .npz, ...), of any usual
        layout; a run of any method on any data; a folder for a hub; timm:NAME.TAG; or torchvision:NAME.TAG.
        Default: random ones.
    seed
        Every random choice follows from it.
    data
        A folder of images, a tar of one, a .npy or .npz of pictures, or a name: shapes, digits (both need no
        download), cifar10, cifar100, mnist, fashion-mnist, kmnist, usps, svhn, stl10. For avid and avid-cma: a
        folder or tar of videos with sound, or of pictures with a sound file each, a .npz of both, or bounce, which
        is drawn here. Given several times: folders, tars and picture files, joined. Or FILE.py:NAME: a function
        that returns any of these, an array or a Dataset. Labels, where there are any, serve evaluation only.
        Default: shapes, or bounce.
    data_root
        Folder in which torchvision's sets are looked for.
    download
        Fetch the named set into data_root where it is missing.
    unlabelled
        Folders, tables and arrays label nothing.
    labels
        A CSV file of labels: the first column names the files, a column split says train or test, others are
        labels; or the word folders: the first folders are classes, whatever they are called. Default: what folders
        and files say.
    split
        What is held out: none, a share by the hash of names, such as 0.2, or folders, as
        train=Training,test=Testing. Default: what folders and files say, else a tenth of what is labelled.
    load_size
        Pictures are kept for views of up to this size. Default: image_size where it is given, else 96.
    crop_from
        What views are cut from: the pictures as they are, decoded at every step, or the squares that they are kept
        as, which is faster and blurs small crops. Default: original in the recipe imagenet, unless both are the
        same.
    grey_levels
        The value that is white in grey of more than 8 bits whose files do not say it, and in arrays that are not
        uint8, as 4095 for 12 bits. Default: of 1, 255, 1023, 4095, 16383, 65535 the first that holds the values of
        200 files.
    backbone
        Any timm model, or torchvision/NAME; resnet18-cifar has the stem of small images. Or FILE.py:NAME: a class
        or function without arguments, whose module maps (N, 3, H, W) to features (N, D). Default: the recipe's.
    audio_backbone
        For avid and avid-cma: conv2d-10, or any timm model over spectrograms. Their backbone sees frames:
        r2plus1d-10, -18, -34, or any timm model over each. Suffixes: -small, -w16 (width); -t4 keeps four parts of
        time apart, where timing is what tells clips apart.
    image_size
        Side of the views in pixels. Default: the recipe's, or up to 96 where the pictures are larger.
    views
        The views themselves, as config.yaml lists them. Default: the recipe's.
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
    batch_size
        Samples of one step over all devices; the recipe's learning rate is scaled by it.
    micro_batch
        Samples embedded at once on each device. Less memory, the same objective over the whole batch; batch norms
        then see a micro-batch.
    optimizer
        sgd, adam, adamw, muon, or a variant of LARS: lars, lars-simclr, larc, lars-clip. Default: the recipe's;
        adamw with --init.
    lr
        Peak learning rate at the actual batch size; beside a run or a file, its other rates go along in proportion.
        Default: the recipe's, scaled by batch_size / 256; 0.001 with --init where no optimizer is given.
    bias_lr
        The same of biases and norms. Default: lr, or in the recipe's proportion to it.
    backbone_lr
        The same of the last block of the backbone. Default: lr; a tenth of it with --init.
    layer_decay
        The part of a block's rate that the block before it takes: below 1, the first ones hardly leave their start.
        Default: 1; 0.7 with --init.
    head_epochs
        Epochs in which the heads learn alone, before the backbone does, at most a fifth of the run. Default: 0; 1
        with --init.
    hold_norms
        Batch norms of the backbone keep the statistics that they start with: those of crops are others than those
        of whole pictures. Default: with --init.
    final_lr
        Share of the peak that the rate ends at, by a cosine. Default: the recipe's.
    warmup_epochs
        Epochs of linear warm-up, at most a tenth of the run. Default: the recipe's.
    weight_decay
        Default: the recipe's.
    final_weight_decay
        Weight decay at the end of the run, reached by a cosine. Default: the recipe's, or where weight_decay is
        given, that.
    decay_1d
        Weight decay, and the adaptation of LARS, on biases and norms too. Default: the recipe's.
    clip_grad
        Largest norm of the whole gradient. Default: not clipped.
    clip_each
        Largest norm of the gradient of each tensor. Default: the recipe's.
    epochs
        Passes over the data. Default: the recipe's.
    max_steps
        Stop after so many steps; the schedule ends there too.
    eval_every
        Epochs between evaluations; 0 for none before the end. Default: a sixth of the run.
    minutes
        Train for as long as there is, from the command to the report, instead of epochs and max_steps: what steps
        and measuring take here is tried at the start, and written into config.yaml as max_steps.
    eval_samples
        Training samples that are measured on, at most, beside a fifth as many held-out ones: a fixed sample, each
        class with its share of it. 0 for all.
    knn_k
        Neighbours that vote in kNN. Default: 200, or a tenth of the training samples where that is less.
    knn_temperature
        Temperature of their votes. Default: 0.07 with the imagenet recipe, else 0.1.
    keep
        The network that is handed out: the last, or of those looked at every eval_every epochs the one that best
        finds the other view of a held-out sample, where that is better than the last by more than chance. Of
        weights to start with the best, the start among them: by kNN among training pictures, where those have
        labels and held-out accuracy has not fallen. Default: last; best with --init.
    log
        Loggers beside metrics.jsonl: tensorboard, wandb, mlflow, csv, one or several with commas between; none for
        none. Offline, into the run folder, unless WANDB_MODE or MLFLOW_TRACKING_URI says otherwise.
    devices
        Devices (GPUs, or processes on a CPU) on this machine; 1 by default. torchrun and Slurm decide it
        themselves.
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
    out
        Folder of the run. Default: runs/METHOD-DATA-1, -2, ...
    resume
        Go on with a run from its last checkpoint: --resume RUN, or --resume with the folder as --out. All other
        options are the run's own; given anew may be those that do not change what it is, among them --epochs and
        --devices.
    config
        A YAML file of options, or a run, whose config.yaml is one; flags win. What it gives stands: beside the lr
        of a run, --batch-size scales none.
    dry_run
        Tell the whole configuration, how the data was understood, steps, expected time and memory; train nothing.
    callbacks
        Objects whose hooks on_step, on_evaluate and on_end are told of the run: a list; see semblance.Callback.
    """
