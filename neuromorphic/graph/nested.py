"""NIR graphs within graphs, checked and made flat."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

import nir

from neuromorphic.arguments import check_type, described, listed, printed
from neuromorphic.errors import UnsupportedGraphError, UserNotice
from neuromorphic.graph.values import metadata_of, text

MAX_DEPTH = 32
"""Graphs within graphs, or metadata within metadata."""


def check_nir_graph(nir_graph: object, prefix: str = "", depth: int = 0) -> None:
    """Check the types of a graph's names, nodes and edges, nested graphs included. NIR's own classes do not check them.

    Raises:
        ArgumentError: the object is not a NIR graph.
        UnsupportedGraphError: a name, node or edge has another type, or graphs are nested without end.
    """
    mend = "give a nir.NIRGraph: neuromorphic.nir_file.read_nir(path), or a list of nodes by nir.NIRGraph.from_list"
    check_type("the NIR graph", nir_graph, nir.NIRGraph, mend)
    assert isinstance(nir_graph, nir.NIRGraph)
    where = f"node '{prefix[:-1]}'" if prefix else "the NIR graph"
    if depth > MAX_DEPTH:
        raise UnsupportedGraphError(f"{where} is nested more than {MAX_DEPTH} graphs deep; flatten it")
    for key, kind in (("nodes", Mapping), ("edges", list | tuple | set | frozenset), ("metadata", Mapping)):
        if not isinstance(value := getattr(nir_graph, key, None), kind):
            raise UnsupportedGraphError(f"{where}: {key} is {described(value)}; give what nir.NIRGraph takes")
    for name, node in nir_graph.nodes.items():
        if not isinstance(name, str) or not name.isprintable():
            raise UnsupportedGraphError(f"{where} has a node named {printed(name)}; give it a name that can be printed")
        if not isinstance(node, nir.NIRNode):
            raise UnsupportedGraphError(f"node '{prefix}{name}' is {described(node)}; give a node of NIR's")
        if not isinstance(metadata_of(node), Mapping):
            raise UnsupportedGraphError(f"node '{prefix}{name}': metadata is {described(metadata_of(node))}")
        if isinstance(node, nir.NIRGraph):
            check_nir_graph(node, f"{prefix}{name}.", depth + 1)
    for edge in nir_graph.edges:
        if not isinstance(edge, tuple | list) or len(edge) != 2 or not all(isinstance(end, str) for end in edge):
            raise UnsupportedGraphError(f"{where}: the edge {printed(edge)} is not a pair of node names")


def walk(nir_graph: nir.NIRGraph, prefix: str = "") -> Iterator[tuple[str, nir.NIRNode]]:
    """All nodes of a graph and of the graphs in it, with their flat names."""
    for name, node in nir_graph.nodes.items():
        yield f"{prefix}{name}", node
        if isinstance(node, nir.NIRGraph):
            yield from walk(node, f"{prefix}{name}.")


def unnest(
    nir_graph: nir.NIRGraph,
    prefix: str,
    reset: str | None,
    flat: dict[str, tuple[nir.NIRNode, str | None]],
    edges: list[tuple[str, str]],
) -> None:
    """Add the nodes and edges of a graph, under flat names, to ``flat`` and ``edges``.

    Args:
        nir_graph: The graph.
        prefix: Names of the graphs that contain it, each with a dot at its end.
        reset: Reset rule that applies where neither the graph's nor the node's metadata has one.
        flat: Written: node and reset rule by flat name.
        edges: Written: (source, target) by flat names.

    Raises:
        UnsupportedGraphError: two nodes get the same flat name, an edge is listed twice, or an end of an edge is
            unknown.
    """
    reset = text(nir_graph.metadata.get("reset", reset))
    for name, node in nir_graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            unnest(node, f"{prefix}{name}.", reset, flat, edges)
        elif f"{prefix}{name}" in flat:
            raise UnsupportedGraphError(f"two nodes are named '{prefix}{name}' once nested graphs are flattened")
        else:
            flat[f"{prefix}{name}"] = node, text(metadata_of(node).get("reset", reset))

    known = set(edges)
    for ends in misnamed(nir_graph, prefix):
        source, target = (
            f"{prefix}{endpoint(nir_graph, name, kind, prefix)}"
            for name, kind in zip(ends, (nir.Output, nir.Input), strict=True)
        )
        if (source, target) in known:
            raise UnsupportedGraphError(f"the edge from '{source}' to '{target}' stands twice")
        known.add((source, target))
        edges.append((source, target))


def find_node(nir_graph: nir.NIRGraph, name: str) -> nir.NIRNode | None:
    """The node that an end of an edge names: ``node`` in the graph itself, ``graph.node`` in a nested graph."""
    if name in nir_graph.nodes:
        return nir_graph.nodes[name]
    for place in (k for k, c in enumerate(name) if c == "."):
        inner = nir_graph.nodes.get(name[:place])
        if isinstance(inner, nir.NIRGraph) and (node := find_node(inner, name[place + 1 :])) is not None:
            return node
    return None


def endpoint(nir_graph: nir.NIRGraph, name: str, kind: type, prefix: str) -> str:
    """Name of the node at one end of an edge. Where ``name`` is a nested graph, it is that graph's port.

    Args:
        nir_graph: The graph that has the edge.
        name: The end of the edge.
        kind: Type of the port: nir.Input for an edge to a nested graph, nir.Output for an edge from one.
        prefix: See :func:`unnest`.

    Raises:
        UnsupportedGraphError: there is no such node, or the nested graph has several ports of this type.
    """
    node = find_node(nir_graph, name)
    if node is None:
        raise UnsupportedGraphError(
            f"an edge names the node '{prefix}{name}', which the graph does not have; its nodes are "
            f"{listed(nir_graph.nodes)}"
        )
    if not isinstance(node, nir.NIRGraph):
        return name
    ports = [inner for inner, n in node.nodes.items() if isinstance(n, kind)]
    if len(ports) == 1:
        return f"{name}.{ports[0]}"
    what = f"node '{prefix}{name}' is a graph with {len(ports)} {kind.__name__} nodes"
    if not ports:
        raise UnsupportedGraphError(f"{what}; an edge needs one")
    raise UnsupportedGraphError(f"{what} ({listed(ports)}); name the one that the edge means, as '{name}.{ports[0]}'")


def misnamed(nir_graph: nir.NIRGraph, prefix: str) -> list[tuple[str, str]]:
    """Edges of a graph, with one kind of wrong name mended.

    In subgraphs of the NIR paper's networks, nodes were renamed but their edges were not. So: if exactly one name in
    the edges is not a node, exactly one node has no edge, and one of the two names begins with the other (``lif``,
    ``lif1``), they are taken for the same node. A warning says so.
    """
    edges = [(source, target) for source, target in nir_graph.edges]
    named = dict.fromkeys(end for edge in edges for end in edge)
    unknown = [end for end in named if find_node(nir_graph, end) is None]
    if len(unknown) != 1:
        return edges
    inside = [end for end in named if end not in nir_graph.nodes]
    alone = [
        name for name in nir_graph.nodes if name not in named and not any(end.startswith(f"{name}.") for end in inside)
    ]
    if len(alone) != 1 or not (alone[0].startswith(unknown[0]) or unknown[0].startswith(alone[0])):
        return edges
    warnings.warn(
        f"edges name '{prefix}{unknown[0]}', which the graph does not have, and none names '{prefix}{alone[0]}': taken "
        "for the same node",
        UserNotice,
        stacklevel=2,
    )
    mended = {unknown[0]: alone[0]}
    return [(mended.get(source, source), mended.get(target, target)) for source, target in edges]
