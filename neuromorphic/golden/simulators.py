"""Simulators that can run the golden graphs: our back ends, other frameworks, and any function of the user."""

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
Input node, with time steps of ``dt`` seconds. It returns the values of Output nodes by name, (B, T, *shape), or the
array alone if there is one Output. It may add outputs and potentials of neurons as NODE and NODE.potential, which are
compared, too."""

PEERS = {"snntorch": "snntorch nirtorch", "norse": "norse", "sinabs": "sinabs", "spikingjelly": "'spikingjelly[nir]'"}
"""Frameworks whose own importers can run, with what to install: snnTorch does not declare what its importer needs."""
NAMES = (*BACKENDS, *PEERS)


def find_simulator(name: str, precision: Precision = "float") -> Simulator:
    """Find a simulator: one of :data:`NAMES`, or ``PATH:FUNCTION``, a Python file and a function in it.

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
    """A back end of this package, which also returns spikes and potentials of all neurons."""
    from neuromorphic.nir_file import read_checked  # We wrote the file, so no other process needs to try it first.
    from neuromorphic.spiking_network import load

    def simulate(path: Path, inputs: Mapping[str, NDArray], dt: float) -> dict[str, NDArray]:
        record = load(read_checked(path), dt).run(inputs, backend, precision, potentials=True).simulation.record
        return named(record.outputs, record.spikes, record.potentials)

    return simulate


def from_file(path: Path, function: str) -> Simulator:
    """A function of a Python file. The file is executed.

    Raises:
        ArgumentError: there is no such file or function, or the file cannot be run.
    """
    if not path.is_file():
        raise ArgumentError(f"simulator: there is no file {path}; give PATH.py:FUNCTION, or one of {', '.join(NAMES)}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ArgumentError(f"simulator: {path} is not a Python file; give PATH.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    # As Python does with a script's folder, whose path is absolute: the import system keeps what it found in a relative
    # one, which is another folder where the process has moved.
    sys.path.insert(0, str(path.absolute().parent))
    importlib.invalidate_caches()
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ArgumentError(f"simulator: {path} cannot be run ({type(error).__name__}: {first_line(error)})") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ArgumentError(f"simulator: {path} has no function '{function}'; it takes (path, inputs, dt)")
    return cast(Simulator, found)
