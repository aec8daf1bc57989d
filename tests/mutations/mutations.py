"""Small faults in what turns a run into a number, planted one at a time in a copy of the source: a test has to fail.

python tests/mutations/mutations.py WORD ...     those with a word in what they are or where, or all: what caught each
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "semblance"


class Mutation(NamedTuple):
    """In a file, `old`, which stands there once, becomes `new`; the test should fail."""

    file: str
    what: str
    old: str
    new: str
    test: str


MUTATIONS = [
    Mutation(file, **mutation)
    for file, mutations in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text()).items()
    for mutation in mutations
]


def caught(mutation: Mutation) -> bool:
    """Whether the test fails where the fault is planted."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "semblance"
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / mutation.file
        file.write_text(file.read_text().replace(mutation.old, mutation.new))
        options = ["-n", "0", "-x", "-q", "-p", "no:cacheprovider", "--basetemp", f"{folder}/tests"]
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *options, f"tests/{mutation.test}"],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": folder}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        if ended.returncode not in (0, 1):  # the test was not found, or could not be run
            raise RuntimeError(ended.stdout + ended.stderr)
        return ended.returncode == 1


if __name__ == "__main__":
    chosen = [m for m in MUTATIONS if not sys.argv[1:] or any(w in f"{m.what} {m.file}" for w in sys.argv[1:])]
    print("| fault | planted in | caught by |\n|---|---|---|")
    for mutation in chosen:
        by = mutation.test.replace("::", ": ") if caught(mutation) else "**nothing**"
        print(f"| {mutation.what} | {mutation.file} | {by} |", flush=True)
