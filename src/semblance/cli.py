"""The command line: the public functions as commands, the options of `train` in their groups."""

import json
import sys
from collections.abc import Callable, Sequence
from inspect import Parameter as Argument
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args

from cyclopts import (
    App,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    Token,
    UnknownOptionError,
    UnusedCliTokensError,
)

from semblance import __version__, api
from semblance.errors import UserError
from semblance.runs.options import GROUPED, LOGGERS, UNSPOKEN, TrainOptions, misnamed
from semblance.runtime.getting_ready import getting_ready

_HEADINGS = {
    heading: Group(heading, sort_key=place)
    for place, heading in enumerate(dict.fromkeys(str(group.__doc__) for group in GROUPED.values()))
}


def train(*method: str, **flags: Any) -> dict[str, Any]:
    """Train an encoder without labels, measure it, and leave a run folder with the backbone and a report."""
    started = getting_ready()
    from semblance.commands import train as command

    if method:  # positional
        flags["method"] = method[0]
    if flags.get("log") == []:
        raise UserError(f"--log needs the name of a logger: {', '.join(LOGGERS)}; or none.")
    if (resume := flags.pop("resume", None)) is not None:  # [] of --resume alone, [RUN] of --resume RUN
        if len(resume) > 1:
            raise UserError(f"--resume takes one folder, not {len(resume)}: {' '.join(resume)}.")
        flags["resume"] = resume[0] if resume else True
    return command.train(TrainOptions.of(flags), started)


def _flag(argument: Argument) -> Argument:
    """An argument of api.train with its group and help."""
    name, kind = argument.name, argument.annotation
    told: dict[str, Any] = {
        "group": _HEADINGS[str(GROUPED[name].__doc__)],
        "help": " ".join(str(TrainOptions.model_fields[name].description).split()),
    }
    if name == "resume":
        annotation = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=(), **told)]
        return argument.replace(annotation=annotation, default=None)
    if name == "data":  # several times for several
        return argument.replace(annotation=Annotated[list[str] | None, Parameter(negative=(), **told)])
    if name == "from_run":
        told["name"] = ("--from", "--from-run")
    if name in ("without", "log", "dry_run", "unlabelled"):
        told["negative"] = ()
    if name in ("without", "log"):
        kind, told["consume_multiple"] = list[str] | None, True
    for number, word in ((int, INT), (float, FLOAT)):
        if number in (kind, *get_args(kind)):
            kind, told["converter"] = word, _as_typed
    return argument.replace(annotation=Annotated[kind, Parameter(**told)])


class INT(str):
    """A number as it is typed, named as help shows it; TrainOptions converts it, and tells all mistakes at once."""


class FLOAT(str):
    """The same of another kind."""


def _as_typed(kind: type[str], words: Sequence[Token]) -> str:
    return kind(words[0].value)


def run() -> None:
    """Run the command that was typed; a UserError says what is wrong with it."""
    try:
        app(sys.argv[1:])
    except CycloptsError as error:
        raise UserError(_told(error)) from error


def _told(error: CycloptsError) -> str:
    """A mistake in the arguments in a line: of an option that there is not, what there is instead."""
    if isinstance(error, UnknownOptionError) and error.command_chain == ("train",):
        return misnamed(str(error.token.keyword or error.token.value))
    if isinstance(error, UnusedCliTokensError):
        hint = " Data is named by --data." if error.command_chain == ("train",) else ""
        return f"Not understood: {' '.join(error.unused_tokens or [])}.{hint}"
    if isinstance(error, MissingArgumentError) and error.argument and error.argument.name == "--run":
        return f"semblance {' '.join(error.command_chain or ())} needs a run: the folder that train printed."
    if isinstance(error, MissingArgumentError) and error.command_chain == ("check",):
        return "semblance check needs a method: FILE.py:CLASS, or the name of a built-in one (semblance methods)."
    return " ".join(str(error).split())


_arguments = [_flag(a) for a in signature(api.train).parameters.values() if a.name not in UNSPOKEN]
train.__signature__ = signature(api.train).replace(parameters=_arguments)  # type: ignore[attr-defined]
train.__annotations__ = {a.name: a.annotation for a in _arguments}


def embed(*run: str, **flags: Any) -> None:
    if (data := flags.pop("data", None)) is not None:
        flags["data"] = data[0] if len(data) == 1 else data
    api.embed(*run, **flags)


