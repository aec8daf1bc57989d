"""A method, a network, data and views of one's own go through every command, as objects and by name."""

import json
import os
import random
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mine
import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from torch import nn

import semblance as sb
from semblance import systems
from semblance.data import named_data
from semblance.errors import UserError
from semblance.evaluation.batch_norms import never_trained
from semblance.nets.backbones import backbone
from semblance.runs import checkpoint
from semblance.runs.own_parts import named_parts
from semblance.runtime import named
from semblance.systems.describe import about_all

FILE = mine.__file__
FEW: dict[str, Any] = {"batch_size": 8, "max_steps": 3, "workers": 0, "precision": "32", "image_size": 16}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in FEW.items()]


def semblance(folder: Path, *arguments: str, fails: bool = False, path: Path | None = None) -> str:
    """What the command prints in a folder, in a process that knows nothing of this one."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # or sums are rounded otherwise
    beside = {"PYTHONPATH": f"{path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"} if path else {}
    done = subprocess.run(
        [sys.executable, "-m", "semblance", *arguments], cwd=folder, capture_output=True, text=True, timeout=240,
        env=os.environ | threads | beside,
    )  # fmt: skip
    assert done.returncode == (2 if fails else 0), done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def config_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return found


def test_objects_are_trained_and_go_on_in_another_process(tmp_path: Path) -> None:
    run, module = tmp_path / "run", mine.Net()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    summary = sb.train(mine.Mine, backbone=module, data=mine.Stripes(), out=run, **FEW)
    config = config_of(run)
    assert (config["method"], config["backbone"]) == (f"{FILE}:Mine", f"{FILE}:Net")
    assert config["data"] == "given from Python: Stripes of 40" and summary["title"] == "Mine"
    assert [name for name, _ in summary["skipped"]] == ["3"] and "KeyError" in summary["skipped"][0][1]
    assert summary["table"][1]["encoder"] == "backbone it began with"
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())  # a copy was trained
    start = checkpoint.load(run / "checkpoints" / "first.ckpt")["method"]
    assert all(torch.equal(start[f"backbone.{name}"], value) for name, value in weights.items())
    trained = (run / "backbone.safetensors").read_bytes()

    told = semblance(tmp_path, "evaluate", str(run), fails=True)
    assert "The data set of this run was given from Python: Stripes of 40" in told and "FILE.py:NAME" in told
    assert "trained backbone" in semblance(tmp_path, "evaluate", str(run), "--data", f"{FILE}:stripes")
    for left in ("checkpoints/last.ckpt", "summary.json", "report.html", "metrics.jsonl"):
        (run / left).unlink()  # as if it had been stopped before its first checkpoint
    semblance(tmp_path, "train", "--resume", str(run), "--data", f"{FILE}:stripes")
    assert (run / "backbone.safetensors").read_bytes() == trained
    assert json.loads((run / "summary.json").read_text())["table"] == summary["table"]
    with pytest.raises(UserError, match="not those that"):
        sb.train(resume=run, data=mine.Stripes(30), max_steps=5)
    assert sb.train(resume=run, data=mine.Stripes(), max_steps=5)["steps"] == 5


@pytest.mark.long
def test_by_name_all_of_it_is_opened_anywhere(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(Path(FILE).read_text())
    told = semblance(
        tmp_path, "train", "mine.py:Mine", "--backbone", "mine.py:net", "--data", "mine.py:stripes",
        "--hyper.temperature", "0.5", *FLAGS,
    )  # fmt: skip
    run = tmp_path / "runs" / "Mine-stripes-1"
    assert "2 classes (across 2" in told and "by the Dataset" in told
    assert config_of(run)["backbone"] == f"{tmp_path}/mine.py:net" and config_of(run)["hyper"] == {"temperature": 0.5}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    semblance(elsewhere, "report", str(run))
    rows = semblance(elsewhere, "embed", str(run), "--out", "features.npz")
    assert "of 12 numbers for 39 pictures" in rows
    with np.load(elsewhere / "features.npz") as file:
        assert set(file["names"]) == set(map(str, range(40))) - {"3"}
        assert set(file["label_class"]) == {"across", "down"}
    table = json.loads((run / "summary.json").read_text())["table"]
    assert json.loads(json.dumps(sb.evaluate(str(run)))) == table
    alone = elsewhere / "backbone.safetensors"
    alone.write_bytes((run / "backbone.safetensors").read_bytes())
    with pytest.raises(UserError, match="is not executed without a config.yaml beside it that does"):
        sb.load_backbone(alone)
    script = f"import semblance as sb; b = sb.load_backbone({str(run)!r}); print(type(b).__name__, b.num_features)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "Net 12\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the package `stripy`, as pip would have installed it."""
    site = tmp_path / "site"
    (site / "stripy").mkdir(parents=True)
    (site / "stripy" / "__init__.py").touch()
    (site / "stripy" / "mine.py").write_text(Path(FILE).read_text())
    info = site / "stripy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stripy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[semblance.methods]\nstripes-clr = stripy.mine:Mine\nbroken = stripy.nowhere:X\n"
        "[semblance.backbones]\nstripes-net = stripy.mine:net\n[semblance.data]\nstripes = stripy.mine:stripes\n"
    )
    return site


