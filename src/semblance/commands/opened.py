"""A run as it was left, finished or stopped: its configuration, and its networks on the best device."""

from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from semblance import modalities
from semblance.data.samples import Samples
from semblance.errors import UserError
from semblance.modalities.build import build
from semblance.modalities.modality import Modality
from semblance.runs import checkpoint, weights
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.left import handed_out
from semblance.runs.options import SAID, TrainOptions, flag, said_anew
from semblance.runs.resolve import absolute, resolve
from semblance.runs.transform import AsMeasured, canvas_of
from semblance.runtime.device import best_device
from semblance.shown import shown
from semblance.systems import Method


@dataclass
class Opened:
    """config: the run's, with what was given anew. folder: None for a backbone by itself. state: of the checkpoint that
    is handed out, empty where there is none. step: the last of the run. file: the backbone to be measured where there
    is no checkpoint. network: student, teacher, or None for the one that its authors evaluate. resplit: whether labels
    or split of the run's own data are given anew. notes: what is to be told beside the results."""

    config: TrainConfig
    modality: Modality
    folder: RunFolder | None
    state: dict[str, Any]
    step: int
    file: Path
    network: str | None
    resplit: bool = False
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, run: str | Path, network: str | None = None, *, moved: bool = False, **given: Any) -> "Opened":
        """A run folder, or a backbone of pictures by itself. given: data, what is said of its labels and split, and
        options of measuring; None: the run's. What was said of the run's data is not true of other data, but where that
        has only moved.

        Raises UserError where there is nothing to be measured, and for options that cannot be.
        """
        if network not in (None, "student", "teacher"):
            raise UserError(f"--network is student or teacher, not {network}.")
        options = TrainOptions.of(given)
        if options.problems:
            raise UserError(*options.problems)
        anew, path = said_anew(options.given), Path(run)
        if path.is_dir() and (folder := RunFolder(path)).config.exists():
            own = TrainConfig.load(folder.config)
            notes, other = [], absolute(anew.get("data", own.data)) != own.data
            resplit = not other and any(name in anew for name in SAID)
            if other and not moved:
                left = [name for name in SAID if getattr(own, name) and name not in anew]
                anew = {name: TrainConfig.model_fields[name].default for name in SAID} | anew
                if left:
                    notes.append(f"{', '.join(map(flag, left))} of the run: not of the data that is named now.")
            state, step = handed_out(folder)
            about = state or (weights.read_metadata(folder.backbone)[1] if folder.backbone.exists() else {})
            config = own.model_copy(update=anew | {"canvas": canvas_of(about)})
            modality = modalities.of(config.method)
            opened = cls(config, modality, folder, state, step, folder.backbone, network, resplit, notes)
            if not state and not (opened.file.exists() and opened.modality is modalities.named("pictures")):
                diverged = "it diverged before its first. Begin anew with a lower rate."
                stopped = "it stopped before its first. Go on with --resume."
                told = diverged if folder.diverged.exists() else stopped
                raise UserError(f"{shown(path)} has no checkpoint to measure: {told}")
            if (earlier := opened.earlier) is not None:
                notes.append(f"Handed out is the network of step {earlier:,}, the best of the run up to step {step:,}.")
            return opened
        file, _ = weights.read_metadata(path)
        return cls(_config_of(file, anew), modalities.named("pictures"), None, {}, 0, file, network)

    def method(self, samples: Samples | None = None) -> Method:
        """The trained method, in evaluation mode on the best device; its memory banks are empty but where the samples
        are those that it was trained on."""
        method = self._of_checkpoint(samples) if self.state else self._of_file()
        values = chain(method.named_parameters(), method.encoder.named_buffers(prefix="backbone"))
        lost = [name for name, value in values if not value.isfinite().all()]
        if lost:
            where = self.folder.checkpoint if self.folder and self.state else self.file
            raise UserError(
                f"{shown(where)} holds weights that are not finite numbers, as {shown(lost[0])}: nothing can be "
                "computed with them. Train anew with a lower --lr."
            )
        device = best_device()
        if self.config.precision == "bf16" and method.modality == "clips" and device.type == "cpu":
            self.notes.append("Measured in float32: on a CPU bf16 has been seen to fail with clips.")
            self.config = self.config.model_copy(update={"precision": "32"})
        return self.placed(method)

    def placed(self, method: Method) -> Method:
        """A method as the run computed with it, on the best device."""
        method = method.to(best_device(), torch.float64 if self.config.precision == "64" else torch.float32)
        return method.to(memory_format=self.config.layout).eval()

    @property
    def earlier(self) -> int | None:
        """The step of the network that is handed out, where it is not the last."""
        step = self.state.get("step", self.step)
        return None if step == self.step else step

    @property
    def transform(self) -> AsMeasured:
        """What it shows its backbone of a picture."""
        config = self.config
        return AsMeasured(config.image_size, config.load_size, config.canvas, config.grey_levels)

    def is_own(self, samples: Samples) -> bool:
        """Whether the samples are those that the run was trained on."""
        return self.state.get("samples") == samples.fingerprint()

    def _of_checkpoint(self, samples: Samples | None) -> Method:
        method = build(self.config, self.modality)
        if samples is not None and self.is_own(samples):
            method.prepare(len(samples))
        if self.config.precision == "64":
            method.double()  # before the weights come, or they are rounded
        own, saved = method.state_dict(), self.state["method"]
        if lost := checkpoint.differing(own, saved):
            raise UserError(
                f"The checkpoint of {shown(self.folder and self.folder.path)} does not hold the networks of its "
                f"config.yaml: {len(lost)} of {len(own)} tensors are missing or of another shape "
                f"or kind of number, as {shown(lost[0])}."
            )
        method.load_state_dict({name: saved[name] for name in own})
        method.network = self.network or method.network
        if method.network == "teacher" and method.teacher is None:
            raise UserError(f"{method.title} has no teacher: leave out --network.")
        return method

    def _of_file(self) -> Method:
        backbone, about = weights.load_with_metadata(self.file)
        held = about.get("network", "student")
        if self.network not in (None, held):
            raise UserError(f"{shown(self.file)} is the {held} alone: name a run folder with its checkpoint.")
        return Method(backbone)


def _config_of(file: Path, anew: dict[str, Any]) -> TrainConfig:
    """How a backbone saw pictures, by what was written about it; without data, on that of the run it lies in."""
    _, about = weights.read_metadata(file)
    if "backbone" not in about:
        raise UserError(f"{shown(file)} is not a backbone of pictures: name the run's folder instead.")
    if "data" not in anew:
        if not RunFolder(file.parent).config.exists():
            raise UserError(f"{shown(file)} lies in no run, which would have data of its own: name some with --data.")
        config = TrainConfig.load(RunFolder(file.parent).config)
        anew = {name: getattr(config, name) for name in ("data", "data_root", *SAID)} | anew
    config = resolve({name: about[name] for name in weights.SEEN if about.get(name) is not None} | anew)
    return config.model_copy(update={"canvas": canvas_of(about)})
