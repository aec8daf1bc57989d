"""The modalities: a module each, of the name by which methods call it. A method may bring a Modality of its own."""

from importlib import import_module
from pathlib import Path

from semblance import systems
from semblance.modalities.modality import Modality
from semblance.runs.folder import RunFolder


def of(method: str) -> Modality:
    """What the samples of a method are."""
    modality = systems.get(method).modality
    return named(modality) if isinstance(modality, str) else modality


def named(name: str) -> Modality:
    """A modality of this folder."""
    found: Modality = import_module(f"{__name__}.{name}").MODALITY
    return found


def of_run(run: str | Path) -> Modality:
    """What a run learnt from; pictures, where a file of weights is all that there is."""
    method = RunFolder(Path(run)).method
    return named("pictures") if method is None else of(method)