@pytest.mark.long
def test_a_package_brings_parts(tmp_path: Path, package: Path) -> None:
    told = semblance(tmp_path, "methods", path=package)
    assert {"packages:", "stripes-clr", "stripy"} <= set(told.split())
    assert "broken of stripy: " in told and "ModuleNotFoundError" in told
    assert "temperature" in semblance(tmp_path, "methods", "stripes-clr", path=package)
    parts = ("--backbone", "stripes-net", "--data", "stripes")
    semblance(tmp_path, "train", "stripes-clr", *parts, "--out", "run", *FLAGS, path=package)
    assert "trained backbone" in semblance(tmp_path, "evaluate", "run", path=package)
    told = semblance(tmp_path, "train", "stripes-clx", fails=True, path=package)
    assert "Did you mean 'stripes-clr'?" in told
    told = semblance(tmp_path, "train", "--data", "stripez", fails=True, path=package)
    assert "Did you mean 'stripes'?" in told
    assert "broken of stripy cannot be loaded" in semblance(tmp_path, "train", "broken", fails=True, path=package)
    assert "Unknown method 'stripes-clr'" in semblance(tmp_path, "evaluate", "run", fails=True)


def test_no_package_takes_the_name_of_a_built_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "stripy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stripy\nVersion: 1.0\n")
    names = {"methods": ("simclr", "SimCLR", "stripes"), "backbones": ("resnet10-w8-cifar", "own"), "data": ("shapes",)}
    (info / "entry_points.txt").write_text(
        "".join(f"[semblance.{kind}]\n" + "".join(f"{n} = nowhere:X\n" for n in own) for kind, own in names.items())
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert [systems.get(name).title for name in ("simclr", "SimCLR")] == ["SimCLR"] * 2
    assert sb.methods() == [*systems.names(), "stripes"]
    assert list(named.brought(named.BACKBONES)) == ["own"] and not named.brought(named.DATA)
    assert backbone("resnet10-w8-cifar").num_features == 64 and named_data("shapes") == "shapes"
    told = {m["method"]: m["problem"] for m in about_all() if "problem" in m}
    assert told.keys() == {"simclr", "SimCLR", "stripes"} and "a built-in method's: the package" in told["simclr"]


def test_what_cannot_be_named_trains_here_and_is_refused_elsewhere(tmp_path: Path) -> None:
    run, module, pictures = tmp_path / "run", mine.Wide(10), np.stack([_picture(i) for i in range(32)])

    class Local(mine.Mine):
        """Of this function alone."""

    sb.train(Local, backbone=module, data=pictures, out=run, **FEW)
    config = config_of(run)
    assert (config["method"], config["backbone"]) == ("given from Python: Local", "given from Python: Wide")
    assert config["init"] == "given from Python: weights of Wide"
    assert sb.train(Local, resume=run, backbone=module, data=pictures, max_steps=4)["steps"] == 4
    with pytest.raises(UserError, match="The method of this run was given from Python: Local"):
        sb.evaluate(run, data=pictures)
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("given from Python: Local", "simclr"))
    with pytest.raises(UserError, match="The backbone of this run .* a function in a file that needs no arguments"):
        sb.load_backbone(run)
    with pytest.raises(UserError, match="it needs no arguments|no other process can make again"):
        sb.embed(run, data=pictures)


