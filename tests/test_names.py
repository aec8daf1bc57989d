"""Names that are no text: bytes that are not UTF-8, escape codes, line ends, marks, markup.

All finishes with them, on any terminal, and none of them is obeyed.
"""

import io
import json
import os
import pickle
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semblance as sb
from semblance.commands.printing import print_skipped, print_tables, say, status
from semblance.shown import quoted, shown

NAMES = {
    "bytes": b"caf\xe9",
    "escape": b"a\x1b[31mred\x07",
    "line": b"two\nsemblance: lines\r",
    "bidi": "abc\u202egnp.exe\u2066".encode(),
    "markup": b"[b]bold[/b] [/] :cat: {x} %s $\\alpha$ <script>alert(1)<",
    "accent": "caf\u00e9 \u56fe".encode(),
    "long": b"x" * 200,
}
FAST = [
    "--recipe",
    "quick",
    "--backbone",
    "resnet10-w8-cifar",
    "--image-size",
    "16",
    "--batch-size",
    "8",
    "--max-steps",
    "2",
    "--precision",
    "32",
    "--no-compile",
    "--no-channels-last",
    "--workers",
    "0",
]
ENVIRONMENTS = {
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
}


def semblance(*arguments: str | bytes, environment: str = "utf-8", **options) -> tuple[str, str]:
    """stdout and stderr of a command that succeeds, as the bytes of this environment's encoding."""
    command = [os.fsencode(a) for a in (sys.executable, "-m", "semblance", *arguments)]
    done = subprocess.run(
        command, env=os.environ | ENVIRONMENTS[environment], capture_output=True, timeout=120, **options
    )
    encoding = ENVIRONMENTS[environment]["PYTHONIOENCODING"]
    out, told = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert done.returncode == 0, told
    for text in (out, told):
        assert all(c.isprintable() or c in "\n " for c in text), ascii(text)
    return out, told


def pictures(folder: bytes, names: Iterable[bytes]) -> None:
    """A class of each name with a picture of each name, and a damaged file of each in the first one."""
    names = [name.replace(b"/", b"") for name in names]
    for c, kind in enumerate(names):
        os.makedirs(os.path.join(folder, kind))
        for i, own in enumerate((*names, *(b"%02d" % i for i in range(9)))):
            pixels = np.random.default_rng(90 * c + i).integers(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(os.fsdecode(os.path.join(folder, kind, own + b".png")))
    for name in names:
        with open(os.path.join(folder, names[0], name + b" bad.png"), "wb") as file:
            file.write(b"no picture")


@pytest.mark.long
@pytest.mark.parametrize("environment", ["utf-8", "ascii"])
def test_a_run_with_such_names_finishes(environment: str, tmp_path: Path) -> None:
    """Of classes, pictures, damaged files, the data's folder and the run's own folder."""
    home = os.fsencode(tmp_path)
    odd = b"".join(NAMES[kind] for kind in ("bytes", "escape", "line", "bidi", "accent")) + b" [b]"
    data, run = home + b"/data " + odd, home + b"/run " + odd
    pictures(data, NAMES.values())
    out, told = semblance("train", "--data", data, "--out", run, *FAST, environment=environment)
    n = len(NAMES)
    assert f"{n} unreadable files" in out and len([line for line in out.splitlines() if " bad.png: " in line]) == n
    folder = Path(os.fsdecode(run))
    summary = json.loads((folder / "summary.json").read_bytes())
    assert all(shown(kept) == kept for kept in (summary["data"], *(name for name, _ in summary["skipped"])))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>") and not any(c in page for c in ("<script>", "\x1b", "\u202e"))
    assert "[b]bold[b] [] :cat: {x} %s $\\alpha$ &lt;script&gt;alert(1)&lt;" in page
    _, told = semblance("train", "--resume", run, "--max-steps", "3", environment=environment)
    assert "Nothing was left" not in told
    out, _ = semblance("evaluate", run, environment=environment)
    assert "trained backbone" in " ".join(out.split())
    features = home + b"/" + odd + b".npz"
    semblance("embed", run, "--data", data, "--out", features, environment=environment)
    kept = np.load(os.fsdecode(features))
    assert len(kept["names"]) == len(kept["features"]) == n * (n + 9)
    if environment == "utf-8":
        assert all((Path(os.fsdecode(data)) / name).exists() for name in kept["names"])
        semblance("report", run)


def test_a_run_goes_on_in_another_locale(tmp_path: Path) -> None:
    data, run = os.fsencode(tmp_path / "caf\u00e9"), os.fsencode(tmp_path / "run")
    pictures(data, ["\u00e9".encode(), b"dog"])
    semblance("train", "--data", data, "--out", run, *FAST)
    _, told = semblance("train", "--resume", run, "--max-steps", "3", environment="ascii")
    assert "caf\\xc3\\xa9" in told
    semblance("evaluate", run)


@pytest.mark.parametrize("kind", NAMES)
def test_a_quoted_name_is_the_name_in_a_shell(kind: str, tmp_path: Path) -> None:
    path = os.fsdecode(NAMES[kind].replace(b"/", b""))
    word = quoted(path)
    assert word.isprintable() and "\n" not in word
    printed = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert printed == os.fsencode(path)
    if path.isprintable():
        assert shlex.split(word) == [path]


def test_an_error_holds_no_code_that_a_terminal_obeys() -> None:
    error = sb.UserError("one\x1b[31m", "and \udce9 two\u202e\r\nof a name")
    assert str(error) == "one\\x1b[31m\nand \\xe9 two\\u202e\\r\\nof a name"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_line_end_in_a_name_ends_no_line_of_an_error(tmp_path: Path) -> None:
    """Whatever the name is of; semblance: stands before each line."""
    strange = "no\n[b]\x1b[31m\r\nsuch"
    for words in ("train", f"--{strange}"), ("train", "--labels", strange), (strange,), ("embed", strange, strange):
        done = subprocess.run([sys.executable, "-m", "semblance", *words], capture_output=True, text=True, cwd=tmp_path)
        told = [line for line in done.stderr.splitlines() if line not in ("Getting ready ...", "Reading shapes ...")]
        assert done.returncode == 2 and len(told) == 1, (words, done.stderr)


def test_a_terminal_without_the_letters_is_given_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python, too, where stdout is somebody else's."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    say("caf\u00e9 \u56fe", result=True)
    print_tables([(["\u00e9"], [["\u56fe"]])], "\u00e9")
    assert b"caf\\xe9 \\u56fe\n" in written.getvalue()


def test_a_name_of_markup_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[b]x[/b] [/] :cat: {0} %s \x1b[31m"
    as_shown = shown(name)
    say(name, result=True)
    print_skipped([(name, name)])
    print_tables([([name], [[name]])], name)
    with status(name):
        pass
    out, told = capsys.readouterr()
    assert out.count(as_shown) == 6 and as_shown in told and "\x1b" not in out + told
