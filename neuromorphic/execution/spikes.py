"""Spike records on disk, and how two of them agree."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_path, check_type, printed
from neuromorphic.errors import ArgumentError
from neuromorphic.files import write_atomically

Spikes = NDArray[np.bool_]
"""Spikes of a population, shape (T, neurons)."""


def save_arrays(path: Path, named: Mapping[str, NDArray], compress: bool = True) -> None:
    """Write arrays to an ``.npz``, under a temporary name first; a name may be any text that is no longer than a zip
    file takes: slashes, ``file`` and what else ``numpy.savez`` does not take. No date goes into it, so the same arrays
    give the same bytes.

    Raises:
        ArgumentError: an argument of the wrong type, or a name that no zip file can hold.
        UserError: the folder cannot be written to.
    """
    path = check_path("path", path)
    check_type("the arrays", named, Mapping, "give them by name")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in named.items():
            check_type(f"array {printed(name)}", array, np.ndarray, "give a NumPy array")
            if array.dtype.hasobject:
                raise ArgumentError(f"array {printed(name)} holds objects; give numbers or texts")
            if not isinstance(name, str) or "\0" in name or not 0 <= encoded_size(name) < 2**16 - 4:
                raise ArgumentError(f"array {printed(name)} has a name that no .npz file can hold; rename it")
            # np.load looks for a name among the members as they are, before it tries it with .npy.
            member = name if f"{name}.npy" in named else f"{name}.npy"
            info = zipfile.ZipInfo(member)
            info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            with file.open(info, "w", force_zip64=True) as out:
                np.lib.format.write_array(out, array, allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def encoded_size(name: str) -> int:
    """Bytes of a text in UTF-8, -1 where it cannot be said in it."""
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        return -1


@dataclass(frozen=True)
class Difference:
    """Where two spike records differ first: in time, then in the order of records and of neurons."""

    step: int
    record: int
    neuron: int


@dataclass(frozen=True)
class Agreement:
    """How two sets of spike records agree.

    Attributes:
        equal: Cells (neuron, step) that are equal.
        cells: All cells.
        first_difference: None where all cells are equal.
    """

    equal: int
    cells: int
    first_difference: Difference | None

    @property
    def fraction(self) -> float:
        """Equal cells of all cells; 1 where there are none."""
        return self.equal / self.cells if self.cells else 1.0


def compare(ours: Sequence[Spikes], theirs: Sequence[Spikes]) -> Agreement:
    """Compare records pairwise.

    Raises:
        ValueError: a pair differs in shape.
    """
    equal = cells = 0
    first: Difference | None = None
    for record, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a.shape != b.shape:
            raise ValueError(f"spike record {record}: shapes {a.shape} and {b.shape} differ")
        different = a != b
        cells += different.size
        equal += different.size - int(different.sum())
        if different.any():
            step = int(different.any(axis=1).argmax())
            if first is None or step < first.step:
                first = Difference(step, record, int(different[step].argmax()))
    return Agreement(equal, cells, first)


def by_node(ours: Mapping[str, NDArray], theirs: Mapping[str, NDArray]) -> dict[str, float]:
    """Share of each node's cells (sample, step, neuron) that are equal, shape (B, T, *shape) each; 1 of no cells."""
    return {name: float((a == theirs[name]).mean()) if a.size else 1.0 for name, a in ours.items()}


def compare_nodes(ours: Mapping[str, Spikes], theirs: Mapping[str, Spikes]) -> tuple[Agreement, dict[str, Any] | None]:
    """Compare spikes by node, shape (B, T, *shape) each.

    Returns:
        The agreement, and node, sample, step and neuron of the first difference; None where there is none.
    """
    places = [(name, sample) for name, spikes in ours.items() for sample in range(len(spikes))]
    rows = [[own[name][b].reshape(own[name].shape[1], -1) for name, b in places] for own in (ours, theirs)]
    agreement = compare(*rows)
    difference = agreement.first_difference
    if difference is None:
        return agreement, None
    node, sample = places[difference.record]
    return agreement, {"node": node, "sample": sample, "step": difference.step, "neuron": difference.neuron}
