"""`semblance methods`: the map of all systems, and the explanation of one."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

console = Console(highlight=False, markup=False)


def list_all(methods: list[dict[str, Any]]) -> None:
    """One row per method, family after family."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    rows = [
        (m["method"], ", ".join(m["guards"]), m["views"], ", ".join(m["state"]).replace(".rows", ""), _cost(m),
         m["paper"].split(", arXiv")[0])
        for m in methods
    ]  # fmt: skip
    headings = ("method", "what stops the collapse", "views as published", "state", "cost", "paper")
    for heading, cells in zip(headings, zip(*rows, strict=True), strict=True):
        words = " ".join([heading, *cells]).split()
        table.add_column(heading, min_width=max(map(len, words)))  # no word is cut
    family = None
    for m, row in zip(methods, rows, strict=True):
        if m["family"] != family:
            family = m["family"]
            table.add_section()
            table.add_row(f"[bold]{family}[/bold]")
        table.add_row(*row)
    Console(highlight=False).print(table)
    console.print(
        "cost: of a step of its `small` recipe with a ResNet-10 at 32 px on a CPU, relative to SimCLR's, without the "
        "work at the start of an epoch (benchmarks/costs.py)",
        soft_wrap=True,
    )


def explain(m: dict[str, Any]) -> None:
    """A page on one method."""
    console.print(f"{m['title']} ({m['family']}), {m['paper']}\n")
    console.print(m["picture"])
    console.print(f"\nloss: {m['equation']}", soft_wrap=True)
    for point, level in m["levels"].items():
        console.print(f"  {level:.4g}  {point}", soft_wrap=True)
    console.print(f"cost of a step of `small`, relative to SimCLR's: {_cost(m)}\n")
    for heading, lines in (
        ("What stops the collapse (switch off with --without NAME)", m["guards"]),
        ("State beside the weights", m["state"]),
        ("Hyper-parameters where a recipe has none of its own (set with --hyper.NAME)", m["defaults"]),
    ):
        console.print(heading)
        for name, text in lines.items():
            console.print(f"  {name:<20} {text}", soft_wrap=True)
        if not lines:
            console.print("  none")
        console.print()
    names = list(m["recipes"])
    table = Table("recipe", *names)
    for key in m["recipes"][names[0]]:
        table.add_row(key.replace("_", " "), *(_cell(m["recipes"][name][key]) for name in names))
    console.print(table)


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
