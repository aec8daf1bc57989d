"""The examples of docs/own_parts.md run as they stand there, in an empty folder."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "docs" / "own_parts.md"


@pytest.mark.long
def test_the_examples_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", DOC.read_text(), re.DOTALL)
    files = {text.split("\n")[0].removeprefix("# "): text for kind, text in blocks if kind == "python"}
    assert list(files) == ["my.py", "train.py"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    commands = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
    assert len(commands) == 2
    told = [_run(tmp_path, "-m", *shlex.split(command)) for command in commands]
    assert "trained backbone" in told[1]
    assert "trained backbone torch.Size([64, 32])" in _run(tmp_path, "train.py")
    for run in ("by-name", "functions", "objects"):
        assert (tmp_path / run / "report.html").exists()


def _run(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout
