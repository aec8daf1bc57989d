"""What a person may ask of `train`: the flags, the keyword arguments of `sb.train`, and the entries of --config.

Grouped as a person thinks. None leaves a choice to the recipe of the method, or to a measurement at the start.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import reduce
from operator import or_
from os import PathLike, fspath
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from semblance.errors import UserError, unknown
from semblance.runs.documents import brief, read_yaml
from semblance.shown import of_this_locale, shown

Precision = Annotated[
    Literal["auto", "32", "bf16", "64"], BeforeValidator(lambda given: str(given) if type(given) is int else given)
]
Hyper = dict[str, float | str]
Guards = Annotated[list[str], BeforeValidator(lambda given: [] if given in ("none", ["none"]) else given)]
NotNegative = Annotated[float, Field(ge=0, le=1e12)]
Many = Annotated[int, Field(gt=0, le=10**9)]
Natural = Annotated[int, Field(ge=0, le=10**9)]
Pixels = Annotated[int, Field(ge=8, le=4096)]


def _name(given: Any) -> Any:
    """A path as text; one that a configuration holds as this process has to write it."""
    given = fspath(given) if isinstance(given, PathLike) else given
    if given == "":  # of a shell variable that is not set; as a path it would be this folder
        raise ValueError("a name is wanted, and this is empty")
    if isinstance(given, str) and "\0" in given:
        raise ValueError("no name holds a zero byte")
    return of_this_locale(given) if isinstance(given, str) else given


Name = Annotated[str, BeforeValidator(_name)]
DataName = Annotated[  # one, or several, of which a list of one is the one
    Name | Annotated[list[Name], Field(min_length=2)],
    BeforeValidator(lambda given: given[0] if isinstance(given, list | tuple) and len(given) == 1 else given),
]
AboveZero = Annotated[float, Field(gt=0, le=1e12)]
LOGGERS = ("tensorboard", "wandb", "mlflow", "csv")
Loggers = Annotated[str | list[str], BeforeValidator(lambda given: _loggers(given))]
SplitWords = Annotated[str, BeforeValidator(lambda given: _split(given))]
AnyFloat = Annotated[float, Field(allow_inf_nan=True)]  # whose range the view itself knows

HABITS = {  # what people type by habit, and what there is instead
    "pretrained": "--init WEIGHTS starts with weights: a file, timm:NAME, torchvision:NAME, or a run.",
    "weights": "--init WEIGHTS starts with weights: a file, timm:NAME, torchvision:NAME, or a run.",
    "checkpoint": "--resume RUN goes on with a run, --init starts a new one with weights.",
    "output": "The folder of the run is --out.",
    "output_dir": "The folder of the run is --out.",
    "save_dir": "The folder of the run is --out.",
    "lr_scheduler": "The rate always rises over --warmup-epochs and falls by a cosine to --final-lr.",
    "scheduler": "The rate always rises over --warmup-epochs and falls by a cosine to --final-lr.",
    "learning_rate": "The peak learning rate is --lr.",
    "bs": "The samples of a step are --batch-size.",
    "wd": "That is --weight-decay.",
    "arch": "The network is --backbone.",
    "encoder": "The network is --backbone.",
    "name": "The folder of the run is --out.",
    "save": "The folder of the run is --out.",
    "logdir": "The folder of the run is --out.",
    "log_dir": "The folder of the run is --out.",
    "device": "A GPU is used where there is one; --devices says how many.",
    "cuda": "A GPU is used where there is one; --devices says how many.",
    "gpu": "A GPU is used where there is one; --devices says how many.",
    "cpu": "A GPU is used where there is one; CUDA_VISIBLE_DEVICES= hides it.",
    "model": "The network is --backbone; the method is named first: semblance train simclr.",
    "dataset": "That is --data.",
    "data_dir": "That is --data.",
    "img_size": "That is --image-size.",
    "gpus": "That is --devices.",
    "num_workers": "That is --workers.",
    "amp": "Half precision is --precision bf16.",
    "fp16": "Half precision is --precision bf16.",
}
UNSPOKEN = {  # options that a word on a command line cannot say
    "views": "Views are given in a --config file, or from Python.",
    "callbacks": "Callbacks are objects, given from Python: sb.train(callbacks=[...]).",
}


class Group(BaseModel):
    """Options that belong together; a class's docstring is their heading, a field's is its help."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class What(Group):
    """What is trained"""

    method: Name = "simclr"
    """The system to train with, see `semblance methods`; or FILE.py:CLASS, a method of your own."""
    recipe: str | None = None
    """quick (minutes on a CPU, the default for shapes, digits and bounce), small (32 to 96 px, or 112 for clips, the
    default otherwise) or imagenet (as published)."""
    hyper: Hyper | None = None
    """Hyper-parameters of the method by name, e.g. --hyper.temperature 0.2."""
    without: Guards | None = None
    """Guards against collapse to switch off, to watch what they prevent; none: all are on, whatever a --config says."""
    from_run: Name | None = None
    """A run whose weights, banks and constants this one starts with, e.g. avid-cma from one of avid. Data, recipe,
    networks, windows and shared hyper-parameters are that run's by default."""
    init: Name | None = None
    """Weights that the backbone starts with: a file of others (.safetensors, .pth, .npz, ...), of any usual layout; a
    run of any method on any data; a folder for a hub; timm:NAME.TAG; or torchvision:NAME.TAG. Default: random ones."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    """Every random choice follows from it."""


class Data(Group):
    """Data"""

    data: DataName | None = None
    """A folder of images, a tar of one, a .npy or .npz of pictures, or a name: shapes, digits (both need no
    download), cifar10, cifar100, mnist, fashion-mnist, kmnist, usps, svhn, stl10. For avid and avid-cma: a folder or
    tar of videos with sound, or of pictures with a sound file each, a .npz of both, or bounce, which is drawn here.
    Given several times: folders, tars and picture files, joined. Or FILE.py:NAME: a function that returns any of these,
    an array or a Dataset. Labels, where there are any, serve evaluation only. Default: shapes, or bounce."""
    data_root: Name = "data"
    """Folder in which torchvision's sets are looked for."""
    download: bool = False
    """Fetch the named set into data_root where it is missing."""
    unlabelled: bool = False
    """Folders, tables and arrays label nothing."""
    labels: Name | None = None
    """A CSV file of labels: the first column names the files, a column split says train or test, others are labels; or
    the word folders: the first folders are classes, whatever they are called. Default: what folders and files say."""
    split: SplitWords | None = None
    """What is held out: none, a share by the hash of names, such as 0.2, or folders, as train=Training,test=Testing.
    Default: what folders and files say, else a tenth of what is labelled."""
    load_size: Annotated[int, Field(gt=0, le=4096)] | None = None
    """Pictures are kept for views of up to this size. Default: image_size where it is given, else 96."""
    crop_from: Literal["original", "canvas"] | None = None
    """What views are cut from: the pictures as they are, decoded at every step, or the squares that they are kept as,
    which is faster and blurs small crops. Default: original in the recipe imagenet, unless both are the same."""
    grey_levels: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    """The value that is white in grey of more than 8 bits whose files do not say it, and in arrays that are not uint8,
    as 4095 for 12 bits. Default: of 1, 255, 1023, 4095, 16383, 65535 the first that holds the values of 200 files."""


