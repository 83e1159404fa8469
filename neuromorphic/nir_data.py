"""NIR's own data files (``nir.read_data``, ``nir.write_data``) as inputs and outputs of graphs.

A file has nodes, each with observables: on a time grid of shape (samples, steps, neurons), as events (neuron and time),
or as events with values.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import listed
from neuromorphic.errors import SignalFileError, UserNotice
from neuromorphic.execution.record import check_memory
from neuromorphic.files import write_atomically
from neuromorphic.graph import Graph
from neuromorphic.hdf5 import available_memory, reason, size_text, try_in_a_fork

SPIKES, VALUES, POTENTIALS = "spikes", "values", "voltages"
"""Names of observables that are written: of spikes, of numbers that nodes send, of membrane potentials."""
SAME_DT = 1e-9


def require_data() -> None:
    """Check that the installed nir has data files.

    Raises:
        SignalFileError: it has not.
    """
    if not hasattr(nir, "read_data"):
        raise SignalFileError(f"nir {nir.version} has no data files; pip install -U nir, or give an .npz")


def read_nir_data(path: Path, graph: Graph) -> dict[str, NDArray]:
    """Read the inputs of a graph from a data file.

    An event at time t becomes a 1, or its value, in step floor(t / dt). Of several events of a neuron in one step the
    last counts, as in ``nir``'s own conversion, and a warning says so. A node of the file has one observable. If it has
    several, the one named like the node or ``spikes`` is read.

    Returns:
        Arrays of shape (B, T, *shape) by Input node.

    Raises:
        SignalFileError: the file is not a NIR data file, an Input node is missing, or its data do not fit the graph.
        UnsupportedGraphError: the arrays do not fit in memory.
    """
    require_data()
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("__type__") != "NIRGraphData":
                raise SignalFileError(f"{path} is HDF5, but no data file of NIR; write it with nir.write_data")
            sizes: list[int] = []
            file.visititems(lambda _, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
        if sum(sizes) > (room := available_memory()):
            raise SignalFileError(
                f"{path} holds {size_text(sum(sizes))}, {size_text(room)} are free; cut it into several"
            )
        try_in_a_fork(path, lambda: nir.read_data(str(path)))
        data = nir.read_data(str(path))
    except SignalFileError:
        raise
    except Exception as error:  # h5py and nir raise nearly everything on broken files.
        raise SignalFileError(
            f"{path} cannot be read as NIR data ({reason(error)}); write it with nir.write_data"
        ) from None
    nodes = dict(data.nodes)
    if len(graph.inputs) == 1 and graph.inputs[0] not in nodes and "input" in nodes:
        nodes[graph.inputs[0]] = nodes["input"]
    if missing := [name for name in graph.inputs if name not in nodes]:
        raise SignalFileError(f"{path} has no node '{missing[0]}'; it has {listed(data.nodes)}")
    return {name: array_of(path, graph, name, nodes[name]) for name in graph.inputs}


def array_of(path: Path, graph: Graph, name: str, node: Any) -> NDArray:
    """The array of one node, shape (B, T, *shape); see :func:`read_nir_data`.

    Raises:
        SignalFileError: the node has no observable of this name, or the data do not fit the graph.
    """
    observables = getattr(node, "observables", {})
    chosen = [key for key in (name, SPIKES, *observables) if key in observables]
    if not chosen or (len(observables) > 1 and chosen[0] not in (name, SPIKES)):
        raise SignalFileError(
            f"{path}: node '{name}' has the observables {listed(observables)}; name one of them '{SPIKES}'"
        )
    found, where = observables[chosen[0]], f"{path}: '{chosen[0]}' of node '{name}'"
    shape, size = graph.nodes[name].shape, graph.nodes[name].size
    if isinstance(found, nir.TimeGriddedData):
        if abs(found.dt - graph.dt) > SAME_DT * graph.dt:
            raise SignalFileError(
                f"{where} has steps of {found.dt:g} s, the graph of {graph.dt:g} s; give --dt {found.dt:g}"
            )
        neurons, x = found.data.shape[2], found.data
    else:
        neurons = found.n_neurons
        x = None
    if neurons != size:
        raise SignalFileError(f"{where} is of {neurons:,} neurons, the node has {size:,}")
    x = from_events(where, found, graph) if x is None else x
    return x.reshape(*x.shape[:2], *shape)


def from_events(where: str, events: Any, graph: Graph) -> NDArray:
    """Events on the graph's time grid, shape (samples, T, neurons).

    Raises:
        SignalFileError: events are not sorted by time, belong to unknown neurons, or come after the end of the
            recording.
    """
    values = getattr(events, "value", None)
    idx, time = np.asarray(events.idx), np.asarray(events.time, np.float64)
    if idx.ndim != 2 or idx.dtype.kind not in "iu" or not 0 < events.t_max < np.inf:
        raise SignalFileError(
            f"{where} has events of shape {idx.shape}, t_max = {events.t_max:g} s; give (samples, events) of whole "
            "numbers, and the recording's end"
        )
    there = idx != -1
    if (there & ((idx < 0) | (idx >= events.n_neurons))).any():
        bad = int(idx[there & ((idx < 0) | (idx >= events.n_neurons))][0])
        raise SignalFileError(
            f"{where} has an event of neuron {bad}; they are 0 to {events.n_neurons - 1}, and -1 is none"
        )
    if not ((time >= 0) & (time <= events.t_max))[there].all():
        raise SignalFileError(f"{where} has events before 0 or after its end, t_max = {events.t_max:g} s; cut them off")
    if any((np.diff(own[ok]) < 0).any() for own, ok in zip(time, there, strict=True)):
        raise SignalFileError(f"{where} is not in order of time; sort its events")
    steps = int(np.ceil(events.t_max / graph.dt - 1e-6))
    check_memory(graph, len(idx), steps)
    x = np.zeros((len(idx), steps, events.n_neurons), bool if values is None else np.float64)
    sample, at = np.nonzero(there)
    step = np.minimum(np.floor(time[sample, at] / graph.dt + 1e-6).astype(np.int64), steps - 1)
    cells = np.ravel_multi_index((sample, step, idx[sample, at]), x.shape)
    if more := len(cells) - len(np.unique(cells)):
        text = f"{where}: {more:,} events share neuron and step with another, and the last of each counts"
        warnings.warn(UserNotice(f"{text}; a smaller --dt tells them apart"), stacklevel=6)
    x.reshape(-1)[cells] = True if values is None else values[sample, at]
    return x


def write_nir_data(path: Path, observables: Mapping[str, Mapping[str, NDArray]], dt: float) -> None:
    """Write arrays of shape (B, T, *shape) by node and observable, on a time grid.

    Raises:
        SignalFileError: the installed nir has no data files, or HDF5 does not accept the name of a node.
        UserError: the file cannot be written.
    """
    require_data()
    if bad := [name for name in observables if "/" in name or name in ("", ".", "..")]:
        raise SignalFileError(f"no HDF5 file takes a node named '{bad[0]}'; write an .npz")
    data = nir.NIRGraphData(
        {
            name: nir.NIRNodeData({key: nir.TimeGriddedData(x.reshape(*x.shape[:2], -1), dt) for key, x in own.items()})
            for name, own in observables.items()
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data"
        nir.write_data(file, data)
        write_atomically(path, file.read_bytes())
