"""Spike records on disk, and how two of them agree."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gshn.files import write_atomically

Spikes = NDArray[np.bool_]
"""Spikes of a population, shape (T, neurons)."""


def save_arrays(path: Path, named: Mapping[str, NDArray]) -> None:
    """Write arrays to a compressed ``.npz``, under a temporary name first; a name may hold slashes.

    Raises:
        GSHNError: the folder cannot be written to.
    """
    buffer = io.BytesIO()
    arrays: dict[str, NDArray] = dict(named)  # savez takes names as keyword arguments of any type
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


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
