"""What a model card tells of the network that leaves: nothing that its run has not left in words or numbers."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from semblance import systems
from semblance.commands.doctor import doctor
from semblance.commands.opened import Opened
from semblance.data import Source
from semblance.data.sources import named
from semblance.errors import UserError
from semblance.report.tables import without_labels
from semblance.runs.config import TrainConfig
from semblance.runs.export import proof
from semblance.runs.export.card import Told
from semblance.runs.folder import RunFolder
from semblance.runs.left import is_written


def told_of(opened: Opened, source: Source[Any], network: str) -> Told:
    """Of a backbone whose run is not at hand, or has gone on, versions alone; of a stopped run no table; of a network
    that the run does not hand out neither table nor verdict.

    source: of the samples that prove it. network: student or teacher.
    """
    told = Told(versions=proof.versions("hub"))
    folder = opened.folder or _run_of(opened.file, opened.config.backbone)
    if folder is None:
        return told
    told.config = config = TrainConfig.load(folder.config)  # as it was trained, whatever proves it
    summary = folder.read_summary()
    if opened.state and summary.get("steps") != opened.step:
        summary = {}
    kept = summary.get("handed_out_step") if summary.get("handed_out", "last") != "last" else opened.earlier
    told.step = opened.state.get("step", summary.get("steps") if kept is None else kept)
    count = summary.get("train_images", len(source.train) if opened.config.data == config.data else None)
    whose = f"the set {config.data}" if config.data in list(named.NAMES) else "a set of the makers' own"
    told.data = f"{'' if count is None else f'{count:,} '}pictures of {whose}"
    own = systems.get(config.method).network
    if network != own:
        told.other = f"This is the {network}. The run itself hands out the {own}, and was measured by that."
        return told
    if summary or kept is None:
        with suppress(UserError):  # without a log
            found = doctor(folder.path)
            told.headline = found.headline
            told.evidence = [evidence.reads for evidence in found.evidence] if kept != 0 else []  # of a later step
    if summary:
        told.tables = opened.modality.tables(summary) or without_labels(summary["table"])
        measured = summary["measured"]
        told.measured_on = f"{measured['test']:,} held-out pictures, by {measured['train']:,} to train on"
        told.protocol = summary.get("protocol", "")
    return told


def _run_of(file: Path, backbone: str) -> RunFolder | None:
    """The run that has written a backbone and hands it out, where it lies in its folder."""
    folder = RunFolder(file.parent)
    own = file.absolute() == folder.backbone.absolute() and folder.named("backbone") == backbone
    return folder if own and is_written(file, folder) else None
