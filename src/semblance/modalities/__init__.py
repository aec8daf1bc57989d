"""The modalities: a module each, of the name by which methods call it. A method may bring a Modality of its own."""

from importlib import import_module
from pathlib import Path

from semblance import systems
from semblance.modalities.modality import Modality

NAMES = ("pictures", "clips")


def of(method: str) -> Modality:
    """What the samples of a method are."""
    modality = systems.get(method).modality
    return named(modality) if isinstance(modality, str) else modality


def named(name: str) -> Modality:
    found: Modality = import_module(f"{__name__}.{name}").MODALITY
    return found


def of_run(run: str | Path) -> Modality:
    """What a run, or a backbone's file, learnt from."""
    from semblance.runs.config import TrainConfig

    path = Path(run)
    if (path / "audio_backbone.safetensors").is_file():
        return named("clips")
    if (config := path / "config.yaml").is_file() and ".py:" in config.read_text():
        return of(TrainConfig.load(config).method)
    return named("pictures")
