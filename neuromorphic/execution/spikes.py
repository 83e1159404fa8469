"""Write spike records to disk, and compare two of them."""

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
    """Write arrays to an ``.npz`` file, under a temporary name first.

    Names may hold slashes, and may be ``file``, which ``numpy.savez`` refuses. No date is written, so the same arrays
    give the same bytes.

    Args:
        path: The file.
        named: Arrays by name. A name has less than 65,532 bytes in UTF-8, the limit of zip files.
        compress: Whether arrays are compressed.

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
    """Number of bytes of a text in UTF-8; -1 if UTF-8 cannot encode it."""
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        return -1


@dataclass(frozen=True)
class Difference:
    """The first place where two spike records differ: the earliest step, then the first record, then neuron."""

    step: int
    record: int
    neuron: int


@dataclass(frozen=True)
class Agreement:
    """The agreement of two sets of spike records.

    Attributes:
        equal: Number of cells (neuron, step) that are equal.
        cells: Number of all cells.
        first_difference: None where all cells are equal.
    """

    equal: int
    cells: int
    first_difference: Difference | None

    @property
    def fraction(self) -> float:
        """Share of equal cells; 1 if there are no cells."""
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
    """Share of equal cells (sample, step, neuron) by node, for spikes of shape (B, T, *shape); 1 if there are none."""
    return {name: float((a == theirs[name]).mean()) if a.size else 1.0 for name, a in ours.items()}


def compare_nodes(ours: Mapping[str, Spikes], theirs: Mapping[str, Spikes]) -> tuple[Agreement, dict[str, Any] | None]:
    """Compare spikes by node, shape (B, T, *shape) each.

    Returns:
        The agreement; and node, sample, step and neuron of the first difference, or None if there is none.
    """
    places = [(name, sample) for name, spikes in ours.items() for sample in range(len(spikes))]
    rows = [[own[name][b].reshape(own[name].shape[1], -1) for name, b in places] for own in (ours, theirs)]
    agreement = compare(*rows)
    difference = agreement.first_difference
    if difference is None:
        return agreement, None
    node, sample = places[difference.record]
    return agreement, {"node": node, "sample": sample, "step": difference.step, "neuron": difference.neuron}
