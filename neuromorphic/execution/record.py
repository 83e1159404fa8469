"""What a simulation gives, whichever back end ran it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_names, check_real, check_type, not_finite
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph import Graph
from neuromorphic.hdf5 import available_memory, size_text


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


def from_populations(graph: Graph, sent: Mapping[str, NDArray], potentials: Mapping[str, NDArray]) -> Record:
    """A record from the messages and potentials of a folded network's populations, shape (B, T, M), in NIR's units."""

    def shaped(values: NDArray, name: str) -> NDArray:
        return values.reshape(*values.shape[:2], *graph.nodes[name].shape)

    graded = [name for name in graph.neurons if not graph.nodes[name].is_spiking]
    return Record(
        outputs={name: shaped(sent[name], name).astype(np.float64) for name in graph.outputs},
        spikes={name: shaped(sent[name], name) for name in graph.spiking},
        potentials={name: shaped(sent[name], name) for name in graded}
        | {name: shaped(values, name) for name, values in potentials.items()},
    )


def check_inputs(graph: Graph, inputs: Mapping[str, NDArray], potentials: Collection[str] = ()) -> tuple[int, int]:
    """Check a graph's inputs, by Input node, each of shape (B, T, *shape), and whose potentials are asked for.

    Returns:
        B and T, both at least 1.

    Raises:
        ArgumentError: an argument has the wrong type, an input is not finite, or a neuron is unknown.
        UnsupportedGraphError: an input is missing, unknown or of another shape, or the run needs more memory than there
            is.
    """
    check_graph(graph)
    check_type("inputs", inputs, Mapping, "give the arrays by Input node: {'input': x}")
    if set(inputs) != set(graph.inputs):
        names = ", ".join(f"'{name}'" for name in graph.inputs)
        raise UnsupportedGraphError(f"input is needed for {names}, got {', '.join(f'{n!r}' for n in inputs) or 'none'}")
    for name, x in inputs.items():
        check_real(f"input '{name}'", x)
        expected = graph.nodes[name].shape
        if x.ndim < 2 or x.shape[2:] != expected:
            shape = ", ".join(map(str, ("B", "T", *expected)))
            raise UnsupportedGraphError(f"input '{name}' must have shape ({shape}), got {x.shape}")
        if 0 in x.shape[:2]:
            raise UnsupportedGraphError(f"input '{name}' has no {'sample' if x.shape[0] == 0 else 'step'}: {x.shape}")
    sizes = {name: (x.shape[0], x.shape[1]) for name, x in inputs.items()}
    batch, steps = sizes[graph.inputs[0]]
    for name, size in sizes.items():
        if size != (batch, steps):
            raise UnsupportedGraphError(f"inputs '{graph.inputs[0]}' and '{name}' differ in batch size or steps")
    check_names("potentials", potentials, graph.neurons)
    check_memory(graph, batch, steps)
    return batch, steps


def check_graph(graph: object) -> None:
    """Check that something is a flat graph.

    Raises:
        ArgumentError: it is not.
    """
    check_type(
        "the graph", graph, Graph, "give a neuromorphic.graph.Graph: flatten(nir_graph), flatten(read_nir(path))"
    )


def check_memory(graph: Graph, batch: int, steps: int) -> None:
    """Check that what a run gives fits in memory; any run takes a multiple of it.

    Raises:
        UnsupportedGraphError: it does not.
    """
    numbers = sum(graph.nodes[name].size for name in (*graph.inputs, *graph.outputs))
    need, room = 8 * batch * steps * numbers, available_memory()
    if need > room:
        raise UnsupportedGraphError(
            f"{batch:,} x {steps:,} steps of {numbers:,} inputs and outputs take {size_text(need)}, {size_text(room)} "
            "are free; run fewer steps or samples"
        )


def check_signals(record: Record) -> None:
    """Check that no number left float64's range.

    Raises:
        UnsupportedGraphError: one did; the message names the node.
    """
    for name, x in {**record.potentials, **record.outputs}.items():
        if found := not_finite(x):
            raise UnsupportedGraphError(
                f"node '{name}' becomes {found} (sample, step, neuron): its signal left float64's range; scale down"
                " weights, or break the loop that makes it grow"
            )