def export(*run: str, **flags: Any) -> None:
    api.export(*run, **flags)


_FILES = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())]
for command, words in ((embed, {"run": str, "out": str | None, "data": _FILES}), (export, {"run": str, "out": str})):
    public = getattr(api, command.__name__)  # what Python takes paths for, a command line takes words for
    taken = [a.replace(annotation=words.get(a.name, a.annotation)) for a in signature(public).parameters.values()]
    command.__signature__ = signature(public).replace(parameters=taken)  # type: ignore[attr-defined]
    command.__doc__ = public.__doc__

app = App(
    name="semblance", version=__version__,
    help="Train image and audio-visual encoders without labels, by joint embedding.",
    exit_on_error=False, print_error=False, help_on_error=False, result_action="return_value",
    suppress_keyboard_interrupt=False,
)  # fmt: skip
app.command(train)
app.command(api.evaluate)
app.command(embed)
app.command(export)


@app.command
def report(run: str, *, data: str | None = None) -> Path:
    """Draw the report of a run anew, or of one that was stopped, from its last checkpoint.

    Parameters
    ----------
    run
        A run folder.
    data
        Where its samples lie now, if they have moved.
    """
    getting_ready()
    from semblance.commands import report as command

    return command.report(run, data)


@app.command
def doctor(run: str, *, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> NoReturn:
    """Say whether a run has learnt anything, finished or not, and what to do next.

    Ends with 0 (learnt, little), 3 (collapsed, diverged) or 4 (too-short, cannot-tell).

    Parameters
    ----------
    run
        A run folder.
    as_json
        Print JSON, for programs.
    """
    from semblance.commands import doctor as command

    found = command.doctor(run)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        command.tell_all(found)
    sys.exit(command.EXIT[found.state])


@app.command
def check(
    method: str, *,
    thorough: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> NoReturn:  # fmt: skip
    """Hold a method to the contract of all methods: its gradient, ranks, resuming, precision, negatives, guards, ...

    At most five minutes of two cores. Ends with 0, or with 3 where a promise breaks or was not judged.

    Parameters
    ----------
    method
        A method of your own as FILE.py:CLASS, or a built-in one.
    thorough
        On four processes too: ten minutes.
    as_json
        Print JSON, for programs.
    """
    getting_ready()
    from semblance.commands import check as command

    checked = command.check(method, thorough, command.progress(method, thorough))
    print(json.dumps(checked.as_json(), indent=2)) if as_json else command.tell(checked)
    sys.exit(0 if checked.holds else command.BROKEN)


@app.command
def lesson(
    *methods: str, out: str | None = None,
    clips: Annotated[bool, Parameter(negative=())] = False,
    without: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    steps: int | None = None, seed: int = 0,
) -> Path:  # fmt: skip
    """Train a method of each family with and without what keeps it from collapsing, and make a page to project.

    The page, lesson.html, needs no network. Ctrl-C leaves one of the methods that were finished.

    Parameters
    ----------
    methods
        Methods to show instead of simclr, swav, simsiam and barlow-twins, in the order of their families.
    out
        Folder of the page. Default: runs/lesson-1, -2, ...
    clips
        Add AVID and CMA, with sound.
    without
        Guards to switch off in the methods that have them. Default: the first of each.
    steps
        Steps of each run. Default: as many as three minutes on two cores allow, and two more with --clips.
    seed
        Every random choice follows from it.
    """
    getting_ready()
    from semblance.commands import lesson as command

    return command.lesson(methods, out=out, clips=clips, without=without or (), steps=steps, seed=seed)


@app.command(name="methods")
def list_methods(
    name: str | None = None, *, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """List the methods: family, what keeps each from collapsing, views, state, paper; or explain one, or a family.

    Parameters
    ----------
    name
        A method to explain: its equation, branches, guards, constants and recipes; or a family, such as clustering:
        its answer to the trivial solution, and its methods.
    as_json
        Print JSON, for programs.
    """
    from semblance.commands import methods as command
    from semblance.systems import canonical, family
    from semblance.systems.describe import about, about_all, about_family

    told: Any
    show: Callable[[Any], None]
    if name is None:
        told, show = about_all(), command.list_all
    elif (found := family(name)) is not None:
        told, show = about_family(found), command.explain_family
    else:
        told, show = about(canonical(name, families=True)), command.explain
    print(json.dumps(told, indent=2)) if as_json else show(told)
