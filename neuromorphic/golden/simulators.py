"""Simulators that are asked what golden graphs give: our back ends, other frameworks, anybody's function."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from neuromorphic.backends import BACKENDS, Backend, Precision, renamed
from neuromorphic.errors import ArgumentError, PackagesMissingError, first_line
from neuromorphic.golden.files import named

Simulator = Callable[[Path, Mapping[str, NDArray], float], Any]
"""``function(path, inputs, dt)``: runs the NIR file ``path`` from rest on ``inputs``, arrays of shape (B, T, *shape) by
Input node, with time steps of ``dt`` seconds. It returns what Output nodes get, (B, T, *shape), by name; the array
alone where there is one. It may add what neurons send and their potentials, NODE and NODE.potential: compared, too."""

PEERS = {"snntorch": "snntorch", "norse": "norse", "sinabs": "sinabs", "spikingjelly": "spikingjelly"}
"""Frameworks whose own importers are asked, with the packages to install."""
NAMES = (*BACKENDS, *PEERS)


def find_simulator(name: str, precision: Precision = "float") -> Simulator:
    """A simulator by name: one of :data:`NAMES`, or ``PATH:FUNCTION``, a Python file and a function of it.

    Raises:
        ArgumentError: there is no such name, file or function, or the file cannot be run.
        PackagesMissingError: the framework is not installed.
    """
    name = renamed(name)
    if name in BACKENDS:
        return own(cast(Backend, name), precision)
    if precision != "float":
        raise ArgumentError(f"--precision fixed is of {', '.join(BACKENDS)}; leave it out with {name}")
    if name in PEERS:
        try:
            peers = importlib.import_module("neuromorphic.golden.peers")
            return cast(Simulator, peers.simulator(name))
        except ImportError as error:
            raise PackagesMissingError(f"{name} cannot be imported ({error}): pip install {PEERS[name]}") from None
    file, _, function = name.rpartition(":")
    if not file:
        raise ArgumentError(f"simulator '{name}' is unknown; choose one of {', '.join(NAMES)}, or PATH.py:FUNCTION")
    return from_file(Path(file), function)


def own(backend: Backend, precision: Precision) -> Simulator:
    """A back end of this package, with the spikes and potentials of all neurons."""
    from neuromorphic.nir_file import read_checked  # Written a moment ago: no copy of the process has to try it first.
    from neuromorphic.spiking_network import load

    def simulate(path: Path, inputs: Mapping[str, NDArray], dt: float) -> dict[str, NDArray]:
        record = load(read_checked(path), dt).run(inputs, backend, precision, potentials=True).simulation.record
        return named(record.outputs, record.spikes, record.potentials)

    return simulate


def from_file(path: Path, function: str) -> Simulator:
    """A function of a Python file, which is run.

    Raises:
        ArgumentError: there is no such file or function, or the file cannot be run.
    """
    if not path.is_file():
        raise ArgumentError(f"simulator: there is no file {path}; give PATH.py:FUNCTION, or one of {', '.join(NAMES)}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ArgumentError(f"simulator: {path} is no Python file; give PATH.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # As Python does with a script's folder.
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ArgumentError(f"simulator: {path} cannot be run ({type(error).__name__}: {first_line(error)})") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ArgumentError(f"simulator: {path} has no function '{function}'; it takes (path, inputs, dt)")
    return cast(Simulator, found)
