"""From a NIR graph to a flat one."""

from __future__ import annotations

import nir

from neuromorphic.arguments import check_choice
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph.model import RESETS, Graph
from neuromorphic.graph.nested import check_nir_graph, unnest
from neuromorphic.graph.order import order_linear, order_neurons
from neuromorphic.graph.parameters import check_node
from neuromorphic.graph.shapes import infer_shapes
from neuromorphic.graph.times import DEFAULT_DT, checked_time_step, needs_dt, time_step


def flatten(nir_graph: nir.NIRGraph, dt: float | None = None, reset: str | None = None) -> Graph:
    """Flatten, shape and check a NIR graph.

    Args:
        nir_graph: As read from a file, types not checked.
        dt: Time step, seconds. None: the metadata's. A graph without time constants and delays needs none, and gets
            :data:`DEFAULT_DT`, which has no effect.
        reset: Reset rule of all neurons, one of :data:`RESETS`. None: that in the metadata of the node or of its graph,
            else to v_reset, as in NIR's equations.

    Raises:
        ArgumentError: the object is not a NIR graph, or the reset rule is unknown.
        UnsupportedGraphError: no dt, a node of an unknown type, parameters or shapes that do not fit, a loop without a
            neuron, ...; the message names the node.
    """
    check_nir_graph(nir_graph)
    if reset is not None:
        check_choice("reset rule", reset, RESETS)
    flat: dict[str, tuple[nir.NIRNode, str | None]] = {}
    edges: list[tuple[str, str]] = []
    unnest(nir_graph, "", None, flat, edges)
    nodes = {name: node for name, (node, _) in flat.items()}
    dt = checked_time_step(dt) if dt is not None else time_step(nir_graph, None if needs_dt(nodes) else DEFAULT_DT)

    sources: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        sources[target].append(source)
    outer = [name for name in nir_graph.nodes if name in nodes]
    inputs = tuple(name for name in outer if isinstance(nodes[name], nir.Input))
    outputs = tuple(name for name in outer if isinstance(nodes[name], nir.Output))
    if not inputs or not outputs:
        raise UnsupportedGraphError(f"the NIR graph has no {'Output' if inputs else 'Input'} node")
    for name in nodes:
        if name in inputs and sources[name]:
            raise UnsupportedGraphError(f"node '{name}' is an Input node with an incoming edge")
        if name not in inputs and not sources[name]:
            raise UnsupportedGraphError(f"node '{name}' has no incoming edge; connect it or remove it")

    shapes = infer_shapes(nodes, sources)
    checked = {name: check_node(name, node, *shapes[name], dt, reset or flat[name][1]) for name, node in nodes.items()}
    # By name, not by the order of edges: so sums over sources do not depend on it, wherever they are done.
    graph_sources = {name: tuple(sorted(own)) for name, own in sources.items()}
    linear = order_linear(checked, graph_sources, inputs)
    return Graph(checked, graph_sources, inputs, outputs, order_neurons(checked, graph_sources), linear, dt)
