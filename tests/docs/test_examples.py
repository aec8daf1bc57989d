"""What stands in docs/ to be copied runs as it stands there, each example by itself, in an empty folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from semblance import systems

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = {
    re.sub(r"\W+", "-", heading.lower()): code
    for heading, code in re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```$",
                                    (DOCS / "parts.md").read_text(), re.M | re.S)
}  # fmt: skip


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_part_has_an_example() -> None:
    text = "\n".join(EXAMPLES.values())
    parts = ["sb.losses.", "sb.views.", "method = get(", "sb.step(", "sb.knn(", "sb.linear_probe(", "callbacks=["]
    assert len(EXAMPLES) == len(parts) and all(part in text for part in parts)
    assert len(re.findall(r"^```python", (DOCS / "parts.md").read_text(), re.M)) == len(parts)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run(example: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(EXAMPLES[example])
    run(tmp_path, "example.py")


def test_a_method_of_ones_own_in_60_lines(tmp_path: Path) -> None:
    """The file of the page, from an empty folder: it trains, and its guard is one."""
    name, code = re.findall(r"^```python (\S+)\n(.*?)^```$", (DOCS / "own_method.md").read_text(), re.M | re.S)[0]
    assert len(code.splitlines()) <= 60
    (tmp_path / name).write_text(code)
    flags = ["--max-steps", "30", "--data", "digits", "--unlabelled"]
    told = run(tmp_path, "-m", "semblance", "train", f"{name}:MyMethod", *flags, "--out", "run")
    assert "backbone.safetensors" in told and (tmp_path / "run" / "report.html").exists()
    method = systems.get(f"{tmp_path / name}:MyMethod")
    assert method.title == "My DCL" and list(method.guards) == ["negatives"]
