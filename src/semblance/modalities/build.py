"""From a configuration to a method with its backbones."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from semblance import modalities, systems
from semblance.data import Source
from semblance.errors import UserError
from semblance.evaluation.batch_norms import never_trained
from semblance.modalities.modality import Modality
from semblance.nets.batchnorm import hold_statistics
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.from_run import go_on_from
from semblance.runs.init.read import read
from semblance.runs.init.start import Start, start_with
from semblance.runs.left import handed_out, is_written
from semblance.runtime import named
from semblance.shown import shown
from semblance.systems import Method

NAMES = ("backbone", "audio_backbone")  # of the networks of a method, in the order in which it takes them


def build(config: TrainConfig, modality: Modality, networks: Sequence[nn.Module] = ()) -> Method:
    """The method with these networks, or with random ones; modality: what its samples are."""
    make: Callable[..., Method] = systems.get(config.method)  # methods differ in how many networks they take
    guards = {"without": config.without} if config.without else {}  # a method without any need not take it
    method = make(*(networks or modality.networks(config)), **guards, **config.hyper)
    if lazy := [name for name, value in method.named_parameters() if is_lazy(value)]:
        raise UserError(
            f"{method.title}: {shown(lazy[0])} has no shape before its first call, and is to be copied before. Say how "
            "many inputs it takes: self.features is the width of the backbone's features."
        )
    return method


def at_the_start(
    config: TrainConfig, modality: Modality, source: Source[Any], folder: RunFolder | None = None
) -> Method:
    """The method before its first step, on the CPU: the same whenever it is asked for. folder: of the run, once it has
    begun, since a run that it began with may have gone on, or away."""
    torch.manual_seed(config.seed)
    networks = modality.networks(config)
    if named.is_own(config.backbone, named.BACKBONES) or named.is_handed_over(config.init or ""):
        torch.manual_seed(config.seed)  # heads are the same, whether a module was copied or had to be made
    if config.from_run is None and folder is not None and folder.beginning.exists():
        _start_as_before(networks, folder)
    elif config.init is not None and not named.is_handed_over(config.init):  # else a module has its own
        start, names = Start.of(config.init), [getattr(config, name) for name in NAMES[: len(networks)]]
        held = of_a_run(RunFolder(Path(start.name))) if start.kind == "run" else start.tensors()
        source.notes += start_with(config.init, held, networks, names)
    if config.hold_norms:
        for network in networks:
            if not never_trained(network):  # of clips, the weights may be of one network
                hold_statistics(network)
    method = build(config, modality, networks)
    method.prepare(len(source.train))
    modality.prepare(method, source, config)
    if config.precision == "64":
        method.double()
    if config.from_run is not None and folder is not None:
        try:
            weights = checkpoint.load(folder.beginning)["method"]
            checkpoint.check_networks(method.state_dict(), weights)
            method.load_state_dict(weights)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{shown(folder.beginning)} does not belong to this run: {error}") from error
    elif config.from_run is not None:
        go_on_from(config.from_run, method, source.train)
    return method


def of_a_run(folder: RunFolder) -> dict[str, torch.Tensor]:
    """The networks that a run hands out, by name; of one that was stopped or is to go on, those of its checkpoint."""
    files = {f"{of}.": folder.path / f"{of}_backbone.safetensors" for of in ("video", "audio")}
    written = {of: read(file) for of, file in ({"": folder.backbone} | files).items() if file.exists()}
    if written and is_written(folder.path, folder):
        return {f"{of}{name}": value for of, held in written.items() for name, value in held.items()}
    state, _ = handed_out(folder)
    if not state:
        raise UserError(f"--init {shown(folder.path)}: this run has neither a backbone nor a checkpoint yet.")
    config = TrainConfig.load(folder.config)
    with torch.device("meta"):
        method: Any = build(config, modalities.of(config.method))
    clips = method.modality == "clips"
    parts = {"video.": method.backbone, "audio.": method.audio_backbone} if clips else {"": method.encoder}
    places = {f"{name}.": of for of, part in parts.items() for name, own in method.named_modules() if own is part}
    return {
        of + name.removeprefix(place): value
        for place, of in places.items() for name, value in state["method"].items() if name.startswith(place)
    }  # fmt: skip


def _start_as_before(networks: Sequence[nn.Module], folder: RunFolder) -> None:
    """With the weights that a run started with, whatever has become of where they were from."""
    held = checkpoint.load(folder.beginning)["method"]
    try:
        for network, name in zip(networks, NAMES, strict=False):
            own = {key.removeprefix(f"{name}."): value for key, value in held.items() if key.startswith(f"{name}.")}
            checkpoint.check_networks(network.state_dict(), own)
            network.load_state_dict(own)
    except ValueError as error:
        raise UserError(f"{shown(folder.beginning)} does not belong to this run: {error}") from error


def beginning(method: Method, config: TrainConfig) -> dict[str, torch.Tensor]:
    """What a run keeps of its start where that is not random: all, or the networks, where only they are not."""
    whole = method.state_dict()
    return {name: value for name, value in whole.items() if config.from_run or name.partition(".")[0] in NAMES}
