"""Whole files: links in their place are replaced, names aside cannot be guessed, permissions are the umask's."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ranks import processes

from semblance.errors import CannotWrite
from semblance.report import page
from semblance.runs import checkpoint
from semblance.runs.folder import RunFolder
from semblance.runtime import atomic_files
from semblance.runtime.atomic_files import clear_leftovers, folder_aside, write_atomically


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_a_link_in_its_place_is_replaced(tmp_path: Path, umask: None) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    write_atomically(tmp_path / "file", lambda file: file.write(b"whole"))
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "whole" and not (tmp_path / "file").is_symlink()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_every_file_of_a_run_replaces_a_link(tmp_path: Path) -> None:
    """Where it is appended to, it is refused."""
    folder, victim = RunFolder(tmp_path), tmp_path / "elsewhere"
    victim.write_text("mine")
    summary = {"method": "simclr", "title": "SimCLR", "family": "contrastive", "paper": "", "data": "", "table": []}
    writers: dict[Path, Any] = {
        folder.report: lambda: page.write_report(
            folder.report, config={}, metrics=[], summary=summary, constants={}, views=None, gallery=None
        ),
        folder.checkpoint: lambda: checkpoint.save(folder.checkpoint, {}),
        folder.summary: lambda: folder.write(folder.summary, {}),
        folder.metrics: lambda: folder.rewind(0),
    }
    for path, write in writers.items():
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(victim)
        if path == folder.metrics:
            with pytest.raises(CannotWrite, match="metrics.jsonl"):
                folder.log(step=1)
        write()
        assert not path.is_symlink() and victim.read_text() == "mine"


def test_names_aside_are_new_each_time_and_never_opened_where_something_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for _ in range(3):
        write_atomically(tmp_path / "file", lambda file: seen.append(*tmp_path.glob(".semblance-*")))
    assert len(set(seen)) == 3
    victim = tmp_path / "victim"
    monkeypatch.setattr(atomic_files, "name_aside", lambda: ".semblance-0123456789abcdef.tmp")
    (tmp_path / ".semblance-0123456789abcdef.tmp").symlink_to(victim)
    with pytest.raises(CannotWrite, match="File exists"):
        write_atomically(tmp_path / "other", lambda file: file.write(b"x"))
    assert not victim.exists()


def _die(file: Any) -> None:
    os.kill(os.getpid(), 9)


def _die_in_folder(folder: Path) -> None:
    with folder_aside(folder) as aside:
        (aside / "half").touch()
        os.kill(os.getpid(), 9)


def test_leftovers_of_the_dead_are_cleared_and_what_the_living_write_is_not(tmp_path: Path) -> None:
    for target, argument in ((write_atomically, (tmp_path / "file", _die)), (_die_in_folder, (tmp_path / "folder",))):
        killed = processes.Process(target=target, args=argument)
        killed.start()
        killed.join()
    own = tmp_path / ".semblance-notes.tmp"
    own.touch()
    assert 2 <= len(list(tmp_path.iterdir())) <= 3  # the second clears what the first has left

    def write(file: Any) -> None:
        clear_leftovers(tmp_path)
        file.write(b"whole")

    write_atomically(tmp_path / "file", write)
    assert {p.name for p in tmp_path.iterdir()} == {"file", own.name} and (tmp_path / "file").read_bytes() == b"whole"


def test_a_folder_takes_its_name_once_it_is_whole(tmp_path: Path) -> None:
    with folder_aside(tmp_path / "new" / "folder") as aside:
        (aside / "file").touch()
        assert not (tmp_path / "new" / "folder").exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["folder"] and (tmp_path / "new/folder/file").exists()
    with pytest.raises(CannotWrite), folder_aside(tmp_path / "other") as aside:
        raise OSError(28, "No space left on device")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "file", lambda file: file.write(b""))
    with pytest.raises(CannotWrite, match="No such file"):
        write_atomically(tmp_path / "gone" / "new" / "file", lambda file: file.write(b""))
