"""`semblance methods`: all of them in the order of a lecture, a family, a method."""

import json
from pathlib import Path

import pytest
from command_line import run

from semblance import systems
from semblance.systems.families import FAMILIES

ORDER = ["contrastive", "clustering", "distillation", "redundancy reduction"]


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(monkeypatch, "methods", *arguments) == 0
    return capsys.readouterr().out


def test_families_come_in_the_order_of_a_lecture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [family.name for family in FAMILIES] == ORDER
    found = [m["family"] for m in json.loads(told(monkeypatch, capsys, "--json"))]
    assert list(dict.fromkeys(found)) == ORDER and found == sorted(found, key=ORDER.index)
    text = told(monkeypatch, capsys)
    rows = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert [rows.index(name) for name in systems.names()] == sorted(rows.index(name) for name in systems.names())


def test_every_method_belongs_to_a_family_and_no_folder_is_forgotten() -> None:
    folders = {path.parent.name for path in Path(systems.__file__).parent.glob("*/__init__.py")}
    assert folders == {family.folder for family in FAMILIES}
    assert {systems.get(name).family for name in systems.names()} == set(ORDER)
    assert all(systems.get(family.example).family == family.name for family in FAMILIES)


@pytest.mark.parametrize("spelling", ["redundancy-reduction", "Redundancy Reduction", "redundancy_reduction"])
def test_a_family_has_a_page(
    spelling: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(told(monkeypatch, capsys, spelling).split())
    family = systems.family(spelling)
    assert family is not None
    assert all(" ".join(part.split()) in text for part in (family.idea, family.trivial, family.watch))
    members = [systems.get(n) for n in systems.names() if systems.get(n).family == family.name]
    assert len(members) == 3
    for cls in members:
        assert cls.title in text and " ".join(cls.equation.split()) in text and " ".join(cls.picture.split()) in text
        assert all(f"--without {guard}" in text for guard in cls.guards)
    assert "SimCLR" not in text


@pytest.mark.parametrize("name", ORDER)
def test_a_family_is_told_to_programs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(told(monkeypatch, capsys, name, "--json"))
    assert found["family"] == name and found["answer"] and found["trivial_solution"]
    assert [m["method"] for m in found["methods"]] == [n for n in systems.names() if systems.get(n).family == name]
    assert found["example"] in {m["method"] for m in found["methods"]}


@pytest.mark.parametrize(
    ("typed", "meant"), [("contrastve", "contrastive"), ("clusterng", "clustering"), ("simcrl", "simclr")]
)
def test_a_typo_is_understood(
    typed: str, meant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "methods", typed) == 2
    assert f"Unknown method or family '{typed}'. Did you mean '{meant}'?" in capsys.readouterr().err
