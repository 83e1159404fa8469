"""Inputs and outputs of NIR graphs as ``.npz`` files, with or without a batch axis."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromorphic.errors import SignalFileError
from neuromorphic.execution.record import Record
from neuromorphic.graph import Graph


@dataclass(frozen=True)
class Signals:
    """Inputs of a graph.

    Attributes:
        inputs: By Input node, shape (B, T, *shape).
        batched: Whether the file had the axis B.
    """

    inputs: dict[str, NDArray]
    batched: bool


def load_inputs(path: Path, graph: Graph, steps: int | None = None) -> Signals:
    """Read ``input``, or an array per Input node by its name, of shape (T, *shape) or (B, T, *shape).

    Args:
        path: The ``.npz`` file.
        graph: Whose inputs they are.
        steps: Run so many steps: the inputs are cut, or go on with zeros.

    Raises:
        SignalFileError: the file cannot be read, or an array is missing, unknown or of another shape.
    """
    arrays = read_arrays(path)
    if len(graph.inputs) == 1 and "input" in arrays and graph.inputs[0] not in arrays:
        arrays[graph.inputs[0]] = arrays.pop("input")
    if missing := [name for name in graph.inputs if name not in arrays]:
        raise SignalFileError(f"{path} has no array '{missing[0]}'; it has {', '.join(arrays) or 'none'}")
    if unknown := [name for name in arrays if name not in graph.inputs]:
        raise SignalFileError(f"{path} has the array '{unknown[0]}', which is no Input node of the graph")
    axes = {x.ndim - len(graph.nodes[name].shape) for name, x in arrays.items()}
    inputs: dict[str, NDArray] = {}
    for name, x in arrays.items():
        shape = graph.nodes[name].shape
        if x.ndim - len(shape) not in (1, 2) or x.shape[x.ndim - len(shape) :] != shape or len(axes) != 1:
            wanted = ", ".join(map(str, shape))
            raise SignalFileError(f"{path}: '{name}' must have shape (T, {wanted}) or (B, T, {wanted}), got {x.shape}")
        x = x if axes == {2} else x[None]
        if steps is not None:
            x = np.concatenate([x[:, :steps], np.zeros((len(x), max(steps - x.shape[1], 0), *shape))], axis=1)
        inputs[name] = x
    if len({x.shape[:2] for x in inputs.values()}) != 1:
        raise SignalFileError(f"{path}: the inputs differ in batch size or steps")
    if 0 in next(iter(inputs.values())).shape[:2]:
        raise SignalFileError(f"{path}: there is no sample or no step to run")
    return Signals(inputs, axes == {2})


def read_arrays(path: Path) -> dict[str, NDArray]:
    """All arrays of an ``.npz`` file, real and finite; nothing is unpickled.

    Raises:
        SignalFileError: the file is missing or broken, or an array holds something else.
    """
    if not path.is_file():
        raise SignalFileError(f"input file {path} does not exist")
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise SignalFileError(f"{path} is no .npz file; write it with numpy.savez")
            arrays = dict(file)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SignalFileError(f"{path} cannot be read as .npz ({reason}); write it with numpy.savez") from None
    for name, x in arrays.items():
        if x.dtype.kind not in "fiub" or not np.isfinite(x).all():
            raise SignalFileError(f"{path}: '{name}' must hold finite real numbers, got {x.dtype}")
    return arrays


def output_arrays(graph: Graph, record: Record, trace: tuple[str, ...], batched: bool) -> dict[str, NDArray]:
    """What is written: ``output`` (an array per Output node where there are several), and the traced nodes.

    A traced neuron's spikes stand under its name, those of I, LI and CubaLI as potentials; the potentials of neurons
    that spike under ``NAME.potential``.
    """
    single = len(graph.outputs) == 1 and "output" not in trace
    arrays: dict[str, NDArray] = {"output" if single else name: values for name, values in record.outputs.items()}
    for name in trace:
        arrays[name] = record.spikes[name] if name in record.spikes else record.potentials[name]
        if name in record.spikes and name in record.potentials:
            arrays[f"{name}.potential"] = record.potentials[name]
    return arrays if batched else {name: values[0] for name, values in arrays.items()}


def with_membrane(graph: Graph, names: Mapping[str, object] | tuple[str, ...]) -> list[str]:
    """Those of the named neurons that spike and have a membrane potential."""
    return [name for name in names if graph.nodes[name].is_spiking and graph.nodes[name].kind != "Threshold"]
