"""What a simulation gives, whichever back end ran it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph import Graph


@dataclass(frozen=True)
class Record:
    """Signals of a run, all of shape (B, T, *shape of the node).

    Attributes:
        outputs: What each Output node gets.
        spikes: Spikes of every spiking neuron, bool.
        potentials: Membrane potentials after each step (after the reset), in NIR's units: of I, LI and CubaLI, whose
            output they are, and of the neurons that were asked for.
    """

    outputs: dict[str, NDArray[np.float64]]
    spikes: dict[str, NDArray[np.bool_]]
    potentials: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def check_inputs(graph: Graph, inputs: Mapping[str, NDArray]) -> tuple[int, int]:
    """Check a graph's inputs, by Input node, each of shape (B, T, *shape).

    Returns:
        B and T.

    Raises:
        UnsupportedGraphError: one is missing, unknown or of another shape.
    """
    if set(inputs) != set(graph.inputs):
        names = ", ".join(f"'{name}'" for name in graph.inputs)
        raise UnsupportedGraphError(f"input is needed for {names}, got {', '.join(f'{n!r}' for n in inputs) or 'none'}")
    sizes = {name: (x.shape[0], x.shape[1]) for name, x in inputs.items() if x.ndim > 1}
    for name, x in inputs.items():
        expected = graph.nodes[name].shape
        if x.ndim < 2 or x.shape[2:] != expected:
            shape = ", ".join(map(str, ("B", "T", *expected)))
            raise UnsupportedGraphError(f"input '{name}' must have shape ({shape}), got {x.shape}")
        if sizes[name] != sizes[graph.inputs[0]]:
            raise UnsupportedGraphError(f"inputs '{graph.inputs[0]}' and '{name}' differ in batch size or steps")
        if not np.isfinite(x).all():
            raise UnsupportedGraphError(f"input '{name}' has values that are not finite")
    return sizes[graph.inputs[0]]
