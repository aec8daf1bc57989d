"""Run folders from strangers: whatever a file in one holds, each command reads it or ends in a line, and takes no more
memory than files of their size may."""

import json
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import run
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import semblance as sb
from semblance.runs import checkpoint

DEEP = 20_000
EVALUATE, EMBED, REPORT, RESUME, ALONE, DOCTOR = range(6)
ASKED = {"config": RESUME, "summary": REPORT, "metrics": REPORT, "checkpoint": RESUME, "backbone": ALONE}
Change = Callable[[Path], object]


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in a folder with its data."""
    home = tmp_path_factory.mktemp("whole")
    pictures = np.stack([picture(i) for i in range(40)])
    np.savez(home / "data.npz", x_train=pictures[:30], y_train=np.arange(30) % 2, x_test=pictures[30:],
             y_test=np.arange(10) % 2)  # fmt: skip
    sb.train(
             "simclr", data=home / "data.npz", out=home / "run", recipe="quick", backbone="resnet10-w8-cifar",
             image_size=16, batch_size=8, max_steps=2, precision="32", compile=False, channels_last=False, workers=0,
    )  # fmt: skip
    return home


def text(name: str, content: str | bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def config(**values: Any) -> Change:
    """config.yaml with other values; dots lead into views and hyper-parameters."""

    def change(folder: Path) -> None:
        held = yaml.safe_load((folder / "config.yaml").read_text())
        for name, value in values.items():
            if name.startswith("view_"):
                held["views"][0][name.removeprefix("view_")] = value
            else:
                held[name] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(held))

    return change


def without(name: str, file: str = "config.yaml") -> Change:
    def change(folder: Path) -> None:
        held = yaml.safe_load((folder / file).read_text())
        del held[name]
        (folder / file).write_text(yaml.safe_dump(held) if file.endswith("yaml") else json.dumps(held))

    return change


def summary(**values: Any) -> Change:
    def change(folder: Path) -> None:
        held = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(held | values))

    return change


def saved(edit: Callable[[dict[str, Any]], Any]) -> Change:
    """last.ckpt after an edit in place."""

    def change(folder: Path) -> None:
        path = folder / "checkpoints" / "last.ckpt"
        state = torch.load(path, weights_only=True)
        edit(state)
        torch.save(state, path)

    return change


def replaced(state: Any) -> Change:
    return lambda folder: torch.save(state, folder / "checkpoints" / "last.ckpt")


def about(**values: Any) -> Change:
    """What backbone.safetensors says of itself."""

    def change(folder: Path) -> None:
        path = folder / "backbone.safetensors"
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["semblance"])
        save_file(load_file(path), path, {"semblance": json.dumps(told | values)})

    return change


def header(edit: Callable[[dict[str, Any]], object]) -> Change:
    """The header of backbone.safetensors after an edit, however little it fits the rest."""

    def change(folder: Path) -> None:
        path = folder / "backbone.safetensors"
        data = path.read_bytes()
        (n,) = struct.unpack("<Q", data[:8])
        held = json.loads(data[8 : 8 + n])
        edit(held)
        new = json.dumps(held).encode()
        path.write_bytes(struct.pack("<Q", len(new)) + new + data[8 + n :])

    return change


def gone(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def put(state: dict[str, Any], part: str, name: str, value: Any) -> None:
    state[part][name] = value


def first(state: dict[str, Any]) -> str:
    return next(name for name in state["method"] if name.endswith("weight"))


def nest(depth: int) -> Any:
    return [nest(depth - 1)] if depth else 1


def folder_for(name: str) -> Change:
    return lambda folder: ((folder / name).unlink(), (folder / name).mkdir())


def endless(name: str) -> Change:
    return lambda folder: ((folder / name).unlink(), (folder / name).symlink_to("/dev/zero"))


def nan_weights(folder: Path) -> None:
    path = folder / "backbone.safetensors"
    with safe_open(path, "pt") as file:
        told = file.metadata()
    weights = load_file(path)
    floats = {name: value * float("nan") for name, value in weights.items() if value.is_floating_point()}
    save_file(weights | floats, path, told)


LEVELS = [*zip("abcdefghijk", "bcdefghijkl", strict=True)]
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in LEVELS
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n" for before, name in LEVELS
)

FOLDERS: dict[str, Change] = {
    # config.yaml
    "config: empty": text("config.yaml", ""),
    "config: a list": text("config.yaml", "[1, 2]"),
    "config: bytes": text("config.yaml", b"\xff\xfe\x00\x81method: simclr"),
    "config: nested": text("config.yaml", "[" * DEEP),
    "config: nested blocks": text("config.yaml", "".join(" " * i + "a:\n" for i in range(600))),
    "config: laughs": text("config.yaml", LAUGHS + "method: simclr\nviews: *l\nhyper: *l\n"),
    "config: merges": text("config.yaml", MERGES),
    "config: itself": text("config.yaml", "method: simclr\nviews: &a [*a]\nhyper: &b {x: *b}\n"),
    "config: large": text("config.yaml", "# " + "x" * 2_000_000),
    "config: an object": text("config.yaml", "method: !!python/object/apply:os.mkdir ['executed']"),
    "config: a huge number": text("config.yaml", "method: simclr\nseed: 0x" + "f" * 50_000),
    "config: no views": without("views"),
    "config: no backbone": without("backbone"),
    "config: another method": config(method="avid"),
    "config: no such method": config(method="x"),
    "config: a file for a method": config(method="/nowhere/x.py:Y"),
    "config: a number for a method": config(method=3),
    "config: no such backbone": config(backbone="resnet18.nonsense"),
    "config: another backbone": config(backbone="resnet18"),
    "config: a number for views": config(views=3),
    "config: NaN": config(lr=float("nan")),
    "config: many epochs": config(epochs=10**16),
    "config: a huge view": config(image_size=10**9),
    "config: views of no size": config(view_size=0),
    "config: views of huge size": config(view_size=10**9),
    "config: many views": config(view_count=10**9),
    "config: bad ratio": config(view_ratio=[0, 0]),
    "config: bad scale": config(view_scale=[float("nan"), 2]),
    "config: bad sigma": config(view_sigma=[0, -1], view_blur_p=1.0),
    "config: wide jitter": config(view_jitter=[float("inf")] * 4),
    "config: grid": config(view_grid=1000),
    "config: views of text": config(views="x"),
    "config: no views at all": config(views=[]),
    "config: more views": config(views=[{"size": 16, "count": 7}]),
    "config: hyper": config(hyper={"temperature": 0}),
    "config: much hyper": config(hyper={"dim": 10**12}),
    "config: data gone": config(data="/nowhere/at/all"),
    "config: data with a null": config(data="a\0b"),
    "config: a long path": config(data="x" * 1000),
    "config: an optimiser": config(optimizer="x"),
    "config: one more": config(surprise=1),
    # summary.json
    "summary: a list": text("summary.json", "[]"),
    "summary: nested": text("summary.json", '{"a":' * DEEP + "1" + "}" * DEEP),
    "summary: bytes": text("summary.json", b"\xff\xfe"),
    "summary: little": text("summary.json", '{"steps": 2, "table": [{}]}'),
    "summary: steps": summary(steps="2"),
    "summary: NaN": summary(steps=float("nan"), training_seconds=float("nan"), samples_per_second=float("inf")),
    "summary: huge": summary(total_steps=10**400, training_seconds=10**400),
    "summary: no seconds": summary(training_seconds=0, samples_per_second=0),
    "summary: a table of numbers": summary(table=[1, 2]),
    "summary: a table of words": summary(table=[{"encoder": "trained backbone", "knn_top1": "x", "linear_top1": None}]),
    "summary: encoders": summary(table=[{"encoder": ["x"], "knn_top1": 0.5}]),
    "summary: skipped": summary(skipped=[1]),
    "summary: retrieval": summary(retrieval={"video_to_audio": {}}),
    "summary: measured": summary(measured=7),
    "summary: views": summary(table=[{"encoder": "x", "label_free": {"pictures": {"view_percentile": []}}}] * 3),
    "summary: markup": summary(title="<script>alert(1)</script>", paper="[b]\x1b[31m", family="\ud800"),
    # metrics.jsonl
    "metrics: nested": text("metrics.jsonl", "[" * DEEP + "\n" + '{"step": 1, "loss": ' + "[" * DEEP + "\n"),
    "metrics: bytes": text("metrics.jsonl", b"\xff\xfe\x00\n" * 100),
    "metrics: words": text("metrics.jsonl", '{"step": 1, "loss": "x", "epoch": [], "seconds": {}}\n{"step": true}\n'),
    "metrics: huge": text("metrics.jsonl", f'{{"step": 1, "loss": {10**400}, "epoch": 1e308}}\n{{"step": {10**99}}}\n'),
    "metrics: NaN": text("metrics.jsonl", '{"step": 1, "loss": NaN}\n{"step": 2, "loss": Infinity, "lr": -1e299}\n'),
    "metrics: far apart": text("metrics.jsonl", '{"step": 1, "loss": 1e299}\n{"step": 2, "loss": -1e299}\n'),
    "metrics: names": text("metrics.jsonl", '{"step": 1, "loss": 1, "<b>$x$\\ud800\\u001b": 3, "": 4}\n'),
    "metrics: many names": text("metrics.jsonl", json.dumps({"step": 1} | {f"n{i}": i for i in range(20_000)}) + "\n"),
    # last.ckpt
    "checkpoint: empty": text("checkpoints/last.ckpt", b""),
    "checkpoint: text": text("checkpoints/last.ckpt", "not one"),
    "checkpoint: a number": replaced(3),
    "checkpoint: a tensor": replaced(torch.zeros(3)),
    "checkpoint: no weights": saved(lambda s: s.pop("method")),
    "checkpoint: no step": saved(lambda s: s.pop("step")),
    "checkpoint: step of text": saved(lambda s: s.update(step="2")),
    "checkpoint: step of huge": saved(lambda s: s.update(step=10**30)),
    "checkpoint: step below": saved(lambda s: s.update(step=-5)),
    "checkpoint: step beyond": saved(lambda s: s.update(step=10**6)),
    "checkpoint: zero seconds": saved(lambda s: s.update(seconds=0.0)),
    "checkpoint: whole seconds": saved(lambda s: s.update(seconds=0)),
    "checkpoint: NaN seconds": saved(lambda s: s.update(seconds=float("nan"))),
    "checkpoint: no samples": saved(lambda s: s.update(samples=None)),
    "checkpoint: other samples": saved(lambda s: s.update(samples="0" * 16)),
    "checkpoint: no optimizer": saved(lambda s: s.update(optimizer={})),
    "checkpoint: optimizer of text": saved(lambda s: s.update(optimizer="x")),
    "checkpoint: state of text": saved(lambda s: put(s, "optimizer", "state", {0: "x"})),
    "checkpoint: empty state": saved(lambda s: [kept.popitem() for kept in s["optimizer"]["state"].values()]),
    "checkpoint: state of shapes": saved(
        lambda s: [kept.update({n: torch.zeros(3) for n in kept}) for kept in s["optimizer"]["state"].values()]
    ),
    "checkpoint: no groups": saved(lambda s: put(s, "optimizer", "param_groups", [])),
    "checkpoint: NaN weights": saved(
        lambda s: put(s, "method", first(s), torch.full_like(s["method"][first(s)], float("nan")))
    ),
    "checkpoint: NaN statistics": saved(
        lambda s: put(s, "method", "backbone.bn1.running_var", torch.full((8,), float("nan")))
    ),
    "checkpoint: a weight of text": saved(lambda s: put(s, "method", first(s), "x")),
    "checkpoint: a weight short": saved(lambda s: put(s, "method", first(s), torch.zeros(3))),
    "checkpoint: a weight of whole numbers": saved(lambda s: put(s, "method", first(s), s["method"][first(s)].long())),
    "checkpoint: a weight of complex": saved(
        lambda s: put(s, "method", first(s), s["method"][first(s)].to(torch.complex64))
    ),
    "checkpoint: a sparse weight": saved(lambda s: put(s, "method", first(s), s["method"][first(s)].to_sparse())),
    "checkpoint: an expanded weight": saved(lambda s: put(s, "method", first(s), torch.zeros(1).expand(10**10))),
    "checkpoint: an expanded state": saved(
        lambda s: put(s, "optimizer", "state", {0: {"momentum": torch.zeros(1).expand(10**10)}})
    ),
    "checkpoint: weights of another": saved(lambda s: put(s, "method", "x", torch.zeros(3))),
    "checkpoint: nested": saved(lambda s: s.update(step=nest(150))),
    # backbone.safetensors
    "backbone: empty": text("backbone.safetensors", b""),
    "backbone: text": text("backbone.safetensors", "not one" * 100),
    "backbone: a length": text("backbone.safetensors", struct.pack("<Q", 2**62) + b"{}"),
    "backbone: shapes": header(lambda h: next(v for k, v in h.items() if k != "__metadata__").update(shape=[10**12])),
    "backbone: no metadata": header(lambda h: h.pop("__metadata__")),
    "backbone: metadata of text": header(lambda h: h.update(__metadata__={"semblance": "x"})),
    "backbone: metadata of lists": header(lambda h: h.update(__metadata__={"semblance": "[]"})),
    "backbone: metadata nested": header(lambda h: h.update(__metadata__={"semblance": '{"a":' * DEEP})),
    "backbone: no such": about(backbone="x"),
    "backbone: of numbers": about(backbone=3),
    "backbone: of nothing": about(backbone=None),
    "backbone: of nonsense": about(backbone="resnet18.nonsense"),
    "backbone: another": about(backbone="resnet18"),
    "backbone: a giant": about(backbone="vit_giant_patch14_dinov2"),
    "backbone: wide": about(backbone="resnet18-w4000"),
    "backbone: of size 0": about(image_size=0),
    "backbone: of size of text": about(image_size="x"),
    "backbone: of huge size": about(image_size=10**12, load_size=10**12),
    "backbone: of no precision": about(precision="x"),
    "backbone: k": about(knn_k=-1),
    "backbone: sound of no seconds": about(backbone=None, audio_backbone="conv2d-10", sound={"seconds": 0, "fft": 0}),
    "backbone: sound of text": about(backbone=None, audio_backbone="conv2d-10", sound="x"),
    "backbone: NaN": nan_weights,
    # the folder
    "folder: no checkpoint": gone("checkpoints"),
    "folder: no config": gone("config.yaml"),
    "folder: empty": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "folder: a folder for a summary": folder_for("summary.json"),
    "folder: a folder for metrics": folder_for("metrics.jsonl"),
    "folder: a folder for a config": folder_for("config.yaml"),
    "folder: a folder for a checkpoint": folder_for("checkpoints/last.ckpt"),
    "folder: no end of a config": endless("config.yaml"),
    "folder: no end of metrics": endless("metrics.jsonl"),
    "folder: no end of a summary": endless("summary.json"),
    "folder: a folder for a backbone": folder_for("backbone.safetensors"),
}  # fmt: skip


def tried(
    number: int, name: str, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command on a folder of this kind, in the folder that is current."""
    data = str(whole / "data.npz")
    command = (
        ("evaluate", "run"), ("embed", "run", "--data", data), ("report", "run"),
        ("train", "--resume", "run", "--max-steps", "3"), ("embed", "run/backbone.safetensors", "--data", data),
        ("doctor", "run"),
    )[number]  # fmt: skip
    shutil.rmtree("run", ignore_errors=True)
    shutil.copytree(whole / "run", "run")
    FOLDERS[name](Path("run"))
    capsys.readouterr()
    status = run(monkeypatch, *command)
    out, told = capsys.readouterr()
    lines = [line for line in told.splitlines() if line.startswith("semblance: ")]
    judged = (0, 3, 4) if command[0] == "doctor" else (0,)
    assert status in (2, *judged) and (status in judged) == (not lines), (command, status, told)
    assert all(len(line) < 1500 for line in lines) and "Traceback" not in told, told
    assert not ({"\x1b", "\ud800"} & {*out, *told}) and not Path("executed").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FOLDERS)
