"""The command that trains such a network again, on pictures of one's own."""

from pathlib import PurePath
from typing import Any

from semblance.runs.config import TrainConfig
from semblance.runs.init.published import TIMM
from semblance.runs.options import Optimisation, flag
from semblance.runs.resolve import resolve
from semblance.runtime import named
from semblance.shown import quoted

_ALWAYS = ("recipe", "backbone", "image_size", "epochs", "max_steps", "batch_size", "seed", "without")
_WHERE_OTHER = ("crop_from", *list(Optimisation.model_fields)[1:], "eval_every", "keep")  # without batch_size
_ANY_START = f"{TIMM}resnet18"  # a run's own may be gone, and all have the same defaults


def command(config: TrainConfig) -> tuple[str, bool]:
    """With flags of what differs from the defaults, and whether they are all that it takes. Of paths the last part."""
    given: dict[str, Any] = {name: value for name in _ALWAYS if (value := getattr(config, name)) not in (None, [])}
    start = None if named.is_handed_over(config.init or "") else config.init
    known = {"method": config.method} | ({"init": _ANY_START} if start else {})
    for name in _WHERE_OTHER:  # in turn, since defaults follow from each other
        if getattr(resolve(known | given), name) != getattr(config, name):
            given[name] = getattr(config, name)
    usual = resolve(known | given)
    given["hyper"] = {name: value for name, value in config.hyper.items() if usual.hyper.get(name) != value}
    flips = {view.flip_p for view in config.pictures}
    if len(flips) == 1 and flips != {view.flip_p for view in usual.pictures}:
        given["flip_p"] = flips.pop()
    found = resolve(known | given)
    alike = all(getattr(found, name) == getattr(config, name) for name in (*_WHERE_OTHER, "hyper", "views"))
    handed_over = any(map(named.is_handed_over, (config.method, config.init or "")))
    beside = {"init": start, "from_run": config.from_run}
    file, _, name = config.method.rpartition(":")
    words = ["semblance train", f"{PurePath(file).name}:{name}" if file else name, "--data PICTURES"]
    words += [_as_flags(name, value) for name, value in given.items() if value not in (None, {})]
    words += [f"{flag(name)} {quoted(PurePath(value).name)}" for name, value in beside.items() if value]
    return " ".join(words), alike and not handed_over and not config.from_run


def _as_flags(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{flag(f'{name}.{part}')} {quoted(each)}" for part, each in value.items())
    if isinstance(value, bool):
        return flag(name if value else f"no_{name}")
    return f"{flag(name)} {' '.join(map(quoted, value)) if isinstance(value, list) else quoted(value)}"
