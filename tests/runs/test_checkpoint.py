"""A checkpoint is whole or not there, is only data, and survives kill -9."""

import os
import pickle
from pathlib import Path
from unittest import mock

import pytest
import torch
from tiny import tiny_config, tiny_method, train

from semblance.errors import CannotWrite, UserError
from semblance.runs import checkpoint
from semblance.runs.folder import RunFolder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good checkpoint in a folder of its own."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint.save(path, {"step": 1, "weights": torch.arange(1000.0)})
    return path


def test_failed_write_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    before = path.read_bytes()

    def half(file) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CannotWrite, match="last.ckpt: No space"):
        checkpoint.write_atomically(path, half)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_file_is_on_the_disk_before_it_takes_the_name(path: Path) -> None:
    done = []
    replace, fsync = Path.replace, os.fsync
    with (
        mock.patch.object(os, "fsync", lambda fd: (done.append("fsync"), fsync(fd))),
        mock.patch.object(Path, "replace", lambda a, b: (done.append("rename"), replace(a, b))),
    ):
        checkpoint.write_atomically(path, lambda file: file.write(b"new"))
    assert done == ["fsync", "rename", "fsync"]


def test_truncated_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a whole checkpoint"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", pickle.dumps({"step": 1})], ids=range(3))
def test_foreign_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a whole checkpoint"):
        checkpoint.load(path)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_code_is_refused_and_not_run(path: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    torch.save({"method": Bomb(mark)}, path)
    with pytest.raises(UserError, match="not a whole checkpoint"):
        checkpoint.load(path)
    assert not mark.exists()


def test_missing_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without --resume"):
        checkpoint.load(tmp_path / "last.ckpt")


@pytest.mark.parametrize("state", [{"step": 1}, torch.zeros(3), {"method": 3, "optimizer": {}}], ids=range(3))
def test_checkpoint_of_something_else_is_refused(state: object, tmp_path: Path) -> None:
    config = tiny_config("simclr")
    checkpoint.save(RunFolder(tmp_path).checkpoint, state)
    with pytest.raises(UserError, match="last.ckpt"):
        train(tiny_method(config), config, tmp_path, resume=True)


def test_checkpoint_of_another_backbone_is_refused(tmp_path: Path) -> None:
    config = tiny_config("simclr", max_steps=2)
    train(tiny_method(config), config, tmp_path)
    other = tiny_config("simclr", max_steps=2, backbone="resnet18")
    with pytest.raises(UserError, match="of another run"):
        train(tiny_method(other), other, tmp_path, resume=True)


@pytest.mark.parametrize("flags", [{"seed": 1}, {"batch_size": 8}, {"optimizer": "sgd"}, {"precision": "64"}], ids=str)
def test_checkpoint_of_another_run_of_the_method_is_refused(flags: dict, tmp_path: Path) -> None:
    config, other = tiny_config("simclr", max_steps=2), tiny_config("simclr", max_steps=2, **flags)
    train(tiny_method(other), other, tmp_path)
    with pytest.raises(UserError, match="of another run"):
        train(tiny_method(config), config, tmp_path, resume=True)


@pytest.mark.parametrize(
    "spoilt", [{"step": -1}, {"step": "3"}, {"step": 2.5}, {"seconds": "x"}, {"optimizer": {}}, {"method": {}}], ids=str
)
def test_spoilt_checkpoint_of_the_run_is_refused(spoilt: dict, tmp_path: Path) -> None:
    config, path = tiny_config("simclr", max_steps=2), RunFolder(tmp_path).checkpoint
    train(tiny_method(config), config, tmp_path)
    checkpoint.save(path, checkpoint.load(path) | spoilt)
    with pytest.raises(UserError, match="does not belong to this run"):
        train(tiny_method(config), config, tmp_path, resume=True)


def test_checkpoint_without_its_samples_is_refused(tmp_path: Path) -> None:
    config, path = tiny_config("simclr", max_steps=2), RunFolder(tmp_path).checkpoint
    train(tiny_method(config), config, tmp_path)
    checkpoint.save(path, {name: part for name, part in checkpoint.load(path).items() if name != "samples"})
    with pytest.raises(UserError, match="samples of tiny"):
        train(tiny_method(config), config, tmp_path, resume=True)
