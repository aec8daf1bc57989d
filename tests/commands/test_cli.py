"""What the command line says to a typo, and to programs."""

import json
import sys

import pytest

import semblance as sb
from semblance import systems
from semblance.__main__ import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit status of `semblance ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["semblance", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("train", "simcrl"), "Did you mean 'simclr'?"),
        (("train", "--epoch", "3"), "Did you mean --epochs?"),
        (("train", "--without", "negative"), "Did you mean 'negatives'?"),
        (("train", "--backbone", "resnet81", "--data", "digits"), "resnet"),
        (("trian",), "Did you mean"),
        (("train", "--lr", "fast"), "fast"),
        (("train", "--batch-size", "1"), "--batch-size"),
        (("evaluate", "nowhere"), "No trained backbone"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_a_mistake_is_one_hint_and_no_traceback(
    arguments: tuple[str, ...], hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) != 0
    told = "".join(capsys.readouterr())
    assert hint in " ".join(told.split()) and "Traceback" not in told
    assert not list(tmp_path.iterdir())


def test_methods_are_listed_and_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "methods") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("simclr", "byol", "redundancy"))
    assert run(monkeypatch, "methods", "byol") == 0
    page = capsys.readouterr().out
    assert all(part in page for part in ("BYOL", "moving average", "stop_gradient", "momentum", "imagenet"))
    assert run(monkeypatch, "methods", "byo") == 2
    assert "Did you mean 'byol'" in capsys.readouterr().err


def test_the_map_of_methods_cuts_no_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(monkeypatch, "methods") == 0
    listed = capsys.readouterr().out
    words = {word for name in sb.methods() for word in systems.get(name).paper.split(", arXiv")[0].split()}
    words |= {guard for name in sb.methods() for guard in systems.get(name).guards}
    assert {word.strip(",") for word in words} <= {word.strip(",") for word in listed.split()}
    assert max(map(len, listed.splitlines()[:-1])) <= 80


def test_methods_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "methods", "--json") == 0
    about = json.loads(capsys.readouterr().out)
    assert [method["method"] for method in about] == sb.methods()
    assert all(method["guards"] and {"imagenet", "small", "quick"} <= set(method["recipes"]) for method in about)


def test_help_names_every_flag(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "train", "--help") == 0
    told = capsys.readouterr().out
    assert all(flag in told for flag in ("--data", "--backbone", "--resume", "--without", "--eval-every"))
