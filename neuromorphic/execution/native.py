"""The kernels of ``multistep.c``, compiled by the machine's C compiler when they are first needed."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from neuromorphic.execution.c_compiler import shared_library

SOURCE = Path(__file__).parent / "multistep.c"
MAX_STEPS = 32
"""Largest T of the kernels, which keep the potentials of all steps of a block in the cache."""
SHARED = 1 << 16
"""Number of input elements from which the work is shared among threads."""
SURROGATES = {"atan": 0, "fast_sigmoid": 1, "sigmoid": 2}
NAMES = {torch.float32: ("f32", ctypes.c_float), torch.float64: ("f64", ctypes.c_double)}


class Dynamics(Protocol):
    """Parameters of LIF neurons that are all alike, named as in ``nir.LIF``; tau and dt in seconds, dt <= tau."""

    @property
    def tau(self) -> float: ...
    @property
    def r(self) -> float: ...
    @property
    def v_leak(self) -> float: ...
    @property
    def v_threshold(self) -> float: ...
    @property
    def v_reset(self) -> float: ...
    @property
    def dt(self) -> float: ...


class UniformLIF(NamedTuple):
    """:class:`Dynamics` as a tuple of numbers."""

    tau: float
    r: float
    v_leak: float
    v_threshold: float
    v_reset: float
    dt: float


class Surrogate(Protocol):
    """A surrogate derivative of the spike: its name, one of :data:`SURROGATES`, and steepness."""

    @property
    def name(self) -> str: ...
    @property
    def slope(self) -> float: ...


_by_operators: ContextVar[bool] = ContextVar("by_operators", default=False)


@contextmanager
def by_operators() -> Iterator[None]:
    """A context in which PyTorch's operators replace the C kernels, so that operator counters see them."""
    token = _by_operators.set(True)
    try:
        yield
    finally:
        _by_operators.reset(token)


def only_operators() -> bool:
    """Whether the code runs in a context of :func:`by_operators`."""
    return _by_operators.get()


def _openmp() -> str | None:
    """The OpenMP runtime that PyTorch has loaded: a second one's threads would wait on the cores that its own need."""
    try:
        found = re.search(r"/.*gomp.*", Path("/proc/self/maps").read_text())
    except OSError:
        return None
    return found and found.group()


@cache
def library() -> ctypes.CDLL | None:
    """The kernels; None where there is no C compiler, or what it makes cannot be loaded."""
    openmp = _openmp()
    threads, runtime = (["-fopenmp"], [openmp]) if openmp else ([], [])
    try:
        return shared_library("multistep", SOURCE.read_text(), threads, runtime)
    except (OSError, RuntimeError, subprocess.CalledProcessError):  # no home, say, or nothing can be written there
        return None


def usable(x: Tensor, steps: int = MAX_STEPS) -> bool:
    """Whether there is a kernel for inputs of shape (T, M); ``forward`` alone takes any number of steps."""
    if only_operators():
        return False
    fits = x.device.type == "cpu" and x.dtype in NAMES and len(x) <= steps and (x.shape[1] < 2 or x.stride(1) == 1)
    return fits and library() is not None


def _call(name: str, x: Tensor, pointers: list[int], settings: list[float], last: tuple[int, float] | None) -> None:
    """Call a kernel for all neurons, in as many threads as PyTorch has."""
    kind, number = NAMES[x.dtype]
    steps, m = x.shape
    size, address = ctypes.c_int64, ctypes.c_void_p
    threads = torch.get_num_threads() if x.numel() >= SHARED else 1
    arguments = [address(x.data_ptr()), size(x.stride(0)), *map(address, pointers), size(m), size(steps)]
    arguments += [ctypes.c_int(threads), *map(number, settings)]
    if last is not None:
        arguments += [ctypes.c_int(last[0]), number(last[1])]
    getattr(library(), f"{kind}_{name}")(*arguments)


def _settings(p: Dynamics) -> list[float]:
    return [p.dt / p.tau, p.r, p.v_leak, p.v_threshold, p.v_reset]


def forward(x: Tensor, p: Dynamics) -> Tensor:
    """Spikes of inputs of shape (T, M)."""
    spikes = torch.empty(x.shape, dtype=x.dtype)
    _call("forward", x, [spikes.data_ptr()], _settings(p), None)
    return spikes


def backward(x: Tensor, gradient: Tensor, p: Dynamics, spike: Surrogate) -> Tensor:
    """Gradient with respect to the inputs, given that of the spikes (contiguous); both of shape (T, M)."""
    out = torch.empty(x.shape, dtype=x.dtype)
    surrogate = (SURROGATES[spike.name], spike.slope)
    _call("backward", x, [gradient.data_ptr(), out.data_ptr()], _settings(p), surrogate)
    return out