OF_A_START = (  # options whose defaults depend on whether it is random
    "optimizer", "lr", "bias_lr", "weight_decay", "final_weight_decay", "backbone_lr", "layer_decay", "head_epochs",
    "hold_norms", "keep",
)  # fmt: skip
SAID = ("unlabelled", "labels", "split")  # of the data that they are given with


class Network(Group):
    """Network"""

    backbone: str | None = None
    """Any timm model, or torchvision/NAME; resnet18-cifar has the stem of small images. Or FILE.py:NAME: a class or
    function without arguments, whose module maps (N, 3, H, W) to features (N, D). Default: the recipe's."""
    audio_backbone: str | None = None
    """For avid and avid-cma: conv2d-10, or any timm model over spectrograms. Their backbone sees frames: r2plus1d-10,
    -18, -34, or any timm model over each. Suffixes: -small, -w16 (width); -t4 keeps four parts of time apart, where
    timing is what tells clips apart."""


class Views(Group):
    """Views"""

    image_size: Pixels | None = None
    """Side of the views in pixels. Default: the recipe's, or up to 96 where the pictures are larger."""
    views: tuple[Any, ...] | None = None
    """The views themselves, as config.yaml lists them. Default: the recipe's."""


class ViewFields(Group):
    """Views"""

    flip_p: AnyFloat | None = None
    """Chance that a view is mirrored: 0 where left and right differ, as in digits and text. Default: the recipe's."""
    frames: int | None = None
    """Frames of a window of video, for avid and avid-cma. Default: the recipe's, as for the next three."""
    fps: AnyFloat | None = None
    """Frames per second of a window of video, for avid and avid-cma."""
    seconds: AnyFloat | None = None
    """Seconds of a window of sound, for avid and avid-cma."""
    mel: int | None = None
    """Bands of a log-mel spectrogram, for avid and avid-cma; 0 for AVID's linear one."""


