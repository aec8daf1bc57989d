"""Options: one model for flags, keyword arguments, --config and config.yaml; what is wrong is told all at once."""

import json
from pathlib import Path

import pytest
import yaml

import semblance as sb
from semblance import systems
from semblance.errors import UserError
from semblance.runs.config import TrainConfig
from semblance.runs.options import HABITS, TrainOptions, flag, misnamed
from semblance.runs.resolve import resolve


def told(**flags: object) -> list[str]:
    """What is said of options, a line each."""
    with pytest.raises(UserError) as error:
        sb.train(**flags)
    return str(error.value).splitlines()


def test_problems_of_every_kind_are_told_at_once(tmp_path: Path) -> None:
    """Unknown options, types, ranges, guards, hyper-parameters, names; before any data is looked for."""
    lines = told(
        method="simclr", data=tmp_path / "nowhere", epoch=3, lr="fast", batch_size=1, optimizer="sdg",
        without=["negative"], hyper={"temperatur": 1, "dim": -1}, mel=3,
    )  # fmt: skip
    for part in (
        "There is no --epoch. Did you mean --epochs?", "--lr: ", "--batch-size: ", "'sdg'. Did you mean 'sgd'?",
        "guard of SimCLR 'negative'. Did you mean 'negatives'?", "'temperatur'. Did you mean 'temperature'?",
        "--hyper.dim: ", "--mel: SimCLR learns from pictures alone",
    ):  # fmt: skip
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 8
    assert told(method="simcrl", epochs=0)[0].startswith("--epochs: ")


@pytest.mark.parametrize("method", systems.names())
def test_the_configuration_of_a_run_is_a_valid_config(method: str, tmp_path: Path) -> None:
    for recipe in systems.get(method).recipes:
        config = resolve({"method": method, "recipe": recipe, "batch_size": 96, "flip_p": 0.25})
        config.save(tmp_path / "config.yaml")
        assert resolve({"config": tmp_path / "config.yaml"}) == config == TrainConfig.load(tmp_path / "config.yaml")


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("method: byol\nepochs: 7\nhyper: {hidden: 64}\nlr:\n")
    config = resolve({"config": str(file), "epochs": 9})
    assert (config.method, config.epochs, config.hyper["hidden"]) == ("byol", 9, 64)
    assert config.lr == resolve({"method": "byol"}).lr  # what the file leaves open stays open
    assert resolve({"config": str(file), "method": "simclr"}).method == "simclr"


def test_views_of_a_file_follow_the_size_that_a_flag_gives(tmp_path: Path) -> None:
    resolve({"method": "dino", "recipe": "small", "data": "pictures"}).save(tmp_path / "config.yaml")
    given = resolve({"config": tmp_path / "config.yaml", "image_size": 64})
    assert given.views == resolve({"method": "dino", "recipe": "small", "data": "pictures", "image_size": 64}).views


def test_what_follows_from_another_value_goes_along_with_it(tmp_path: Path) -> None:
    """Beside the configuration of a run: rates of biases with the rate, the size of stored pictures with the views."""
    flags = {"method": "barlow-twins", "recipe": "imagenet", "data": "pictures", "hyper": {"dim": 64}}
    resolve(flags).save(tmp_path / "config.yaml")
    for changed in ({"lr": 0.5}, {"image_size": 160}, {"hyper": {"dim": 64, "lambda_": 0.1}}):
        assert resolve({"config": tmp_path} | changed) == resolve(flags | changed)
    assert resolve({"config": tmp_path, "hyper": {"lambda_": 0.1}}).hyper["dim"] == 64
    for name, value in (("recipe", "small"), ("method", "simclr")):
        with pytest.raises(UserError, match=f"--{name} {value} does not fit the --config"):
            resolve({"config": tmp_path, name: value})


def test_a_file_may_use_the_names_of_flags(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("batch-size: 32\nprecision: 32\n")
    config = resolve({"config": tmp_path / "mine.yaml"})
    assert (config.batch_size, config.precision) == (32, "32")
    (tmp_path / "mine.yaml").write_text("from: nowhere\n")
    with pytest.raises(UserError, match="No run in nowhere"):
        resolve({"config": tmp_path / "mine.yaml"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch: 3", "There is no --epoch. Did you mean --epochs?"),
        ("out: here", "out is given as a flag"),
        ("lr: [1", "is not YAML"),
        ("- 1", "holds no options"),
        ("batch_size: many", "--batch-size: .*many"),
        ("views: [{size: 32, colour: 2}]", "views: a view has no colour; it has bicubic"),
        ("views: [{size: 32}]", "views: SimCLR takes 2 views of a sample here, these are 1"),
        ("views: [{size: big}, {size: 3}]", "views: .*size"),
    ],
)
def test_a_file_that_is_wrong_is_told(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        sb.train(config=tmp_path / "mine.yaml")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        sb.train(config=tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("spelt", "name"),
    [("SimCLR", "simclr"), ("barlow_twins", "barlow-twins"), ("BarlowTwins", "barlow-twins"), ("MoCo v3", "moco-v3"),
     ("deepclusterv2", "deepcluster-v2"), ("AVID_CMA", "avid-cma"), ("CMA", "avid-cma"), ("Wu2018", "npid")],
)  # fmt: skip
def test_names_of_methods_in_other_spellings(spelt: str, name: str) -> None:
    assert resolve({"method": spelt}).method == name and systems.get(spelt) is systems.get(name)


def test_every_title_is_a_name() -> None:
    assert [systems.canonical(systems.get(name).title) for name in systems.names()] == systems.names()


def test_what_is_typed_by_habit_is_pointed_to_what_there_is() -> None:
    assert not HABITS.keys() & TrainOptions.model_fields.keys()
    for name, said in (
        ("pretrained", "--init WEIGHTS"), ("weights", "--init WEIGHTS"), ("output", "--out"),
        ("lr_scheduler", "cosine"),
        ("temperature", "--hyper.temperature"), ("num-workers", "--workers"), ("batchsize", "mean --batch-size?"),
    ):  # fmt: skip
        assert said in misnamed(name)
    named = {word.strip(",.;") for text in HABITS.values() for word in text.split() if word.startswith("--")}
    assert named <= {*map(flag, TrainOptions.model_fields)}


@pytest.mark.parametrize(("stored", "size"), [(None, 32), (64, 32), (65, 65), (96, 96), (300, 96)])
def test_views_of_small_recipes_grow_to_larger_pictures(stored: int | None, size: int) -> None:
    config = resolve({"method": "simclr", "data": "pictures"}, stored_size=stored)
    assert (config.image_size, config.load_size, config.views[0].size) == (size, 96, size)


@pytest.mark.parametrize("views", ["3", "null", "x"])
def test_views_of_a_run_that_are_no_list_are_told(tmp_path: Path, views: str) -> None:
    values = resolve({"method": "simclr", "data": "pictures"}).model_dump()
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(json.loads(json.dumps(values)) | {"views": yaml.safe_load(views)})
    )
    with pytest.raises(UserError, match="views: .*a list of views is wanted, not"):
        TrainConfig.load(tmp_path / "config.yaml")
