"""The model card of a folder for a hub: README.md, made of what the run itself has left."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import yaml

from semblance import systems
from semblance.errors import UserError
from semblance.runs.config import TrainConfig
from semblance.runs.export.again import command
from semblance.runs.export.network import Leaving
from semblance.runs.options import Optimisation

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_OF_THE_RECIPE = (
    "recipe", "hyper", "without", "seed", "image_size", *Optimisation.model_fields, "epochs", "max_steps", "precision",
)  # fmt: skip
_UNKNOWN = "It was exported without its run: by which method, on what and for how long it was trained is not said here."


@dataclass
class Told:
    """What a card tells. config: of the run, None where that is not known, and then nothing but versions. headline,
    evidence: of the verdict. tables: of what was measured, on what, and how. data: what it learnt from, in words.
    step: that the network is of, where that is known. other: in a sentence, that it is not what the run hands out."""

    config: TrainConfig | None = None
    headline: str = ""
    evidence: Sequence[str] = ()
    tables: Sequence[tuple[list[str], list[list[str]]]] = ()
    measured_on: str = ""
    protocol: str = ""
    data: str = ""
    step: int | None = None
    other: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def check_licence(licence: str | None) -> None:
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise UserError(f"--licence {licence}: give it as hubs write it, such as mit or cc-by-4.0.")


def card(leaving: Leaving, told: Told, code: str, licence: str | None) -> str:
    """The text of README.md. code: lines that load the folder PATH."""
    config = told.config
    cls = systems.get(config.method) if config else None
    method = [config.method.rpartition(":")[2]] if config else []
    front = {
        "library_name": "timm", "pipeline_tag": "image-feature-extraction",
        "tags": ["image-feature-extraction", "timm", "self-supervised-learning", "semblance", *method],
    }  # fmt: skip
    front |= {} if licence is None else {"license": licence}
    size = leaving.inputs.shape[-1]
    network = f"{leaving.backbone}, {leaving.expected.shape[1]} features of pictures of {size} px"
    step = "" if told.step is None else f", to step {told.step:,}"
    learnt = f"Trained without labels by {cls.title} ({cls.paper}) on {told.data}{step}." if cls else _UNKNOWN
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {leaving.backbone}{f', trained by {cls.title}' if cls else ''}",
        f"**{told.headline}**" if told.headline else "",
        f"{network}. {learnt}",
        told.other,
        "\n".join(f"- {line}" for line in told.evidence),
        f"## Use\n\n```python\n{code}\nfeatures = network(transform(picture)[None])  # an RGB picture of PIL\n```",
        "PATH is this folder; on a hub, `hf-hub:` and its name stand for `local-dir:PATH`. With `num_classes=10` it "
        "is a classifier of 10 classes, whose last layer begins at random.",
        "\n\n".join(["## What was measured", *(_table(*t) for t in told.tables), _on(told)]) if told.tables else "",
        f"## Recipe\n\n{_table(['option', 'value'], _recipe(config))}\n\n{_again(config)}" if config else "",
        f"## Data\n\n{told.data[:1].upper()}{told.data[1:]}. {_labels(config)}" if config else "",
        f"## Licence\n\n{licence or 'None was given: ask whoever gave you this folder'}{_of_the_start(config)}",
        f"## Versions\n\nWritten with {', '.join(f'{name} {number}' for name, number in told.versions.items())}.",
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _labels(config: TrainConfig) -> str:
    chose = config.keep == "best" and config.began_with_weights
    return (
        f"Labels, where there were any, served measuring{' and choosing among its checkpoints' if chose else ''} only."
    )


def _of_the_start(config: TrainConfig | None) -> str:
    """Of weights of others, that their licence goes on."""
    return f". It began with {PurePath(config.init).name}, whose licence goes on." if config and config.init else ""


def _on(told: Told) -> str:
    return f"On {told.measured_on}. {told.protocol}".strip()


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _recipe(config: TrainConfig) -> list[list[str]]:
    values = {name: getattr(config, name) for name in _OF_THE_RECIPE}
    values |= {n: PurePath(v).name for n in ("init", "from_run") if (v := getattr(config, n)) is not None}
    return [[name, _text(value)] for name, value in values.items() if value not in (None, [], {})]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return f"{value:g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else str(value)


def _again(config: TrainConfig) -> str:
    """What trains such a network again, on pictures of one's own."""
    line, whole = command(config)
    more = "Not all of it can be said by flags: give the run's config.yaml by `--config`."
    return f"```bash\n{line}\n```" + ("" if whole else f"\n\n{more}")