class Optimisation(Group):
    """Optimisation"""

    batch_size: Annotated[int, Field(ge=2, le=10**9)] | None = None
    """Samples of one step over all devices; the recipe's learning rate is scaled by it."""
    micro_batch: Annotated[int, Field(ge=2, le=10**9)] | None = None
    """Samples embedded at once on each device. Less memory, the same objective over the whole batch; batch norms then
    see a micro-batch."""
    optimizer: str | None = None
    """sgd, adam, adamw, muon, or a variant of LARS: lars, lars-simclr, larc, lars-clip. Default: the recipe's; adamw
    with --init."""
    lr: NotNegative | None = None
    """Peak learning rate at the actual batch size; beside a run or a file, its other rates go along in proportion.
    Default: the recipe's, scaled by batch_size / 256; 0.001 with --init where no optimizer is given."""
    bias_lr: NotNegative | None = None
    """The same of biases and norms. Default: lr, or in the recipe's proportion to it."""
    backbone_lr: NotNegative | None = None
    """The same of the last block of the backbone. Default: lr; a tenth of it with --init."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """The part of a block's rate that the block before it takes: below 1, the first ones hardly leave their start.
    Default: 1; 0.7 with --init."""
    head_epochs: NotNegative | None = None
    """Epochs in which the heads learn alone, before the backbone does, at most a fifth of the run. Default: 0; 1 with
    --init."""
    hold_norms: bool | None = None
    """Batch norms of the backbone keep the statistics that they start with: those of crops are others than those of
    whole pictures. Default: with --init."""
    final_lr: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the peak that the rate ends at, by a cosine. Default: the recipe's."""
    warmup_epochs: NotNegative | None = None
    """Epochs of linear warm-up, at most a tenth of the run. Default: the recipe's."""
    weight_decay: NotNegative | None = None
    """Default: the recipe's."""
    final_weight_decay: NotNegative | None = None
    """Weight decay at the end of the run, reached by a cosine. Default: the recipe's, or where weight_decay is given,
    that."""
    decay_1d: bool | None = None
    """Weight decay, and the adaptation of LARS, on biases and norms too. Default: the recipe's."""
    clip_grad: AboveZero | None = None
    """Largest norm of the whole gradient. Default: not clipped."""
    clip_each: AboveZero | None = None
    """Largest norm of the gradient of each tensor. Default: the recipe's."""


class Time(Group):
    """Time"""

    epochs: Many | None = None
    """Passes over the data. Default: the recipe's."""
    max_steps: Many | None = None
    """Stop after so many steps; the schedule ends there too."""
    eval_every: Natural | None = None
    """Epochs between evaluations; 0 for none before the end. Default: a sixth of the run."""


class Minutes(Group):
    """Time"""

    minutes: Annotated[float, Field(gt=0, le=10**6)] | None = None
    """Train for as long as there is, from the command to the report, instead of epochs and max_steps: what steps and
    measuring take here is tried at the start, and written into config.yaml as max_steps."""


class Measuring(Group):
    """Measuring"""

    eval_samples: Natural = 50_000
    """Training samples that are measured on, at most, beside a fifth as many held-out ones: a fixed sample, each class
    with its share of it. 0 for all."""
    knn_k: Many | None = None
    """Neighbours that vote in kNN. Default: 200, or a tenth of the training samples where that is less."""
    knn_temperature: AboveZero | None = None
    """Temperature of their votes. Default: 0.07 with the imagenet recipe, else 0.1."""
    keep: Literal["last", "best"] | None = None
    """The network that is handed out: the last, or of those looked at every eval_every epochs the one that best finds
    the other view of a held-out sample, where that is better than the last by more than chance. Of weights to start
    with the best, the start among them: by kNN among training pictures, where those have labels and held-out accuracy
    has not fallen. Default: last; best with --init."""


class Logging(Group):
    """Logging"""

    log: Loggers = []
    """Loggers beside metrics.jsonl: tensorboard, wandb, mlflow, csv, one or several with commas between; none for none.
    Offline, into the run folder, unless WANDB_MODE or MLFLOW_TRACKING_URI says otherwise."""


class Hardware(Group):
    """Hardware"""

    devices: Annotated[int, Field(gt=0, le=1024)] | None = None
    """Devices (GPUs, or processes on a CPU) on this machine; 1 by default. torchrun and Slurm decide it themselves."""
    shard: bool = False
    """Spread the backbone over the devices (FSDP), where one cannot hold it; for ViTs, and of no effect on one."""
    precision: Precision = "auto"
    """auto takes bf16 where the hardware computes in it, else 32; 64 is for checking."""
    channels_last: bool | None = None
    """Memory layout of images. Default: measured at the start."""
    compile: bool | None = None
    """Use torch.compile. Default: where a long run gains by it."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes that decode pictures of sets too large for memory; 2 by default."""


