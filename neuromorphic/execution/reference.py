"""NIR semantics in NumPy: slow, obvious, and what every back end is held to."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.nir_file import time_step


def simulate(graph: nir.NIRGraph, x: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Run an acyclic graph of Input, Output, Affine, Linear and LIF nodes.

    Several edges into a node are summed. LIF by forward Euler with the graph's dt, from v = 0:

    w = v + (dt / tau)(v_leak - v + r current);  s = w > v_threshold;  v' = v_reset if s else w

    Args:
        graph: With one input node.
        x: Input, shape (T, n).

    Returns:
        Spikes of every LIF node, shape (T, neurons), by node name, in the order of computation.

    Raises:
        UnsupportedGraphError: a node of another kind, a loop, or an input of another size.
    """
    dt = time_step(graph)
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        sources[target].append(source)
    try:
        order = list(TopologicalSorter(sources).static_order())
    except CycleError as error:
        raise UnsupportedGraphError(f"the NIR graph has a loop through {', '.join(error.args[1])}") from None

    values: dict[str, NDArray] = {}
    spikes: dict[str, NDArray[np.bool_]] = {}
    for name in order:
        nir_node = graph.nodes[name]
        if isinstance(nir_node, nir.Input):
            if x.shape[1] != int(np.prod(nir_node.input_type["input"])):
                raise UnsupportedGraphError(f"node '{name}' takes {nir_node.input_type['input']}, got {x.shape[1]}")
            values[name] = x
            continue
        total = sum((values[source] for source in sources[name]), np.zeros(1))
        if isinstance(nir_node, nir.Affine):
            values[name] = total @ nir_node.weight.T + nir_node.bias
        elif isinstance(nir_node, nir.Linear):
            values[name] = total @ nir_node.weight.T
        elif isinstance(nir_node, nir.LIF):
            values[name] = spikes[name] = lif(nir_node, total, dt)
        elif isinstance(nir_node, nir.Output):
            values[name] = total
        else:
            raise UnsupportedGraphError(f"node '{name}' is a {type(nir_node).__name__}, which is not supported")
    return spikes


def lif(nir_node: nir.LIF, current: NDArray[np.float64], dt: float) -> NDArray[np.bool_]:
    """Spikes of LIF neurons, shape (T, n), driven by ``current`` of that shape; see :func:`simulate`."""
    v = np.zeros(current.shape[1])
    spikes = np.zeros(current.shape, bool)
    for t in range(len(current)):
        v = v + (dt / nir_node.tau) * (nir_node.v_leak - v + nir_node.r * current[t])
        spikes[t] = v > nir_node.v_threshold
        v = np.where(spikes[t], nir_node.v_reset, v)
    return spikes