def test_the_command_that_reads_it_most_ends_in_a_line(
    name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tried(ASKED.get(name.partition(":")[0], EVALUATE), name, whole, monkeypatch, capsys)


@pytest.mark.parametrize("name", [name for name in FOLDERS if name.partition(":")[0] not in ("checkpoint", "backbone")])
def test_the_doctor_reads_it_or_ends_in_a_line(
    name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tried(DOCTOR, name, whole, monkeypatch, capsys)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FOLDERS)
def test_every_command_reads_it_or_ends_in_a_line(
    name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        tried(number, name, whole, monkeypatch, capsys)
    try:
        sb.load_backbone("run")
    except sb.UserError as error:
        assert str(error)


def test_networks_that_are_not_finite_are_told(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = (EMBED, "checkpoint: NaN weights"), (EMBED, "checkpoint: NaN statistics"), (ALONE, "backbone: NaN")
    for number, name in kinds:
        shutil.copytree(whole / "run", "run", dirs_exist_ok=True)
        FOLDERS[name](Path("run"))
        where = "run" if number == EMBED else "run/backbone.safetensors"
        assert run(monkeypatch, "embed", where, "--data", str(whole / "data.npz")) == 2
        assert "holds weights that are not finite numbers" in capsys.readouterr().err


def cast(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors of which the largest has another dtype."""
    name = max(tensors, key=lambda name: tensors[name].numel())
    return tensors | {name: tensors[name].to(dtype)}


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.complex64, torch.float64], ids=str)
def test_weights_of_another_kind_of_number_are_not_cast_in_silence(
    dtype: torch.dtype, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a backbone alone, of a checkpoint that is measured, and of one, and its optimiser, that a run goes on from."""
    path, data = tmp_path / "run" / "checkpoints" / "last.ckpt", str(whole / "data.npz")
    backbone = tmp_path / "run" / "backbone.safetensors"
    shutil.copytree(whole / "run", tmp_path / "run")
    state, weights = checkpoint.load(path), load_file(backbone)
    with safe_open(backbone, "pt") as file:
        metadata = file.metadata()
    state["optimizer"]["state"][0] = cast(state["optimizer"]["state"][0], dtype)
    save_file(cast(weights, dtype), backbone, metadata)
    resume = ("train", "--resume", str(tmp_path / "run"), "--max-steps", "3")
    asked = [(state, resume)] if not dtype.is_floating_point else []
    spoilt = state | {"method": cast(state["method"], dtype)}
    asked += [(spoilt, ("embed", str(tmp_path / "run"), "--data", data)), (spoilt, resume)]
    asked += [(state, ("embed", str(backbone), "--data", data))]
    monkeypatch.chdir(tmp_path)
    for saved, command in asked:
        checkpoint.save(path, saved)
        code, told = run(monkeypatch, *command), capsys.readouterr().err
        assert (code == 0) == dtype.is_floating_point, (command, told)
        assert dtype.is_floating_point or "kind of number" in told or "its optimiser keeps" in told


def test_counts_that_are_held_as_floats_are_read(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a backbone whose tensors were all made float16; no count is half a batch, or of none."""
    data, backbone = str(whole / "data.npz"), tmp_path / "run" / "backbone.safetensors"
    shutil.copytree(whole / "run", tmp_path / "run")
    with safe_open(backbone, "pt") as file:
        metadata = file.metadata()
    weights = {name: value.half() for name, value in load_file(backbone).items()}
    monkeypatch.chdir(tmp_path)
    for count, code in ((3.0, 0), (0.5, 2), (float("nan"), 2), (float("inf"), 2)):
        counts = {
            name: torch.full_like(weights[name], count) for name in weights if name.endswith("num_batches_tracked")
        }
        save_file(weights | counts, backbone, metadata)
        assert counts and run(monkeypatch, "embed", str(backbone), "--data", data) == code
        assert code == 0 or "num_batches_tracked of torch.float16" in capsys.readouterr().err


PEAK = """
import resource, sys
from pathlib import Path
from semblance.errors import UserError
from semblance.runs import checkpoint
import torch
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    checkpoint.load(Path(sys.argv[1]))
    raise SystemExit("it was loaded")
except UserError as error:
    print(peak() - before, error)
"""


@pytest.mark.long
def test_a_checkpoint_takes_no_more_memory_than_its_file(whole: Path, tmp_path: Path) -> None:
    """Zeros of half a GiB, compressed to half a MB, within a tensor, within the pickle, or laid over each other."""
    plain = tmp_path / "plain.ckpt"
    torch.save({"method": {"x": torch.zeros(8, dtype=torch.uint8)}}, plain)
    bombs = []
    with zipfile.ZipFile(plain) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    for inside in ("data/0", "data.pkl"):
        bombs.append(tmp_path / f"{inside.replace('/', ' ')}.ckpt")
        with zipfile.ZipFile(bombs[-1], "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in parts.items():
                file.writestr(name, data + bytes(1 << 29) if name.endswith(inside) else data)
    for bomb in bombs:
        assert bomb.stat().st_size < 1 << 20
        done = subprocess.run([sys.executable, "-c", PEAK, str(bomb)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        grown, told = done.stdout.split(" ", 1)
        assert int(grown) < 50 and "unpacks to more than its size" in told, done.stdout


@pytest.mark.parametrize("weight", [torch.zeros(1).expand(10**10), torch.eye(3).to_sparse()], ids=["wide", "sparse"])
def test_a_tensor_that_is_more_than_what_is_stored_is_refused(weight: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"method": {"x": weight}}, tmp_path / "last.ckpt")
    with pytest.raises(sb.UserError, match="more than what is stored|it calls"):
        checkpoint.load(tmp_path / "last.ckpt")


def test_a_backbone_that_names_a_giant_is_refused_before_it_is_made(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole / "run", tmp_path / "run")
    about(backbone="vit_giant_patch14_dinov2")(tmp_path / "run")
    made = []
    empty = torch.nn.Linear.__init__

    def noted(self: torch.nn.Linear, *args: Any, **options: Any) -> None:
        empty(self, *args, **options)
        made.append(self.weight.device.type)

    monkeypatch.setattr(torch.nn.Linear, "__init__", noted)
    with pytest.raises(sb.UserError, match="does not hold the network that it names"):
        sb.load_backbone(tmp_path / "run")
    assert set(made) == {"meta"}
