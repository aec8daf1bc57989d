"""`semblance methods`: the map of all systems, and the explanation of one."""

from typing import Any

from rich.console import Console
from rich.table import Table

console = Console(highlight=False, markup=False)


def list_all(methods: list[dict[str, Any]]) -> None:
    """One row per method, family after family."""
    table = Table()
    for heading in ("method", "what stops the collapse", "views as published", "state", "cost", "paper"):
        table.add_column(heading, overflow="fold")
    family = None
    for m in methods:
        if m["family"] != family:
            family = m["family"]
            table.add_section()
            table.add_row(f"[bold]{family}[/bold]")
        table.add_row(m["method"], ", ".join(m["guards"]), m["views"], ", ".join(m["state"]), _cost(m), m["paper"])
    Console(highlight=False).print(table)
    console.print("cost: of a step, relative to SimCLR's (benchmarks/costs.py)")


def explain(m: dict[str, Any]) -> None:
    """A page on one method."""
    console.print(f"{m['title']} ({m['family']}), {m['paper']}\n")
    console.print(m["picture"])
    console.print(f"\nloss: {m['equation']}\ncost of a step relative to SimCLR: {_cost(m)}\n", soft_wrap=True)
    for heading, lines in (
        ("What stops the collapse (switch off with --without NAME)", m["guards"]),
        ("State beside the weights", m["state"]),
        ("Hyper-parameters as published (set with --hyper.NAME)", m["defaults"]),
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
        table.add_row(key, *(_cell(m["recipes"][name][key]) for name in names))
    console.print(table)


def _cost(m: dict[str, Any]) -> str:
    return "not measured" if m["cost"] is None else str(m["cost"])


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{k} {v}" for k, v in value.items())
    return str(value)
