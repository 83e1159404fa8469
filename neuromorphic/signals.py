"""Inputs and outputs of NIR graphs, as arrays and as files, with or without a batch axis."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_count, check_path, check_real, described, listed, not_finite, printed
from neuromorphic.errors import ArgumentError, SignalFileError, UserError, UserNotice
from neuromorphic.events import read_events, reader_of
from neuromorphic.execution.record import Record, check_graph, check_memory
from neuromorphic.execution.spikes import save_arrays
from neuromorphic.execution.ties import every_signal
from neuromorphic.files import write_atomically
from neuromorphic.graph import Graph
from neuromorphic.hdf5 import available_memory, reason, size_text

HDF5 = b"\x89HDF\r\n\x1a\n"
"""First bytes of an HDF5 file."""
OUTPUTS = (".npz", ".npy", ".nir", ".h5", ".hdf5")
"""Suffixes of files that outputs can be written to: arrays, one array, or NIR's own data files."""


@dataclass(frozen=True)
class Signals:
    """Inputs of a graph.

    Attributes:
        inputs: By Input node, shape (B, T, *shape).
        batched: Whether the file had the axis B.
    """

    inputs: dict[str, NDArray]
    batched: bool


def as_signals(x: object, graph: Graph, steps: int | None = None) -> Signals:
    """Inputs of a graph from an array, from arrays by Input node, or from a file.

    Args:
        x: An array (or what NumPy converts to one) for the one Input node, or a mapping of Input node to array. Shapes
            are (T, *shape) or (B, T, *shape). Or the path of a file, see :func:`load_inputs`.
        graph: The graph.
        steps: Number of steps: longer inputs are cut, shorter ones are continued with zeros. None: that of the inputs.

    Raises:
        ArgumentError: an Input node has no array, an array has no Input node, or a shape is wrong.
        SignalFileError: the file cannot be used.
        UnsupportedGraphError: the inputs do not fit in memory.
    """
    if isinstance(x, str | Path):
        return load_inputs(Path(x), graph, steps)
    check_graph(graph)
    if not isinstance(x, Mapping):
        if len(graph.inputs) != 1:
            raise ArgumentError(f"the network has the inputs {listed(graph.inputs)}; give an array for each, by name")
        x = {graph.inputs[0]: x}
    if set(x) != set(graph.inputs):
        names = [name if isinstance(name, str) else printed(name) for name in x]
        raise ArgumentError(f"inputs {listed(names)} are given; the network's are {listed(graph.inputs)}")
    arrays = {name: as_array(f"input '{name}'", x[name]) for name in graph.inputs}
    return with_batch_axis(arrays, graph, steps, "input ", ArgumentError)


def as_array(what: str, x: object) -> NDArray:
    """``x`` as an array of finite real numbers.

    Args:
        what: Name of the argument in error messages.
        x: An array, or what NumPy converts to one.

    Raises:
        ArgumentError: it is not such an array.
    """
    if not isinstance(x, np.ndarray) and not isinstance(x, str | bytes | Mapping):
        try:
            x = np.asarray(x)
        except Exception as error:  # A ragged list, or a tensor that PyTorch does not hand out.
            raise ArgumentError(f"{what} is {described(x)} that NumPy makes no array of ({reason(error)})") from None
    return check_real(what, x)


def load_inputs(path: Path, graph: Graph, steps: int | None = None) -> Signals:
    """Read the inputs of a graph from a file. The format is recognised by the content, not by the name.

    Args:
        path: The file. Either arrays of shape (T, *shape) or (B, T, *shape): an ``.npz`` with the array ``input`` or an
            array for each Input node by its name, or a ``.npy`` for the one Input node. Or one of NIR's own data files
            (:mod:`neuromorphic.nir_data`), or a recording of an event camera (:mod:`neuromorphic.events`).
        graph: The graph.
        steps: As in :func:`as_signals`.

    Raises:
        ArgumentError: an argument has the wrong type.
        SignalFileError: the file cannot be read, or an array is missing or has another shape.
        UnsupportedGraphError: the inputs do not fit in memory.
    """
    path = check_path("path", path)
    check_graph(graph)
    if steps is not None:
        steps = check_count("steps", steps)
    start = first_bytes(path)
    if start.startswith(HDF5):
        from neuromorphic.nir_data import read_nir_data

        arrays = read_nir_data(path, graph)
    elif (read := reader_of(path, start)) is not None:
        arrays = read_events(path, read, graph, steps)
    else:
        arrays = read_arrays(path, graph.inputs)
    return with_batch_axis(arrays, graph, steps, f"{path}: ", SignalFileError)


