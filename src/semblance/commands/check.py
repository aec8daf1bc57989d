"""`semblance check`: a method held to its contract, as a table, with the likely mistake where a promise breaks."""

from collections.abc import Callable
from math import inf

from semblance import systems
from semblance.checking.check import Checked, built_in, check
from semblance.checking.promises import PROMISES, Finding
from semblance.commands.printing import print_tables, say
from semblance.shown import shown

__all__ = ["BROKEN", "check", "progress", "tell"]

BROKEN = 3  # what the command ends with where a promise breaks, or was not judged


def progress(method: str, thorough: bool) -> Callable[[Finding], None]:
    """Says that the check begins; what it returns says of each promise what came of it."""
    systems.get(method)  # what is wrong with its name or file is told before
    promises = [p.name for p in PROMISES if thorough or not p.thorough]
    say(f"Checking {shown(method)}: {len(promises)} promises, at most {'ten' if thorough else 'five'} minutes ...")

    def told(finding: Finding) -> None:
        if finding.state != "not judged":
            say(f"{promises.index(finding.promise) + 1} of {len(promises)}: {finding.promise}: {finding.state}")

    return told


def tell(checked: Checked) -> None:
    """The verdict, a row for each promise, and what is likely wrong."""
    say(checked.verdict, result=True)
    rows = []
    for finding in checked.findings:
        promise = next(p for p in PROMISES if p.name == finding.promise)
        number = "" if finding.number is None else _number(finding.number)
        rows.append([finding.promise, finding.state, number, _number(promise.allowed), _of_built_in(finding.promise)])
    print_tables(
        [(["promise", "", "deviates by", "allowed", "built-in methods"], rows)], checked.method.rpartition("/")[2]
    )
    if checked.note:
        say(checked.note, result=True)
    for n, mistake in enumerate(checked.mistakes, 1):
        say(f"\n{n}. {mistake.title} ({', '.join(mistake.promises)}).", result=True)
        for clue in mistake.clues[:5]:
            say(f"   {clue}.", result=True)
        say(f"   {mistake.remedy}", result=True)


def _of_built_in(promise: str) -> str:
    """From the least to the most that a built-in method deviates by."""
    numbers = [n for n in built_in(promise).values() if n is not None]
    if not numbers:
        return ""
    least, most = _number(min(numbers)), _number(max(numbers))
    return least if least == most else f"{least} to {most}"


def _number(value: float) -> str:
    if value == inf:
        return "inf"
    return f"{value:g}" if value == int(value) else f"{value:.1g}".replace("e-0", "e-")
