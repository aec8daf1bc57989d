"""The one error type a user is meant to read: it says what is wrong and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches

from semblance.shown import shortened, shown


class UserError(ValueError):
    """A mistake in the input, not in the program; the command line prints it without a traceback.

    told: its lines, one each, whatever names they hold.
    """

    def __init__(self, *told: str) -> None:
        super().__init__(*map(shown, told))

    def __str__(self) -> str:
        return "\n".join(self.args)


class CannotWrite(UserError):
    """The disk is full, read-only, or gone."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after which all ranks have ended the same step and saved it."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """An error for a name nobody knows, with the nearest known one."""
    known = sorted(known)
    lower = {k.lower(): k for k in known}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    hint = f"Did you mean {lower[close[0]]!r}? " if close else ""
    return UserError(f"Unknown {kind} '{shortened(name)}'. {hint}Known: {', '.join(known) or 'none'}.")
