"""For onnxruntime and whatever else reads ONNX: a graph for any number of samples at once."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.runs.export.network import Leaving, Written, normalised, quoted_path

SUFFIXES = (".onnx",)
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_INPUTS = {"": "pictures", "video": "frames", "audio": "spectrograms"}
_EXAMPLES = 2  # in the batch that is traced: of one, or of none, torch makes a constant


class _Shown(nn.Module):
    """A network behind its preprocessing. A module in a module keeps its hooks when it is traced."""

    def __init__(self, network: nn.Module, by: tuple[tuple[float, ...], tuple[float, ...]] | None) -> None:
        super().__init__()
        self.network, self.by = network, by

    def forward(self, x: Tensor) -> Tensor:
        return self.network(normalised(x, self.by))


def check_packages() -> None:
    """A UserError where a package is missing."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UserError(f"--to onnx needs {', '.join(missing)}, which are not here: pip install 'semblance[onnx]'")


def write(
    path: Path, leaving: Leaving, *, opset: int | None = None, preprocessing: str = "inside", **_: Any
) -> Written:
    """With the normalisation of pictures inside the graph, or said in its metadata alone."""
    import onnx

    by = leaving.mean_and_std
    inside = preprocessing == "inside" or by is None
    network = _Shown(_of_one_size(leaving), by if inside else None).float().eval()
    given = leaving.inputs if inside else normalised(leaving.inputs, by)
    name, batch = _INPUTS[leaving.stream], torch.export.Dim("batch", min=1)
    example = given[torch.arange(_EXAMPLES) % len(given)]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, (example,), dynamo=True, dynamic_shapes=({0: batch},), input_names=[name],
                output_names=["features"], opset_version=opset, verbose=False,
            )  # fmt: skip
    except Exception as error:  # whatever the exporter stumbles over
        told = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"torch cannot make ONNX of {leaving.backbone}{f' in opset {opset}' if opset else ''}: {told.strip()[:300]}"
        ) from error
    assert program is not None
    about = {"backbone": leaving.backbone, "normalised": "inside" if inside else "beside"} | leaving.shown
    program.model.metadata_props.update({f"semblance.{key}": json.dumps(value) for key, value in about.items()})
    program.save(str(path), external_data=_bytes(network) > 1 << 30)
    opset = next(o.version for o in onnx.load(path, load_external_data=False).opset_import if not o.domain)
    shape = ", ".join(map(str, leaving.inputs.shape[1:]))
    beside = "" if inside else ", normalised by semblance.mean and semblance.std in its metadata"
    what = "in dB" if by is None else "in [0, 1]" if inside else "in [0, 1]" + beside

    def code(path: Path) -> str:
        return "\n".join([
            "import onnxruntime",
            f"network = onnxruntime.InferenceSession({quoted_path(path)}, providers=['CPUExecutionProvider'])",
            f"# network.run(None, {{{name!r}: x}})[0], x float32 (N, {shape}) {what}",
        ])  # fmt: skip

    return Written(f"an ONNX graph of opset {opset}, input {name!r}, any number at once", code, _features(name, inside))


def _features(name: str, inside: bool) -> str:
    """The proof's function, which normalises by what the file says where the graph does not."""
    if inside:
        return f"def features(x):\n    return network.run(None, {{{name!r}: x}})[0]"
    return f"""
import json, numpy
about = network.get_modelmeta().custom_metadata_map
axes = (3,) + (1,) * (len(network.get_inputs()[0].shape) - 2)
mean, std = (numpy.float32(json.loads(about["semblance." + name])).reshape(axes) for name in ("mean", "std"))

def features(x):
    return network.run(None, {{{name!r}: (x - mean) / std}})[0]
"""


def _of_one_size(leaving: Leaving) -> nn.Module:
    """The network; of a ViT that resamples its positions at each call a copy that has them for this size, since the
    antialiased resampling is not the same in all that runs ONNX."""
    network: Any = deepcopy(leaving.network)
    if getattr(network, "dynamic_img_size", False) and hasattr(network, "set_input_size"):
        network.set_input_size(tuple(leaving.inputs.shape[-2:]))
    return network


def _bytes(network: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in network.state_dict().values())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter logs of its own steps."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