def first_bytes(path: Path) -> bytes:
    """The first 16 bytes of a file, or fewer. Empty if it cannot be read; :func:`read_arrays` then raises the error."""
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""


def with_batch_axis(
    arrays: Mapping[str, NDArray], graph: Graph, steps: int | None, where: str, error: type[UserError]
) -> Signals:
    """Arrays by Input node with the axis B. It is added to arrays that have none.

    Raises:
        ArgumentError: ``steps`` is not a number of steps.
        UserError: shapes do not fit the graph or each other; the class is ``error``.
        UnsupportedGraphError: the inputs do not fit in memory.
    """
    if steps is not None:
        steps = check_count("steps", steps)
    axes = {x.ndim - len(graph.nodes[name].shape) for name, x in arrays.items()}
    inputs: dict[str, NDArray] = {}
    for name, x in arrays.items():
        shape = graph.nodes[name].shape
        if x.ndim - len(shape) not in (1, 2) or x.shape[x.ndim - len(shape) :] != shape:
            wanted = [", ".join(map(str, (*lead, *shape))) for lead in (("T",), ("B", "T"))]
            raise error(f"{where}'{name}' must have shape ({wanted[0]}) or ({wanted[1]}), got {x.shape}")
        if len(axes) != 1:
            raise error(f"{where}'{name}' and others differ in the axis B; give it to all, or to none")
        x = x if axes == {2} else x[None]
        if 0 in x.shape[:2]:
            raise error(f"{where}'{name}' has no {'step' if len(x) else 'sample'} to run: shape {x.shape}")
        inputs[name] = x
    if len({x.shape[:2] for x in inputs.values()}) != 1:
        raise error(f"{where}'{next(iter(inputs))}' and others differ in batch size or steps; give all the same")
    if steps is not None:
        check_memory(graph, len(next(iter(inputs.values()))), steps)
        inputs = {name: of_length(x, steps) for name, x in inputs.items()}
    return Signals(inputs, axes == {2})


def of_length(x: NDArray, steps: int) -> NDArray:
    """An input of shape (B, T, *shape), cut to ``steps`` steps or continued with zeros."""
    missing = max(steps - x.shape[1], 0)
    return np.concatenate([x[:, :steps], np.zeros((len(x), missing, *x.shape[2:]), x.dtype)], axis=1)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray]:
    """Read arrays of finite real numbers by name from an ``.npz`` file, or the one array of a ``.npy`` file.

    Nothing is unpickled. If one name is asked for, the array may also be called ``input``. Other arrays are not read; a
    warning names them.

    Raises:
        SignalFileError: the file is missing or broken, or an array is missing or holds something else.
    """
    try:
        if not path.is_file():
            what = "is a folder; give the .npz file in it" if path.is_dir() else "does not exist"
            raise SignalFileError(f"input file {path} {what}")
        with path.open("rb") as opened:
            start = opened.read(6)
        if not start.startswith((b"PK", b"\x93NUMPY")):
            raise SignalFileError(
                f"{path} is neither an .npz nor a .npy file, nor NIR data or a recording of events; write it with "
                "numpy.savez"
            )
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if len(names) != 1:
                raise SignalFileError(
                    f"{path} holds one array, the graph has the Input nodes {listed(names)}; write an .npz with all"
                )
            arrays = {names[0]: loaded}
        else:
            with loaded as file:
                arrays = chosen(path, file, names)
    except SignalFileError:
        raise
    except Exception as error:  # NumPy and zipfile raise nearly everything on broken files.
        raise SignalFileError(f"{path} cannot be read as .npz ({reason(error)}); write it with numpy.savez") from None
    for name, x in arrays.items():
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiub":
            held = x.dtype if isinstance(x, np.ndarray) else "no array"
            raise SignalFileError(f"{path}: '{name}' must hold real numbers, got {held}")
        if found := not_finite(x):
            raise SignalFileError(f"{path}: '{name}' is {found}; give finite numbers")
    return arrays


