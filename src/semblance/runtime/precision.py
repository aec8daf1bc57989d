"""Number formats and memory layouts that suit the hardware, found by querying and by timing it."""

import platform
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy

import torch
from torch import nn

from semblance.errors import UserError

PATIENCE = 10.0  # seconds that the layouts are timed for


def choose_precision(name: str, device: torch.device, clips: bool = False) -> str:
    """Turn "auto" into "bf16" where the hardware computes in it, else "32".

    Networks of clips on a CPU never compute in bf16: oneDNN's gradient of a convolution over two frames has been seen
    to be NaN, and to write out of bounds (torch 2.14).
    """
    if clips and device.type == "cpu" and name == "bf16":
        raise UserError("On a CPU bf16 gives wrong gradients of clips (a fault of oneDNN). Leave --precision out.")
    if name != "auto":
        return name
    if clips and device.type == "cpu":
        return "32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    return "bf16" if _cpu_computes_bf16() else "32"


def _cpu_computes_bf16() -> bool:
    """Whether the CPU multiplies bf16 itself; oneDNN emulates it, slowly, on others."""
    native = (
        platform.machine() != "x86_64" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return native and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(precision: str, device: torch.device):
    """The context in which embeddings are computed."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def as_written(module: nn.Module):
    """A context in which a compiled module runs as it is written, so that rounding does not hang on compiling."""
    compiled = module._compiled_call_impl is not None
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def can_compile() -> bool:
    """Whether torch.compile has what it needs to work here."""
    return any(shutil.which(c) for c in ("g++", "clang++"))


def fastest_layout(
    backbone: nn.Module, *, size: int, precision: str, device: torch.device, views: int, at_once: int
) -> tuple[bool, bool]:
    """Whether to keep channels last and whether to compile, by timing a few steps on a copy of the backbone.

    Some CPUs run bf16 with channels last 4 times slower than without, others faster, so nothing is assumed.
    Compiling is tried only where the `views` of the run take more than ten minutes without. Differences under a tenth
    are ignored, so that noise does not decide. at_once: pictures that the run embeds at once, which bounds the memory
    taken here. Timing ends after PATIENCE seconds, or with the first step of each where one takes longer.
    """
    n = (128 if size <= 64 else 32) * (8 if device.type == "cuda" else 1)  # small batches do not keep a GPU busy
    n = min(n, at_once)
    pictures = torch.zeros(n, 3, size, size, device=device, dtype=next(backbone.parameters()).dtype)

    def stepper(channels_last: bool, compiled: bool = False) -> Callable[[], float]:
        """A function that takes one step and says how many seconds it took."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model, x = deepcopy(backbone).to(memory_format=layout), pictures.contiguous(memory_format=layout)
        if compiled:
            model.compile()

        def step() -> float:
            start = time.perf_counter()
            with autocast(precision, device):
                y = model(x)
            y.float().sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - start

        return step

    convolutional = any(isinstance(m, nn.Conv2d) for m in backbone.modules())
    layouts = [stepper(False), stepper(True)] if convolutional else [stepper(False)]
    eager = _fastest(layouts)  # in turns, since a busy machine slows whatever is running
    channels_last = convolutional and eager[1] < 0.9 * eager[0]
    if min(eager) * views / n < 600 or not can_compile():
        return channels_last, False
    try:
        step = stepper(channels_last, compiled=True)
        step()  # compiles
        (compiled,) = _fastest([step])
    except Exception:  # whatever the compiler stumbles over, the run goes on without it
        return channels_last, False
    return channels_last, compiled < 0.9 * min(eager)


def _fastest(steppers: list[Callable[[], float]], rounds: int = 6) -> list[float]:
    """The shortest time of each of some steps, taken in turns while patience lasts."""
    started = time.perf_counter()
    fastest = [step() for step in steppers]
    for _ in range(rounds - 1):
        if time.perf_counter() - started > PATIENCE:
            break
        fastest = [min(seconds, step()) for seconds, step in zip(fastest, steppers, strict=True)]
    return fastest
