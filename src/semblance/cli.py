"""The command line: the public functions as commands."""

import json
from typing import Annotated

from cyclopts import App, Parameter

from . import __version__, api

app = App(
    name="semblance", version=__version__,
    help="Train image and audio-visual encoders without labels, by joint embedding.",
    help_on_error=False, result_action="return_value", suppress_keyboard_interrupt=False,
)  # fmt: skip
app.command(api.train)
app.command(api.evaluate)
app.command(api.embed)


@app.command(name="methods")
def list_methods(
    name: str | None = None, *, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """List the methods: family, what keeps each from collapsing, views, state, paper; or explain one.

    Parameters
    ----------
    name
        A method to explain: its equation, branches, guards, constants and recipes.
    as_json
        Print JSON, for programs.
    """
    from .systems import names
    from .systems.describe import about

    methods = [about(n) for n in ([name] if name else names())]
    if as_json:
        print(json.dumps(methods[0] if name else methods, indent=2, ensure_ascii=False))
        return
    from .methods_page import explain, list_all

    explain(methods[0]) if name else list_all(methods)