def chosen(path: Path, file: np.lib.npyio.NpzFile, names: Sequence[str]) -> dict[str, NDArray]:
    """The arrays ``names`` of an open ``.npz`` file, as stored; see :func:`read_arrays`.

    Raises:
        SignalFileError: an array is missing, cannot be read, or does not fit in memory.
    """
    keys = {name: name for name in names}
    if len(names) == 1 and names[0] not in file.files and "input" in file.files:
        keys = {names[0]: "input"}
    if missing := [name for name, key in keys.items() if key not in file.files]:
        own = "input" if len(names) == 1 else missing[0]
        raise SignalFileError(f"{path} has no array '{own}'; it has {listed(file.files)}")
    wanted = {f"{key}.npy" for key in keys.values()} | set(keys.values())
    archive = file.zip
    assert archive is not None  # as long as the file is open
    need = sum(info.file_size for info in archive.infolist() if info.filename in wanted)
    room = available_memory()
    if need > room:
        raise SignalFileError(f"{path} holds {size_text(need)}, {size_text(room)} are free; cut it into several files")
    if ignored := [key for key in file.files if key not in keys.values()]:
        text = f"{path}: {listed(ignored)} {'is not an Input node' if len(ignored) == 1 else 'are not Input nodes'}"
        warnings.warn(f"{text} of the graph and left out", UserNotice, stacklevel=4)
    return {name: file[key] for name, key in keys.items()}


def traced(graph: Graph, inputs: Mapping[str, NDArray], record: Record, trace: Sequence[str]) -> dict[str, NDArray]:
    """Output of the nodes ``trace`` by name, shape (B, T, *shape): spikes, potentials of I, LI and CubaLI, inputs, and
    inputs of Output nodes. That of linear nodes is computed from the record."""
    known: dict[str, NDArray] = {**inputs, **record.outputs, **record.potentials, **record.spikes}
    if any(name not in known for name in trace):
        known = {**every_signal(graph, inputs, record), **known}
    return {name: known[name] for name in trace}


def output_arrays(
    graph: Graph,
    record: Record,
    trace: Sequence[str],
    batched: bool,
    inputs: Mapping[str, NDArray] | None = None,
) -> dict[str, NDArray]:
    """Arrays of a file of outputs: ``output`` (several Output nodes: an array for each), and those of traced nodes.

    The output of a traced node has the name of the node (:func:`traced`). Potentials of spiking neurons are called
    ``NAME.potential``, with a ``_`` behind it if a node has this name. Traced linear nodes and inputs need ``inputs``.
    """
    single = len(graph.outputs) == 1 and "output" not in trace
    arrays: dict[str, NDArray] = {"output" if single else name: values for name, values in record.outputs.items()}
    arrays |= traced(graph, inputs or {}, record, trace)
    for name in trace:
        if name in record.spikes and name in record.potentials:
            arrays[potential_key(name, {*arrays, *graph.nodes})] = record.potentials[name]
    return arrays if batched else {name: values[0] for name, values in arrays.items()}


def write_outputs(
    path: Path, graph: Graph, record: Record, trace: Sequence[str], batched: bool, inputs: Mapping[str, NDArray]
) -> None:
    """Write outputs and traced nodes to a file. Its suffix, one of :data:`OUTPUTS`, says the format.

    Raises:
        ArgumentError: the suffix is another one, or a ``.npy`` would have to hold several arrays.
        SignalFileError: NIR's data files cannot hold the arrays, see :mod:`neuromorphic.nir_data`.
        UserError: the file cannot be written.
    """
    if path.suffix not in OUTPUTS:
        raise ArgumentError(f"{path} must end in {', '.join(OUTPUTS)}")
    arrays = output_arrays(graph, record, trace, batched, inputs)
    if path.suffix == ".npz":
        save_arrays(path, arrays)
    elif path.suffix == ".npy":
        if len(arrays) != 1:
            raise ArgumentError(f"{path} takes one array, not {listed(arrays)}; write an .npz, or trace nothing")
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, next(iter(arrays.values())), allow_pickle=False)
        write_atomically(path, buffer.getvalue())
    else:
        from neuromorphic.nir_data import POTENTIALS, SPIKES, VALUES, write_nir_data

        observables: dict[str, dict[str, NDArray]] = {}
        for name, x in {**record.outputs, **traced(graph, inputs, record, trace)}.items():
            spikes = bool(np.isin(x, (0, 1)).all())
            observables[name] = {SPIKES: x.astype(bool)} if spikes else {VALUES: x}
            if name in record.spikes and name in record.potentials:
                observables[name][POTENTIALS] = record.potentials[name]
        write_nir_data(path, observables, graph.dt)


def potential_key(name: str, taken: Collection[str]) -> str:
    """The name of a neuron's potentials in a file. A warning says so if it is not ``NAME.potential``."""
    key = f"{name}.potential"
    if key not in taken:
        return key
    while key in taken:
        key += "_"
    warnings.warn(f"potentials of '{name}' are written as '{key}': a node is named '{name}.potential'", UserNotice, 3)
    return key


def with_membrane(graph: Graph, names: Sequence[str]) -> list[str]:
    """The neurons among ``names`` that spike and have a membrane potential."""
    return [name for name in names if graph.nodes[name].is_spiking and graph.nodes[name].has_membrane]
