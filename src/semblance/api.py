"""The public functions; their keyword arguments are the flags of the command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature, cleandoc
from os import PathLike, fspath
from pathlib import Path
from textwrap import fill, indent
from typing import Any, Literal

from semblance.runs.options import GROUPED, TrainOptions, bare
from semblance.runtime.getting_ready import getting_ready

Network = Literal["student", "teacher"]


def train(method: str | None = None, **options: Any) -> dict[str, Any]:
    """Train an encoder without labels, measure it, and leave a run folder with the backbone and a report.

    From Python, parts of your own may be objects (docs/own_parts.md): method a class derived from Method; backbone a
    torch.nn.Module that maps (N, 3, H, W) to features (N, D), which starts with its own weights and stays as it is,
    since a copy is trained; data a uint8 array or tensor (N, H, W), (N, H, W, 3) or (N, 3, H, W), or a map-style
    Dataset of pictures or of (picture, label); views View objects, or dataclasses with count, scaled and make.

    Returns what summary.json holds. Raises UserError, which names all that is wrong, for options that cannot be.
    """
    started = getting_ready()
    from semblance.commands import train as command

    with _parts({"method": method} | options) as given:
        return command.train(TrainOptions.of(given), started)


@contextmanager
def _parts(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Within, objects among some arguments go by the names that they have here."""
    from semblance.runs.own_parts import named_parts
    from semblance.runtime.named import handed_over

    options, objects = named_parts(given)
    with handed_over(objects):
        yield options


def _signature() -> Signature:
    """That of train(), with every option by name."""
    first, *others = (
        Parameter(name, Parameter.KEYWORD_ONLY, default=field.default, annotation=bare(field.annotation))
        for name, field in ((name, TrainOptions.model_fields[name]) for name in GROUPED)
    )
    return Signature([first.replace(kind=Parameter.POSITIONAL_OR_KEYWORD), *others], return_annotation=dict[str, Any])


train.__signature__ = _signature()  # type: ignore[attr-defined]
train.__doc__ = f"{cleandoc(str(train.__doc__))}\n\nParameters\n----------\n" + "\n".join(
    f"{name}\n{indent(fill(str(TrainOptions.model_fields[name].description), 108), '    ')}" for name in GROUPED
)


def evaluate(
    run: str, *, data: Any = None, data_root: str | None = None, download: bool = False,
    unlabelled: bool = False, labels: str | None = None, split: str | None = None,
    network: Network | None = None, knn_k: int | None = None, knn_temperature: float | None = None,
    eval_samples: int | None = None, devices: int = 1,
) -> list[dict[str, Any]]:  # fmt: skip
    """Measure a run, finished or stopped: pictures by kNN and a linear probe, clips by retrieval and linear probes.

    Next to raw input and to the networks before training, on the samples as the run saw them. Accuracies in [0, 1].

    Parameters
    ----------
    run
        A run folder, or its backbone.safetensors.
    data
        Labelled pictures, or clips, as for train; for a run on clips, a folder of sounds classifies those, fold by
        fold: named as ESC's are, or in a folder for each class. Default: those of the run. From Python also an object.
    data_root
        Folder in which torchvision's sets are looked for. Default: that of the run.
    download
        Fetch the named set into data_root where it is missing.
    unlabelled
        Folders, tables and arrays label nothing. Default, as for the next two: as in the run, where its data is taken.
    labels
        A CSV file of labels, or the word folders, as for train.
    split
        What is held out, as for train: none, a share, or folders.
    network
        Of a method with a slow copy of its backbone, the student or the teacher. Default: the one that its authors
        evaluate, which backbone.safetensors holds.
    knn_k
        Neighbours that vote in kNN. Default, as for the next two: as in the run.
    knn_temperature
        Temperature of their votes.
    eval_samples
        Training samples that are measured on, at most, beside a fifth as many held-out ones. 0 for all.
    devices
        Devices (GPUs, or processes on a CPU) on this machine; torchrun and Slurm decide it themselves.
    """
    getting_ready()
    from semblance.commands import evaluate as command

    with _parts({"data": data}) as given:
        return command.evaluate(
            run, network=network, data_root=data_root, download=download, unlabelled=unlabelled or None,
            labels=labels, split=split, knn_k=knn_k, knn_temperature=knn_temperature, eval_samples=eval_samples,
            devices=devices, **given,
        )  # fmt: skip


