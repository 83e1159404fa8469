"""The kernels of ``multistep.c``, compiled by the machine's C compiler when they are first needed."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from gshn.neurons.lif import LIFParameters, Spike

SOURCE = Path(__file__).parent / "multistep.c"
# Without contraction: a fused multiply-add rounds once where PyTorch rounds twice, and spikes would differ.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC")
MAX_STEPS = 64
"""T up to which there are kernels: a block's potentials of all steps are kept in the cache."""
SHARED = 1 << 16
"""Neurons times steps from which threads share the work."""
SURROGATES = {"atan": 0, "fast_sigmoid": 1, "sigmoid": 2}
NAMES = {torch.float32: ("f32", ctypes.c_float), torch.float64: ("f64", ctypes.c_double)}


def folder() -> Path:
    """Where compiled kernels are kept, between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gshn"


def _machine() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()


@cache
def library() -> ctypes.CDLL | None:
    """The kernels; None where there is no C compiler, or what it makes cannot be loaded."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    key = hashlib.blake2b(SOURCE.read_bytes() + " ".join([*FLAGS, platform.machine(), _machine()]).encode())
    path = folder() / f"multistep-{key.hexdigest()[:16]}.so"
    try:
        with suppress(OSError):  # not there yet, or broken
            return ctypes.CDLL(str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            made = Path(scratch) / "kernels.so"
            subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(made), "-lm"], check=True, capture_output=True)
            made.replace(path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError):
        return None


def usable(x: Tensor) -> bool:
    """Whether there is a kernel for inputs of shape (T, M)."""
    fits = x.device.type == "cpu" and x.dtype in NAMES and len(x) <= MAX_STEPS and (x.shape[1] < 2 or x.stride(1) == 1)
    return fits and library() is not None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "lif")


def _call(name: str, x: Tensor, pointers: list[int], settings: list[float], last: tuple[int, float] | None) -> None:
    """Call a kernel for all neurons, in as many threads as PyTorch has (C code holds no lock of Python's)."""
    kind, number = NAMES[x.dtype]
    kernel = getattr(library(), f"{kind}_{name}")
    steps, m = x.shape
    threads = torch.get_num_threads() if x.numel() >= SHARED else 1
    ends = [m * k // threads // 16 * 16 for k in range(threads)] + [m]
    size, real = ctypes.c_int64, [number(value) for value in settings]
    head = [ctypes.c_void_p(x.data_ptr()), size(x.stride(0)), *map(ctypes.c_void_p, pointers), size(m), size(steps)]
    tail = real if last is None else [*real, ctypes.c_int(last[0]), number(last[1])]
    parts = [(*head, size(first), size(end), *tail) for first, end in pairwise(ends)]
    if threads == 1:
        kernel(*parts[0])
        return
    others = [_pool(threads - 1).submit(kernel, *part) for part in parts[1:]]
    kernel(*parts[0])
    for other in others:
        other.result()


def _settings(p: LIFParameters) -> list[float]:
    return [p.dt / p.tau, p.r, p.v_leak, p.v_threshold, p.v_reset]


def forward(x: Tensor, p: LIFParameters) -> Tensor:
    """Spikes of inputs of shape (T, M)."""
    spikes = torch.empty(x.shape, dtype=x.dtype)
    _call("forward", x, [spikes.data_ptr()], _settings(p), None)
    return spikes


def backward(x: Tensor, gradient: Tensor, p: LIFParameters, spike: Spike) -> Tensor:
    """Gradient of the inputs, from that of the spikes, which is contiguous; both of shape (T, M)."""
    out = torch.empty(x.shape, dtype=x.dtype)
    surrogate = (SURROGATES[spike.name], spike.slope)
    _call("backward", x, [gradient.data_ptr(), out.data_ptr()], _settings(p), surrogate)
    return out