class Output(Group):
    """The run itself"""

    out: Name | None = None
    """Folder of the run. Default: runs/METHOD-DATA-1, -2, ..."""
    resume: bool | Name = False
    """Go on with a run from its last checkpoint: --resume RUN, or --resume with the folder as --out. All other options
    are the run's own; given anew may be those that do not change what it is, among them --epochs and --devices."""
    config: Name | None = None
    """A YAML file of options, or a run, whose config.yaml is one; flags win. What it gives stands: beside the lr of a
    run, --batch-size scales none."""
    dry_run: bool = False
    """Tell the whole configuration, how the data was understood, steps, expected time and memory; train nothing."""
    callbacks: Any = ()
    """Objects whose hooks on_step, on_evaluate and on_end are told of the run: a list; see semblance.Callback."""


class TrainOptions(
    Output, Hardware, Logging, Measuring, Minutes, Time, Optimisation, ViewFields, Views, Network, Data, What
):
    """Everything that `train` takes. `problems`: what is wrong with what was given, one line each; the fields that they
    are about stand at their defaults."""

    _problems: list[str] = PrivateAttr(default_factory=list)
    _size_of_views: int | None = PrivateAttr(None)

    @property
    def problems(self) -> list[str]:
        return self._problems

    @property
    def size_of_views(self) -> int | None:
        """The image_size that the views were given with, where a flag wins over that of the file."""
        return self._size_of_views

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "TrainOptions":
        """The options of some keyword arguments of `train`, those of the --config among them filled in."""
        problems = [misnamed(name) for name in given if name not in cls.model_fields]
        flags = {name: value for name, value in given.items() if name in cls.model_fields and value is not None}
        file = _read(Path(flags["config"]), problems) if isinstance(flags.get("config"), str | PathLike) else {}
        for part in (file, flags):
            if isinstance(part.get("hyper"), dict):  # --hyper.freeze-epochs, as other flags are written
                part["hyper"] = {str(name).replace("-", "_"): value for name, value in part["hyper"].items()}
        values = _beside(file, flags, problems) | flags
        try:
            options = cls.model_validate(values)
        except ValidationError as error:
            wrong = {e["loc"][0]: e for e in reversed(error.errors())}  # the first of each
            problems += [flag_problem(name, e) for name, e in sorted(wrong.items(), key=lambda item: _place(item[0]))]
            options = cls.model_validate({name: value for name, value in values.items() if name not in wrong})
        if options.unlabelled and options.labels is not None:
            problems.append(f"--unlabelled and --labels {options.labels} contradict each other: leave one out.")
        if options.minutes is not None and (given_too := options.model_fields_set & {"epochs", "max_steps"}):
            problems.append(
                f"--minutes and {' and '.join(map(flag, sorted(given_too)))} contradict each other: leave one out."
            )
        options._problems.extend(problems)
        options._size_of_views = file.get("image_size")
        return options

    @property
    def given(self) -> dict[str, Any]:
        """What was given, in the order of the groups."""
        return {name: getattr(self, name) for name in GROUPED if name in self.model_fields_set}


def flag(name: str | int) -> str:
    """An option as it is typed."""
    return f"--{'from' if name == 'from_run' else str(name).replace('_', '-')}"


def flag_problem(name: str | int, error: Any) -> str:
    """A problem that pydantic found, as one of a flag."""
    part = f".{error['loc'][1]}" if name == "hyper" and len(error["loc"]) > 1 else ""
    return f"{flag(name)}{part}: {error['msg'].removeprefix('Value error, ')} (got {brief(error['input'])})"


def misnamed(name: str) -> str:
    """What to say of an option that there is not."""
    name = name.lstrip("-").replace("-", "_").lower()
    if name in UNSPOKEN:
        return UNSPOKEN[name]
    if name in HABITS:
        return f"There is no {flag(name)}. {HABITS[name]}"
    from semblance import systems

    owners = [method for method in systems.names() if name in systems.hyper_parameters(systems.get(method))]
    if owners:
        return f"There is no {flag(name)}. It is a hyper-parameter of {', '.join(owners)}: --hyper.{name}."
    close = get_close_matches(name, TrainOptions.model_fields, n=1, cutoff=0.6)
    hint = f" Did you mean {flag(close[0])}?" if close else " See semblance train --help."
    return f"There is no {flag(name)}.{hint}"


