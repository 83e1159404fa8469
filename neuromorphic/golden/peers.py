"""Other frameworks' own importers, as simulators of NIR files. Each needs its framework, and all need PyTorch.

A file is read and run as the framework does it, without corrections. tests/peers runs each framework in an environment
of its own, because they need versions of nir that exclude each other.
"""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray

Read = Callable[[Path, torch.Tensor, float], torch.Tensor]
"""``read(path, x, dt)``: runs a file on an input of shape (B, T, *shape), dt in seconds; returns shape (B, T, ...)."""


def simulator(name: str) -> Callable[[Path, Mapping[str, NDArray], float], NDArray]:
    """A framework as :data:`neuromorphic.golden.simulators.Simulator`.

    Raises:
        ImportError: it is not installed.
    """
    read = READERS[name]()

    def simulate(path: Path, inputs: Mapping[str, NDArray], dt: float) -> NDArray:
        if len(inputs) != 1:
            raise NotImplementedError(f"{name} takes one input, the graph has {len(inputs)}")
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):  # snnTorch prints while it imports.
            out = read(path, torch.from_numpy(np.asarray(next(iter(inputs.values())))), dt)
        if not isinstance(out, torch.Tensor):
            raise TypeError(f"{name} gives {type(out).__name__}, no tensor")
        return out.numpy()

    return simulate


def graph_of(path: Path) -> nir.NIRGraph:
    """Read a graph without nir's type check, which in some versions refuses graphs that the framework can run."""
    unchecked = {"type_check": False} if "type_check" in inspect.signature(nir.read).parameters else {}
    return nir.read(str(path), **unchecked)


def step_by_step(net: Callable[..., Any], x: torch.Tensor) -> torch.Tensor:
    """Run a network step by step, and pass its state on. Shape (B, T, *shape) -> (B, T, ...)."""
    state, out = None, []
    for t in range(x.shape[1]):
        now, state = net(x[:, t], state)
        out.append(now)
    return torch.stack(out, dim=1)


def snntorch() -> Read:
    """snnTorch: it does not take dt, as 1e-4 is fixed in its source. Weights have PyTorch's default type."""
    from snntorch.import_nir import import_from_nir

    def read(path: Path, x: torch.Tensor, dt: float) -> torch.Tensor:
        return step_by_step(import_from_nir(graph_of(path)), x.to(torch.float32))

    return read


def norse() -> Read:
    """Norse: every parameter is rounded to float32."""
    import norse.torch

    def read(path: Path, x: torch.Tensor, dt: float) -> torch.Tensor:
        return step_by_step(norse.torch.from_nir(graph_of(path), dt=dt), x.to(torch.float32))

    return read


def sinabs(mend: Callable[[torch.nn.Module], None] | None = None) -> Read:
    """Sinabs: it does not take dt, as time constants are numbers of steps. ``mend`` changes the imported network."""
    from sinabs.nir import from_nir

    def read(path: Path, x: torch.Tensor, dt: float) -> torch.Tensor:
        net = from_nir(graph_of(path), batch_size=x.shape[0])
        if mend is not None:
            mend(net)
        out = net(x.to(torch.float32).flatten(0, 1))
        return (out[0] if isinstance(out, tuple) else out).unflatten(0, x.shape[:2])

    return read


def spikingjelly() -> Read:
    """SpikingJelly, in float64."""
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    def read(path: Path, x: torch.Tensor, dt: float) -> torch.Tensor:
        return step_by_step(import_from_nir(graph_of(path), dt=dt, dtype=torch.float64), x.to(torch.float64))

    return read


READERS: dict[str, Callable[[], Read]] = {
    "snntorch": snntorch,
    "norse": norse,
    "sinabs": sinabs,
    "spikingjelly": spikingjelly,
}
