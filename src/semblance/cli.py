"""The command line: the public functions, with errors that need no traceback."""

import json
import sys
from typing import Annotated

from cyclopts import App, Parameter

from . import __version__, api
from .errors import UserError

app = App(
    name="semblance", help="Train image encoders without labels, by joint embedding.", version=__version__,
    help_on_error=False, result_action="return_value",
)  # fmt: skip
app.command(api.train)
app.command(api.evaluate)
app.command(api.embed)


@app.command(name="methods")
def list_methods(*, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """List the methods: family, what keeps each from collapsing, paper.

    Parameters
    ----------
    as_json
        Print JSON, for programs.
    """
    from .systems import get, names

    classes = {name: get(name) for name in names()}
    if as_json:
        about = [
            {"method": n, "family": c.family, "guards": c.guards, "recipes": list(c.recipes), "paper": c.paper}
            for n, c in classes.items()
        ]
        print(json.dumps(about, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "family", "guards against collapse", "paper")
    for name, c in classes.items():
        table.add_row(name, c.family, ", ".join(c.guards), c.paper)
    Console().print(table)


def _plain(error: UserError) -> str:
    """Every line of an error marked as ours."""
    return "\n".join(f"semblance: {line}" for line in str(error).splitlines())


def main() -> None:
    """Entry point of `semblance`."""
    try:
        app()
    except UserError as error:
        print(_plain(error), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        if not stop.args:  # else the run has said how to go on
            print("semblance: stopped.", file=sys.stderr)
        sys.exit(130)
