"""`semblance methods`: the map of all systems, and the explanation of one."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from semblance.runtime.terminal import console


def list_all(methods: list[dict[str, Any]]) -> None:
    """One row per method, family after family, then those of other packages, and what is wrong with any."""
    terminal = console()
    broken = [m for m in methods if "problem" in m]
    methods = [m for m in methods if "problem" not in m]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    rows = [
        (m["method"], ", ".join(m["guards"]), m["views"], ", ".join(m["state"]).replace(".rows", ""), _cost(m),
         _source(m))
        for m in methods
    ]  # fmt: skip
    headings = ("method", "what stops the collapse", "views as published", "state", "cost", "paper")
    columns = [[heading, *cells] for heading, *cells in zip(headings, *rows, strict=True)]
    least = [max(map(len, " ".join(cells).split())) for cells in columns]  # no word is cut
    more = [max(map(len, cells)) - width for cells, width in zip(columns, least, strict=True)]
    share = min(1, max(0, terminal.width - sum(least) - 2 * len(columns) + 1) / sum(more))  # beside dividers
    for heading, width, wanted in zip(headings, least, more, strict=True):
        table.add_column(heading, width=width + int(share * wanted))
    family = None
    for m, row in zip(methods, rows, strict=True):
        heading = m["family"] if m["package"] == "semblance" else f"of other packages: {m['family']}"
        if heading != family:
            family = heading
            table.add_section()
            table.add_row(Text(family, "bold"))
        table.add_row(*row)
    terminal.print(table)
    terminal.print(
        "cost: of a step of its `small` recipe with a ResNet-10 at 32 px on a CPU, relative to SimCLR's, without the "
        "work at the start of an epoch (benchmarks/costs.py)",
        soft_wrap=True,
    )
    for m in broken:
        terminal.print(f"{m['method']} of {m['package']}: {m['problem']}", soft_wrap=True)


def explain_family(family: dict[str, Any]) -> None:
    """A page on one family: its answer to the trivial solution, then its methods."""
    terminal = console()

    def say(text: str = "") -> None:
        terminal.print(text, width=min(100, terminal.width))

    say(f"{family['family'].capitalize()}: {family['idea']}\n")
    say(f"The trivial solution: {family['trivial_solution']}\n")
    say(f"Why not here: {family['answer']}\n")
    say(f"What to look at: {family['watch']}.\n")
    for m in family["methods"]:
        terminal.print(f"{m['title']} ({m['method']}), {m['paper']}", style="bold", soft_wrap=True)
        terminal.print(m["picture"])
        terminal.print(f"loss: {m['equation']}", soft_wrap=True)
        for name, text in m["guards"].items():
            terminal.print(f"  --without {name:<18} {text}", soft_wrap=True)
        terminal.print()
    terminal.print(f"See it with and without: semblance lesson {family['example']}", soft_wrap=True)
    terminal.print(f"More of one: semblance methods {family['example']}", soft_wrap=True)


def explain(m: dict[str, Any]) -> None:
    """A page on one method."""
    terminal = console()
    terminal.print(f"{m['title']} ({m['family']}){', ' if _source(m) else ''}{_source(m)}\n")
    terminal.print(m["picture"])
    terminal.print(f"\nloss: {m['equation'] or 'not told'}", soft_wrap=True)
    for recipe, told in m["recipes"].items():
        for point, level in told["levels_of_the_loss"].items():
            value = "" if level is None else f"{level:.4g}"
            terminal.print(f"  {recipe:<8} {value:<6} {point}", soft_wrap=True)
    terminal.print(f"cost of a step of `small`, relative to SimCLR's: {_cost(m)}\n")
    for heading, lines in (
        ("What stops the collapse (switch off with --without NAME)", m["guards"]),
        ("State beside the weights", m["state"]),
        ("Hyper-parameters where a recipe has none of its own (set with --hyper.NAME)", m["defaults"]),
    ):
        terminal.print(heading)
        for name, text in lines.items():
            terminal.print(f"  {name:<20} {text}", soft_wrap=True)
        if not lines:
            terminal.print("  none")
        terminal.print()
    names = list(m["recipes"])
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("recipe", width=17)  # leaves the others 20 of 80
    for name in names:
        table.add_column(name, overflow="fold")
    for key in [key for key in m["recipes"][names[0]] if key != "levels_of_the_loss"]:
        table.add_row(key.replace("_", " "), *(_cell(m["recipes"][name][key]) for name in names))
    terminal.print(table)


def _source(m: dict[str, Any]) -> str:
    """The paper, and the package of another's."""
    package = "" if m["package"] == "semblance" else f"package {m['package']}"
    return ", ".join(filter(None, (m["paper"].split(", arXiv")[0], package)))


def _cost(m: dict[str, Any]) -> str:
    return "–" if m["cost"] is None else str(m["cost"])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "\n\n".join(map(_cell, value))
    if isinstance(value, dict):
        return "\n".join(f"{k} {_cell(v)}" for k, v in value.items())
    if isinstance(value, tuple):
        return " ".join(f"{v:g}" for v in value)
    return str(value)
