"""Starting with the weights of another run."""

from pathlib import Path

from semblance.data.samples import Samples
from semblance.errors import UserError
from semblance.runs import checkpoint
from semblance.runs.folder import RunFolder
from semblance.shown import shown
from semblance.systems import Method


def go_on_from(run: str, method: Method, samples: Samples) -> None:
    """Start a method with the weights, banks and constants of a finished run on the same samples.

    What it alone has stays as it is; what only the other run has is left out.
    """
    path, told = RunFolder(Path(run)).checkpoint, f"--from {shown(run)}"
    if not path.exists():
        raise UserError(f"{told}: there is no checkpoint at {shown(path)}.")
    state = checkpoint.load(path)
    if state.get("samples") != samples.fingerprint():
        raise UserError(
            f"{told} was trained on other data than {shown(samples.name)}: its banks hold an embedding of each of its "
            "own samples. Train it on this data first."
        )
    own = method.state_dict()
    shared = {name: value for name, value in state["method"].items() if name in own}
    differing = checkpoint.differing({name: own[name] for name in shared}, shared)
    parts = [{name.split(".")[0] for name in names} for names in (own, state["method"])]
    differing += [name for name in own.keys() ^ state["method"].keys() if all(name.split(".")[0] in p for p in parts)]
    if differing or not any(name.startswith("backbone.") for name in shared):
        raise UserError(
            f"{told} has other networks than this run ({', '.join(sorted(differing)[:3]) or 'none in common'}): "
            "give it the same --recipe, --backbone, --audio-backbone and --hyper."
        )
    method.load_state_dict(shared, strict=False)