def _split(given: Any) -> str:
    from semblance.data.splits import check_split  # with torch, which help does not wait for

    return check_split(given)


def _loggers(given: Any) -> list[str]:
    """Names of loggers, given as a list or with commas between, once each and in one order."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names of loggers are wanted: {', '.join(LOGGERS)}")
    words = [word.strip().lower() for name in names for word in name.split(",")]
    words = [] if words == ["none"] else words
    for word in words:
        if word not in LOGGERS:
            raise unknown("logger", word, LOGGERS)
    return [name for name in LOGGERS if name in words]


def _read(path: Path, problems: list[str]) -> dict[str, Any]:
    """The options in a YAML file; what is none is added to the problems."""
    path = path / "config.yaml" if path.is_dir() else path  # of a run
    try:
        values = read_yaml(path)
    except OSError as error:
        raise UserError(f"--config {shown(path)} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"--config {shown(path)} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"--config {shown(path)} holds no options: write one a line, e.g. epochs: 50.")
    values = {str(name).replace("-", "_"): value for name, value in values.items()}
    values |= {"from_run": values.pop("from")} if "from" in values else {}
    foreign = [name for name in values if name not in TrainOptions.model_fields or name in Output.model_fields]
    flags = Output.model_fields.keys() - UNSPOKEN.keys()
    told = [f"{name} is given as a flag." if name in flags else misnamed(name) for name in foreign]
    problems += [f"--config {shown(path)}: {line}" for line in told]
    return {name: value for name, value in values.items() if value is not None and name not in foreign}


def _beside(file: dict[str, Any], flags: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """What of a file stands beside flags: what follows from another value goes along with that."""
    kept = dict(file)
    if isinstance(file.get("hyper"), dict) and isinstance(flags.get("hyper"), dict):
        flags["hyper"] = file["hyper"] | flags["hyper"]
    kept |= in_proportion(file, flags)
    if "image_size" in flags:
        kept.pop("load_size", None)
    for name in SAID if "data" in flags else _replaced(flags):
        kept.pop(name, None)
    if "minutes" in flags:
        gone = ("epochs", "max_steps", "eval_every") if "views" in file else ("epochs", "max_steps")
        kept = {name: value for name, value in kept.items() if name not in gone}
    elif "epochs" in flags or "max_steps" in flags:
        kept.pop("minutes", None)
    at_random = "views" in file and not file.keys() & {"init", "from_run"}  # a run's, whose rates are for that
    if at_random and _begins_with_weights(flags):
        kept = {name: value for name, value in kept.items() if name not in OF_A_START}
    if "views" in file:  # the whole configuration of a run, beside which another recipe would change nothing
        problems += [
            f"{flag(name)} {flags[name]} does not fit the --config, which has all of {name} {file[name]}: leave it out."
            for name in ("method", "recipe")
            if name in flags and str(flags[name]).lower() != str(file.get(name, flags[name])).lower()
        ]
    return kept


def in_proportion(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, float]:
    """Rates that go along where --lr is given to a configuration, and are not given themselves."""
    along = [name for name in ("bias_lr", "backbone_lr") if name not in given and before.get(name) is not None]
    try:
        return {name: float(before[name]) * float(given["lr"]) / float(before["lr"]) for name in along}
    except (ArithmeticError, LookupError, TypeError, ValueError):  # there are none, or they are no rates
        return {}


def _begins_with_weights(flags: Mapping[str, Any]) -> bool:
    """By --init, or by a tag in the name of a backbone."""
    name = str(flags.get("backbone", ""))
    return "init" in flags or ("." in name and ":" not in name and not name.startswith("torchvision/"))


def said_anew(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are given beside those of a run, with the other word on labels taken back."""
    defaults = {name: TrainOptions.model_fields[name].default for name in _replaced(given)}
    return defaults | dict(given)


def _replaced(given: Mapping[str, Any]) -> list[str]:
    """The word on labels that another one takes the place of."""
    return [other for name, other in (("labels", "unlabelled"), ("unlabelled", "labels")) if given.get(name)]


def bare(kind: Any) -> Any:
    """A type without the ranges of its values."""
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return reduce(or_, map(bare, get_args(kind)))
    return kind


def _place(name: str | int) -> int:
    """Options in the order of their groups."""
    return list(GROUPED).index(str(name))


GROUPS = (What, Data, Network, Views, ViewFields, Optimisation, Time, Minutes, Measuring, Logging, Hardware, Output)
GROUPED = {name: group for group in GROUPS for name in group.model_fields}  # every option and its group, in order
