"""The golden set as files, for simulators in any language.

    DIR/manifest.json           a list of all cases, with the digest of every file; its schema is beside it
    DIR/manifest.schema.json
    DIR/CASE/graph.nir          the graph, dt and the reset rule in its metadata
    DIR/CASE/input.npz          an array for each Input node, as ``neuromorphic.run --input`` reads it
    DIR/CASE/expected.npz       an array for each Output node; NODE, outputs of neurons; NODE.potential, potentials of
                                spiking neurons after each step: as ``neuromorphic.run --out --trace`` writes them

All arrays have the shape (B, T, *shape of the node). The bytes of ``.npz`` and JSON files are the same wherever they
are written, those of ``.nir`` files with the same nir, h5py and HDF5.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neuromorphic.errors import SignalFileError
from neuromorphic.execution.spikes import save_arrays
from neuromorphic.files import Lock, make_folder, write_atomically
from neuromorphic.golden.cases import FAMILIES, Case
from neuromorphic.golden.exact import flat
from neuromorphic.nir_file import write_nir

SCHEMA = 1
"""Raised whenever a key of the manifest changes its meaning or goes."""
TOLERANCE = 1e-5
"""Largest allowed error, relative to the largest number of the array, or absolute if that is below 1. This
allows for float32."""
MEANING = (
    "All states are 0 before the first step. A step is forward Euler with dt: of LIF and LI "
    "w = v + dt / tau (v_leak - v + r x), of IF and I w = v + r x, of CubaLIF and CubaLI "
    "i' = i + dt / tau_syn (w_in x - i) and w = v + dt / tau_mem (v_leak - v + r i'). A neuron spikes where w is above "
    "its threshold, not where it is on it; in that step v becomes v_reset, or by reset 'subtract' w - v_threshold. "
    "What a node sends is read in the same step, but neurons that reach each other without a Delay of a step or more, "
    "and a neuron that so reaches itself, read each other as they were in the step before."
)
"""The semantics of the expected values, for the manifest; :class:`neuromorphic.graph.Graph` has the details."""


def expected_arrays(case: Case) -> dict[str, NDArray]:
    """Exact values of a golden graph by name, as in ``expected.npz``, shape (B, T, *shape)."""
    run = case.solved[1]
    return named(run.outputs, run.spikes, run.potentials)


def named(
    outputs: Mapping[str, NDArray], spikes: Mapping[str, NDArray], potentials: Mapping[str, NDArray]
) -> dict[str, NDArray]:
    """Signals of a run in one dictionary. Potentials of spiking nodes are called ``NODE.potential``."""
    own = {f"{name}.potential" if name in spikes else name: values for name, values in potentials.items()}
    return {**outputs, **spikes, **own}


def digest_of(cases: Iterable[Case]) -> str:
    """SHA-256 of all inputs and expected values, with names and shapes. Sets with the same digest are equal."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case.name.encode())
        for arrays in (case.solved[0], expected_arrays(case)):
            for name, values in sorted(arrays.items()):
                digest.update(f"{name}{values.dtype.str}{values.shape}".encode())
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def write_set(folder: Path, cases: Iterable[Case]) -> Path:
    """Write golden graphs, their inputs and their expected values.

    Returns:
        The manifest.

    Raises:
        UserError: the folder cannot be written to.
    """
    make_folder(folder)
    cases = list(cases)
    with Lock(folder / ".lock", str(folder)):
        rows = []
        for case in tqdm(cases, "golden graphs", unit=" graphs", leave=False, delay=1):
            own = folder / case.name
            write_nir(own / "graph.nir", case.graph)
            save_arrays(own / "input.npz", case.solved[0], compress=False)
            save_arrays(own / "expected.npz", expected_arrays(case), compress=False)
            rows.append(described(case) | {"files": {name: sha256(own / name) for name in FILES}})
        schema = files("neuromorphic.golden").joinpath("manifest.schema.json").read_text()
        write_atomically(folder / "manifest.schema.json", schema)
        manifest = {
            "schema": SCHEMA,
            "digest": digest_of(cases),
            "meaning": MEANING,
            "tolerance": TOLERANCE,
            "nir": version("nir"),
            "families": FAMILIES,
            "cases": rows,
        }
        write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return folder / "manifest.json"


FILES = ("graph.nir", "input.npz", "expected.npz")


def described(case: Case) -> dict[str, Any]:
    """A case's row of the manifest, without its files."""
    nodes, resets, _ = flat(case.graph)
    x, run = case.solved
    kinds = {name: type(node).__name__ for name, node in nodes.items()}
    resetting = [name for name in run.spikes if kinds[name] != "Threshold"]
    return {
        "name": case.name,
        "family": case.family,
        "about": case.about,
        "primitives": sorted({*kinds.values()} | ({"NIRGraph"} if has_graph(case.graph) else set())),
        "dt": case.dt,
        "batch": case.batch,
        "steps": case.steps,
        "inputs": {name: list(values.shape[2:]) for name, values in x.items()},
        "outputs": {name: list(values.shape[2:]) for name, values in run.outputs.items()},
        "spiking": {name: list(values.shape[2:]) for name, values in run.spikes.items()},
        "reset": {name: resets[name] for name in resetting},
        "ties": run.ties,
        "margin": run.margin if run.margin < float("inf") else None,
    }


def has_graph(graph: nir.NIRGraph) -> bool:
    """Whether there is a graph within the graph."""
    return any(isinstance(node, nir.NIRGraph) for node in graph.nodes.values())


def sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_outputs(folder: Path, case: Case) -> Mapping[str, NDArray]:
    """Read the results that another simulator wrote for a case, in ``CASE.npz`` or ``CASE/output.npz``.

    Raises:
        FileNotFoundError: neither is there.
        SignalFileError: the file is broken.
    """
    path = folder / f"{case.name}.npz"
    if not path.is_file():
        path = folder / case.name / "output.npz"
    with path.open("rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except Exception:  # NumPy and zipfile raise nearly everything, and advise to unpickle.
            raise SignalFileError(f"{path} is no whole .npz file; write it with numpy.savez") from None