def embed(
    run: str | PathLike[str], *, data: Any = None, out: str | PathLike[str] | None = None, normalise: bool = False,
    data_root: str = "data", download: bool = False, unlabelled: bool = False, labels: str | None = None,
    split: str | None = None, network: Network | None = None,
) -> Any:  # fmt: skip
    """Features of pictures by a trained backbone: a float32 tensor (N, D), training pictures first, then held-out ones.

    Of a run on clips a dict of two such tensors, "video" and "audio": what its backbones give, the mean over windows at
    the beginning, in the middle and at the end of each clip. Of a stopped run, those of its last checkpoint.

    Parameters
    ----------
    run
        A run folder, or its backbone.safetensors; or weights of others: a file, a folder for a hub, timm:NAME.TAG,
        torchvision:NAME.TAG, or the name of a timm model with weights.
    data
        Pictures, or for a run on clips clips, as for train, from Python also an object; or files of pictures, one or
        several, in this order, or a .txt with a path a line. Default: the run's own.
    out
        A file to write. .npz: features, or of clips video and audio; names; and for each thing that all samples are
        labelled by a label_NAME with the names of classes, such as label_class, of pictures also their numbers as
        labels. .npy: the features alone, with names and classes in a .names.csv beside. .csv: name, class, f0, f1, ...
        .parquet: name, class, and features as lists.
    normalise
        Divide each row by its length (L2), as for cosines.
    data_root
        Folder in which torchvision's sets are looked for.
    download
        Fetch the named set into data_root where it is missing.
    unlabelled
        Folders, tables and arrays label nothing. Default, as for the next two: as in the run, where its data is taken.
    labels
        A CSV file of labels, or the word folders, as for train.
    split
        What is held out, as for train: none, a share, or folders.
    network
        Of a method with a slow copy of its backbone, the student or the teacher. Default: as for evaluate.
    """
    getting_ready()
    from semblance.commands import embed as command

    with _parts({"data": data}) as given:
        return command.embed(
            fspath(run), out=Path(out) if out else None, normalise=normalise, data_root=data_root, download=download,
            network=network, unlabelled=unlabelled or None, labels=labels, split=split, **given,
        )  # fmt: skip


def export(
    run: str | PathLike[str], *, to: Literal["timm", "torchvision", "onnx", "hub"], out: str | PathLike[str],
    network: Network | None = None, data: str | None = None, licence: str | None = None, opset: int | None = None,
    preprocessing: Literal["inside", "beside"] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the backbone of a run for others, and prove that it is the same network.

    What was written is loaded in a process of its own by timm, torchvision or onnxruntime alone, and its features of
    held-out samples, as the run preprocesses them, are compared at batch 1 and 7. Where they differ by more than 1e-4
    of the largest feature, nothing is left. Returns the files, the largest differences, and the lines that load them.

    Parameters
    ----------
    run
        A run folder, finished or stopped, or its backbone.safetensors.
    to
        timm or torchvision: a file of weights; onnx: a graph, of clips two; hub: a folder as timm writes it, with a
        model card.
    out
        The file, .safetensors or .pth for timm and torchvision, .onnx; or the folder.
    network
        Of a method with a slow copy of its backbone, the student or the teacher. Default: as for evaluate.
    data
        Where the run's samples lie now, if they have moved, or others that prove it.
    licence
        Of a hub: what its model card says, as hubs write it, such as mit or cc-by-4.0.
    opset
        Of ONNX. Default: that of torch's exporter.
    preprocessing
        Of ONNX: whether pictures are normalised inside the graph, which then takes values in [0, 1], or beside it, by
        what its metadata say. Default: inside.
    """
    getting_ready()
    from semblance.commands import export as command

    return command.export(
        fspath(run), to=to, out=fspath(out), network=network, data=data, licence=licence, opset=opset,
        preprocessing=preprocessing,
    )  # fmt: skip
