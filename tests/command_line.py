"""The command line, called within the test's process."""

import sys

import pytest

from semblance.__main__ import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit status of `semblance ARGUMENTS`; an error that is no line to a person comes through."""
    monkeypatch.setattr(sys, "argv", ["semblance", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