def test_how_to_go_on_names_the_parts_that_are_to_be_given_again(tmp_path: Path) -> None:
    class Fails:
        def on_step(self, step: int, numbers: Any, method: Any) -> None:
            raise ZeroDivisionError

    run = tmp_path / "run"
    with pytest.raises(ZeroDivisionError) as raised:
        sb.train("simclr", backbone=mine.Wide(10), data=mine.Stripes(), out=run, callbacks=[Fails()], **FEW)
    assert raised.value.__notes__[-1] == f"Go on with: sb.train(backbone=..., data=..., resume={str(run)!r})"


def test_a_method_is_called_by_its_own_name_whatever_it_derives_from() -> None:
    class Derived(systems.get("simclr")):  # type: ignore[misc]
        pass

    class Titled(Derived):
        title = "My CLR"

    assert [cls.title for cls in (systems.get("simclr"), Derived, Titled)] == ["SimCLR", "Derived", "My CLR"]
    assert Derived.paper == systems.get("simclr").paper
    with pytest.raises(UserError, match="Unknown hyper-parameter of Derived 'temp'"):
        sb.train(Derived, hyper={"temp": 1.0}, dry_run=True)


def test_a_network_of_timm_is_known_by_its_name(tmp_path: Path) -> None:
    import timm

    run, module = tmp_path / "run", timm.create_model("test_vit", num_classes=0, dynamic_img_size=True)
    sb.train("simclr", backbone=module, data=mine.Stripes(), out=run, **FEW | {"image_size": 32})
    assert config_of(run)["backbone"] == "test_vit"
    assert config_of(run)["init"] == "given from Python: weights of VisionTransformer"
    start = checkpoint.load(run / "checkpoints" / "first.ckpt")["method"]
    assert torch.equal(start["backbone.pos_embed"], module.pos_embed)
    table = json.loads((run / "summary.json").read_text())["table"]
    assert json.loads(json.dumps(sb.evaluate(run, data=mine.Stripes()))) == table
    assert sb.load_backbone(run).num_features == module.num_features


@dataclass(frozen=True)
class Flat(mine.Halves):
    """Without an axis for colours."""

    def make(self, raw: Any, index: Any, key: Any) -> torch.Tensor:
        return super().make(raw, index, key)[:, 0]


def test_views_of_ones_own(tmp_path: Path) -> None:
    run = tmp_path / "run"
    sb.train("simclr", views=(mine.Halves(16),), data=mine.Stripes(), out=run, backbone="resnet10-w8-cifar", **FEW)
    assert config_of(run)["views"] == [{"class": f"{FILE}:Halves", "size": 16, "count": 2}]
    assert len(sb.evaluate(run, data=mine.Stripes())) == 3
    assert sb.train(resume=run, data=mine.Stripes(), max_steps=4)["steps"] == 4
    given = tmp_path / "given.yaml"
    given.write_text(f"views:\n- class: {FILE}:Halves\n  size: 16\n")
    told = sb.train("simclr", config=given, data=mine.Stripes(), dry_run=True, **FEW)
    assert told["config"]["views"] == [{"class": f"{FILE}:Halves", "size": 16, "count": 2}]

    class Elsewhere(mine.Halves):
        """Of this function alone."""

    for views, said in (
        ((Elsewhere(),), "cannot be written down: put the class into a file"),
        ((mine.Halves(count=3),), "SimCLR takes 2 views"),
        ((mine.Halves(size=torch.ones(1)),), "a field of .*Halves.* cannot be written down"),
        ((object(),), "views"),
        ((Flat(),), r"Flat.make gives float32 \(\d+, 16, 16\) .*, of pictures \(N, 3, size, size\)"),
    ):
        with pytest.raises(UserError, match=said):
            sb.train("simclr", views=views, data=mine.Stripes(), out=tmp_path / "no", **FEW)
    with pytest.raises(UserError, match="--crop-from original: views of your own take canvases"):
        sb.train("simclr", views=(mine.Halves(16),), crop_from="original", data=mine.Stripes(), **FEW)


def _picture(i: int) -> np.ndarray:
    return np.asarray(Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3)).astype(np.uint8)))


class NoMethod(nn.Module):
    pass


class Halfway(sb.Method):
    def embed(self, views: Any) -> Any:
        return {}


