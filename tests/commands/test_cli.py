"""What the command line says to a typo, and to programs."""

import json
import subprocess
import sys

import pytest
from command_line import run

import semblance as sb
from semblance import systems
from semblance.cli import UNSPOKEN
from semblance.runs.options import GROUPED, flag


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("train", "simcrl"), "Did you mean 'simclr'?"),
        (("train", "--epoch", "3"), "Did you mean --epochs?"),
        (("doctor",), "semblance doctor needs a run: the folder that train printed."),
        (("train", "--pretrained"), "There is no --pretrained. --init WEIGHTS starts with weights: a file"),
        (("train", "--output", "x"), "The folder of the run is --out."),
        (("train", "--lr-scheduler", "step"), "by a cosine to --final-lr."),
        (("train", "--temperature", "1"), "--hyper.temperature."),
        (("train", "swav", "--hyper.freeze-epochs", "-1"), "--hyper.freeze_epochs: Input should be greater than"),
        (("train", "--resume"), "--resume needs a folder: name the run to go on with, --resume RUN."),
        (("train", "--resume", "nowhere"), "No run in nowhere"),
        (("train", "--resume", "nowhere", "elsewhere"), "--resume takes one folder, not 2"),
        (("train", "--config", "nowhere.yaml"), "cannot be read: No such file"),
        (("train", "mine.py:Mine"), "There is no file"),
        (("train", "mine.py"), "name the method as mine.py:NAME"),
        (("train", "simclr", "photos/"), "Not understood: photos/. Data is named by --data."),
        (("train", "--cuda"), "A GPU is used where there is one"),
        (("train", "--without", "negative"), "Did you mean 'negatives'?"),
        (("train", "--backbone", "resnet81", "--data", "digits"), "resnet"),
        (("trian",), "semblance: Unknown command"),
        (("evaluate",), "semblance evaluate needs a run"),
        (("evaluate", "x", "y"), "semblance: Not understood: y."),
        (("methods", "--jsonn"), "Did you mean --json?"),
        (("train", "--ep\x1b[31mochs\udce9"), "There is no --ep\\x1b[31mochs\\xe9."),
        (("train", "--epochs", "10" * 8), "--epochs: Input should be less than"),
        (("train", "--max-steps", "9" * 5000), "--max-steps: "),
        (("train", "--image-size", "100000"), "--image-size: Input should be less than"),
        (("train", "--workers", "1000000"), "--workers: Input should be less than"),
        (("train", "--devices", "1000000"), "--devices: Input should be less than"),
        (("train", "--lr", "1e300"), "--lr: Input should be less than"),
        (("train", "--hyper.layers", "1e9"), "--hyper.layers: Input should be less than"),
        (("train", "--hyper.temperature", "nan"), "--hyper.temperature: Input should be a finite number"),
        (("train", "moco", "--hyper.queue", "1e15"), "--hyper.queue: Input should be less than"),
        (("train", "moco", "--hyper.queue", "1e9", "--data", "digits"), "Out of memory"),
        (("train", "avid", "--hyper.cross", "0", "--hyper.within", "0"), "AVID has nothing to learn from: give one of"),
        (("train", "avid", "--hyper.cross", "-1"), "--hyper.cross: Input should be greater than"),
        (
            ("train", "vicreg", "--hyper.invariance", "0", "--without", "variance", "covariance"),
            "VICReg has nothing to",
        ),
        (
            ("train", "--backbone", "resnet18.nonsense", "--data", "digits"),
            "Unknown weights of resnet18 in timm 'nonsense'. Known: a1_in1k",
        ),
        (("train", "--backbone", "resnet18-w0", "--data", "digits"), "give a width of 2 to 4096"),
        (("train", "--backbone", "resnet18-w99999999", "--data", "digits"), "give a width of 2 to 4096"),
        (("train", "--data", "x" * 300), "semblance: "),
        (("train", "--data", ""), "--data: a name is wanted, and this is empty"),
        (("report", "x" * 300), "semblance: "),
        (("train", "--lr", "fast"), "fast"),
        (("train", "--batch-size", "1"), "--batch-size"),
        (("evaluate", "nowhere"), "No trained backbone at nowhere. Train one with: semblance train --out nowhere"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_a_mistake_is_one_hint_and_no_traceback(
    arguments: tuple[str, ...], hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    told = "".join(capsys.readouterr())
    assert hint in " ".join(told.split()) and "Traceback" not in told
    assert not list(tmp_path.iterdir())


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--batch-size 1 --epochs 1.5 --lr -1 --image-size big --optimizer sdg --without foo negatives"
    assert run(monkeypatch, "train", *flags.split(), "--hyper.temperature", "-1") == 2
    lines = capsys.readouterr().err.splitlines()
    heads = [
        "--batch-size: ",
        "--epochs: ",
        "--lr: ",
        "--image-size: ",
        "'foo'",
        "--hyper.temp",
        "'sdg'",
    ]
    assert len(lines) == len(heads) and "pydantic" not in str(lines)
    assert all(sum(head in line for line in lines) == 1 for head in heads)


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


def test_help_names_every_flag_in_its_group(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, "train", "--help") == 0
    told = capsys.readouterr().out
    headings = list(dict.fromkeys(str(group.__doc__) for group in GROUPED.values()))
    places = [told.index(f"─ {heading} ─") for heading in headings]
    assert places == sorted(places)
    for name, group in GROUPED.items():
        if name not in UNSPOKEN:
            place = headings.index(str(group.__doc__))
            assert flag(name) in told[places[place] : [*places, len(told)][place + 1]], name


def test_help_waits_for_no_torch() -> None:
    script = "import sys; sys.argv = ['semblance', 'train', '--help']\nfrom semblance.__main__ import main\nmain()\n"
    script += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
