"""--dry-run: all that a run would be, and what it would take, without a trace of it."""

from pathlib import Path

import numpy as np
import pytest
import yaml

import semblance as sb
from semblance import systems
from semblance.errors import UserError
from semblance.runs.resolve import resolve

QUIET = {"channels_last": False, "compile": False, "precision": "32"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    path = tmp_path / "pictures.npz"
    x = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    np.savez(path, x_train=x, x_test=x[:8], y_test=np.arange(8) % 2)
    return path


def test_it_tells_everything_and_leaves_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = QUIET | {"data": str(pictures), "recipe": "quick", "image_size": 16, "batch_size": 10, "epochs": 3}
    found = sb.train("simclr", dry_run=True, **flags)
    told = capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["pictures.npz"]
    assert found["steps"] == 12 and found["seconds"] > 0 and found["bytes"] > 2**20
    config = yaml.safe_load(told.split("pictures.npz: 40 pictures")[0])
    assert config == yaml.safe_load(resolve({"method": "simclr"} | flags).yaml())
    for part in ("40 pictures to train on, 8 held out; labels: none", "Only one of the training and the test part",
                 "12 steps, 4 an epoch", "GiB of memory"):  # fmt: skip
        assert part in told


@pytest.mark.parametrize("method", [m for m in sb.methods() if systems.get(m).of_pictures()])
def test_every_method_can_be_tried(method: str, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that group the whole set between steps, too, of which it is told."""
    flags = QUIET | {"recipe": "quick", "image_size": 8, "backbone": "resnet10-w8-cifar", "batch_size": 10}
    assert sb.train(method, dry_run=True, data=str(pictures), **flags)["steps"] > 0
    said = "Work on the whole set between steps comes on top" in capsys.readouterr().out
    assert said == (systems.get(method).start_step is not systems.Method.start_step)


def test_it_tells_what_is_left_of_a_run(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = QUIET | {"data": str(pictures), "recipe": "quick", "image_size": 8, "backbone": "resnet10-w8-cifar"}
    run = tmp_path / "run"
    sb.train(out=run, batch_size=10, epochs=1, eval_every=0, **flags)
    assert sb.train(resume=run, dry_run=True)["steps"] == 4 and "is finished" in capsys.readouterr().err
    assert sb.train(resume=run, dry_run=True, epochs=3)["steps"] == 8
    assert "8 steps after 4, 4 an epoch" in capsys.readouterr().out
    with pytest.raises(UserError, match="already holds a run"):
        sb.train(out=run, dry_run=True, batch_size=10, **flags)