class Nothing(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.mean((2, 3))


class Maps(mine.Net):
    def forward(self, x: Any) -> Any:
        return self.layers(x)


class Powers(mine.Net):
    """An exponent that is called p is no rate of dropout; in one of two it is given to what divides by it."""

    def __init__(self) -> None:
        super().__init__()
        self.p = 3.0

    def forward(self, x: Any) -> Any:
        return super().forward(x).clamp(min=1e-6).pow(self.p).pow(1 / self.p)


class Masked(mine.Net):
    def forward(self, x: Any) -> Any:
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


class Raises(mine.Net):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * (1 / (x.shape[0] - 2))  # of Python, not of torch


class Attends(mine.Net):
    """Each of torch's ways to drop something, but for functions."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.TransformerEncoderLayer(12, 2, 8, dropout=0.5, batch_first=True)
        self.recurrent = nn.LSTM(12, 12, 2, dropout=0.5, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.recurrent(self.attention(super().forward(x)[:, None]))[0][:, 0]


def test_dropout_is_switched_off_and_nothing_else() -> None:
    x = torch.rand(4, 3, 16, 16)
    for cls in (Powers, Attends):
        network, theirs = backbone(f"{__file__}:{cls.__name__}"), cls()
        theirs.load_state_dict(network.state_dict())
        torch.testing.assert_close(network.eval()(x), theirs.eval()(x))
        torch.testing.assert_close(network.train()(x), network(x))


class Lazy(mine.Mine):
    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone)
        self.head = nn.LazyLinear(8)


class Logs(mine.Mine):
    def objective(self, z: Any, index: Any, clock: Any) -> Any:
        loss, numbers = super().objective(z, index, clock)
        return loss, numbers | {"knn_top1": 0.5}


class Needs(mine.Mine):
    def __init__(self, backbone: Any, without: Any, temperature: float) -> None:
        super().__init__(backbone)


def of(**attributes: Any) -> Any:
    return type("Odd", (mine.Mine,), attributes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": Logs}, "knn_top1 is what a run measures itself: log yours by another name"),
        ({"method": Needs}, "its __init__ is given backbone: give without and temperature a default"),
        ({"method": of(network="teacher")}, "network is teacher, and it has none: define the property"),
        ({"method": of(network="both")}, "network is student or teacher, not both"),
        ({"method": of(recipes={})}, "recipes is a dict of names to semblance.systems.Recipe"),
        ({"method": of(recipes={"quick": {"lr": 1}})}, "recipes is a dict of names to semblance.systems.Recipe"),
        ({"method": of(guards=["repel"])}, "guards is a dict of names to what each does"),
        ({"backbone": Masked()}, "other features of the same pictures each time.*such as F.dropout"),
        ({"backbone": Raises()}, "does not take views of 16 px .ZeroDivisionError"),
        ({"method": Lazy}, "head.weight has no shape before its first call"),
        ({"method": NoMethod}, "a name or a class derived from semblance.Method is wanted"),
        ({"method": Halfway}, "Halfway does not define objective"),
        ({"backbone": Nothing()}, "no weights that can be trained"),
        ({"backbone": Maps()}, "of 2 pictures it makes a tensor .2, 12, 3, 3., where .2, features. is wanted"),
        ({"backbone": mine.Wide}, "Wide fails, called without arguments: TypeError: .*'width'. Give a function"),
        ({"backbone": lambda: 3}, "is a int: a torch.nn.Module is wanted"),
        ({"backbone": 3}, "backbone is a int, which cannot be used as such"),
        ({"backbone": f"{FILE}:nett"}, "Unknown backbone of .*mine.py 'nett'. Did you mean 'net'"),
        ({"method": "avid", "backbone": f"{FILE}:net"}, "own backbones are for pictures, not for AVID"),
        ({"method": "avid", "data": mine.Stripes()}, "Clips are one folder, tar or .npz"),
    ],
)
def test_what_is_no_part_is_refused(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        sb.train(
            **{"method": "simclr", "data": mine.stripes} | given, out=tmp_path / "run", image_size=16, batch_size=8
        )


def test_a_script_that_trains_as_it_is_imported_is_refused(tmp_path: Path) -> None:
    text = Path(FILE).read_text() + "\n\nsb.train(Mine, data='digits', max_steps=3)\n"
    (tmp_path / "script.py").write_text(text)
    with pytest.raises(UserError, match='put that call under if __name__ == "__main__":'):
        sb.train(f"{tmp_path}/script.py:Mine", data="digits")


class Chosen(mine.Net):
    """What it computes hangs on attributes that no layer writes down; a branch begins at zero, twins do nothing."""

    def __init__(self, pool: str = "mean", act: str = "relu", branch: str = "relu", held: bool = False) -> None:
        super().__init__()
        self.pool, self.act, self.branch, self.held = pool, act, branch, held
        self.drop = nn.Dropout(0.1)
        self.gain = nn.Parameter(torch.zeros(12, 1, 1))
        self.twins = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    def forward(self, x: Any) -> Any:
        x = self.drop(getattr(torch, self.act)(self.layers(x)))
        x = x + self.gain * getattr(torch, self.branch)(x)
        return getattr(torch, self.pool)(x.detach() if self.held and self.training else x, (2, 3))


def _name(module: nn.Module) -> str:
    return str(named_parts({"backbone": module})[0]["backbone"])


def test_a_module_has_a_name_where_that_makes_one_that_computes_the_same() -> None:
    assert _name(mine.Net()) == f"{FILE}:Net"
    assert _name(Chosen().eval()) == f"{__file__}:Chosen"
    for change in ({"pool": "amax"}, {"act": "sigmoid"}, {"branch": "tanh"}, {"held": True}):
        assert _name(Chosen(**change)) == "given from Python: Chosen", change
    modules = [Chosen() for _ in range(5)]
    modules[0].drop.p = 0.5
    modules[1].gain.requires_grad_(False)
    modules[2].layers[2] = nn.GELU()  # without tensors
    modules[3].layers[1].momentum = 0.5
    modules[4].twins[1].weight = modules[4].twins[0].weight
    assert {_name(module) for module in modules} == {"given from Python: Chosen"}


def test_a_network_of_timm_that_pools_or_drops_otherwise_has_no_name() -> None:
    import timm

    assert _name(timm.create_model("test_vit", num_classes=0)) == "test_vit"
    for change in ({"global_pool": "avg", "fc_norm": False}, {"drop_path_rate": 0.5}, {"pos_drop_rate": 0.5}):
        module = timm.create_model("test_vit", num_classes=0, **change)
        assert _name(module) == "given from Python: VisionTransformer", change
    plain = timm.create_model("efficientformerv2_s2", num_classes=0)
    assert any(getattr(m, "drop_prob", 0) > 0 for m in plain.modules()) and _name(plain) == "efficientformerv2_s2"


def test_a_module_is_as_it_was_once_it_has_a_name() -> None:
    module = Chosen().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    drawn = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    _name(module)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == drawn
    assert not any(m.training for m in module.modules()) and all(p.grad is None for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_what_a_module_chose_is_not_lost_in_another_process(tmp_path: Path) -> None:
    run = tmp_path / "run"
    sb.train("simclr", backbone=Chosen("amax"), data=mine.Stripes(), out=run, **FEW)
    with pytest.raises(UserError, match="given from Python: Chosen, which no other process can make again"):
        sb.load_backbone(run)


class LazyNet(mine.Net):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.LazyLinear(8)

    def forward(self, x: Any) -> Any:
        return self.last(super().forward(x))


class Cut(mine.Net):
    @torch.no_grad()
    def forward(self, x: Any) -> Any:
        return super().forward(x)


class Halved(mine.Net):
    def forward(self, x: Any) -> Any:
        return super().forward(x).half()


class InPlace(mine.Net):
    def forward(self, x: Any) -> Any:
        x = super().forward(x).exp()
        return x * x.add_(1).sigmoid().add_(1)


class Grey(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 8, 3)

    def forward(self, x: Any) -> Any:
        return self.layer(x).mean((2, 3))


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = torchvision.models.mobilenet_v3_small()

    def forward(self, x: Any) -> Any:
        return self.network(x)


class Squeezed(mine.Net):
    def forward(self, x: Any) -> Any:
        return super().forward(x).squeeze()


class Narrower(mine.Net):
    def forward(self, x: Any) -> Any:
        return super().forward(x)[:, : 12 if self.training else 8]


class Asked(mine.Net):
    def num_features(self) -> int:
        return 12


class Fixed(mine.Net):
    @property
    def num_features(self) -> int | None:
        return 12


class Unsaid(mine.Net):
    num_features = None


class UnsaidForGood(mine.Net):
    num_features = property(lambda self: None)


class Uncopied(mine.Net):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


def _classes(count: int) -> Any:
    import timm

    return timm.create_model("test_vit", num_classes=count, img_size=32)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (LazyNet, "last.weight has no shape before its first call.*Call the module once"),
        (Cut, "makes features without a gradient.*leave out torch.no_grad"),
        (Halved, "makes features of float16, where float32 is wanted: return them by .float"),
        (InPlace, "cannot be trained: its features have no gradient .RuntimeError: .*in-?place"),
        (Grey, "does not take views of 32 px .RuntimeError.* 1 channels.* nor of other sizes.* .N, 3, H, W"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 64**2, 8)),
            "views of 32 px .*but of 64 px.*--image-size 64",
        ),
        (lambda: mine.Net().half(), "layers.0.weight is float16.*give module.float"),
        (lambda: mine.Net().double(), "layers.0.weight is float64.*give module.float"),
        (
            lambda: torch.jit.script(nn.Sequential(nn.Linear(3, 8))),
            "is TorchScript.*the module that it is made of",
        ),
        (lambda: mine.Net().to("meta"), "layers.0.weight is on the meta device and has no values"),
        (lambda: mine.Net().requires_grad_(False), "all are frozen: call module.requires_grad_.True"),
        (Squeezed, "makes a tensor .12,. of a single picture in evaluation mode.*flatten by .flatten.1., not .squeeze"),
        (Narrower, "makes a tensor .1, 8. of a single picture in evaluation mode, where .1, 12. is wanted"),
        (Asked, "its num_features is no whole number .TypeError.*let it be how many features it makes"),
        (UnsaidForGood, "makes 12 features, and its num_features cannot be set to that .AttributeError"),
        (Uncopied, "cannot be copied.*cannot pickle .*lock.*give a function that makes it"),
        (lambda: _classes(10), "makes a tensor .2, 10., .* timm.create_model.*num_classes=0.*reset_classifier.0"),
        (torchvision.models.resnet18, "ends in 1,000 classes.*module.fc = nn.Identity"),
        (Wrapped, "ends in 1,000 classes.*module.classifier.3. = nn.Identity"),
    ],
)
def test_a_module_that_cannot_be_trained_is_refused_with_what_to_do(make: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        sb.train("byol", backbone=make(), data=mine.Stripes(), dry_run=True, **FEW | {"image_size": 32})


def test_a_width_that_is_said_is_left_as_it_is_and_one_that_is_not_is_counted(tmp_path: Path) -> None:
    for module in (Fixed(), Unsaid()):
        run = tmp_path / type(module).__name__
        sb.train("byol", backbone=module, data=mine.Stripes(), out=run, **FEW | {"max_steps": 1})
        assert sb.load_backbone(run).num_features == 12


def test_a_module_with_a_head_of_its_own_is_taken() -> None:
    network = torchvision.models.mobilenet_v3_small(num_classes=24)
    made = sb.train("byol", backbone=network, data=mine.Stripes(), dry_run=True, **FEW | {"image_size": 32})
    assert made["config"]["backbone"] == "given from Python: MobileNetV3"


def test_a_file_without_the_name_of_a_part_is_asked_for_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(Path(FILE).read_text())
    told = semblance(tmp_path, "train", "--backbone", "mine.py", fails=True)
    assert "mine.py may hold several parts: name the backbone as mine.py:NAME." in told
    for option, kind in (("backbone", "backbone"), ("data", "data set")):
        for file in (tmp_path / "mine.py", tmp_path / "elsewhere.py"):
            for text in (str(file), f"{file}:"):
                with pytest.raises(UserError, match=f"name the {kind} as {file}:NAME"):
                    sb.train("simclr", **{option: text}, dry_run=True)
    with pytest.raises(UserError, match=f"name the data set as {tmp_path}/mine.py:NAME"):
        sb.train("simclr", data=[tmp_path / "mine.py", tmp_path], dry_run=True)


def test_batch_norms_tell_a_new_module_from_a_trained_one() -> None:
    module = mine.Net()
    assert never_trained(module)
    module(torch.randn(4, 3, 16, 16))
    assert not never_trained(module) and not never_trained(nn.Linear(2, 2))
