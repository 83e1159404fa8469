"""The order in which a graph is evaluated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter

from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph.model import Node


def order_linear(
    nodes: Mapping[str, Node], sources: Mapping[str, tuple[str, ...]], inputs: tuple[str, ...]
) -> tuple[str, ...]:
    """Nodes that are neither neurons nor inputs, each after its sources.

    Raises:
        UnsupportedGraphError: they form a loop.
    """
    names = [name for name, node in nodes.items() if not node.is_neuron and name not in inputs]
    among = set(names)
    try:
        return tuple(TopologicalSorter({n: [s for s in sources[n] if s in among] for n in names}).static_order())
    except CycleError as error:
        raise UnsupportedGraphError(f"nodes {', '.join(error.args[1])} form a loop without a neuron") from None


def order_neurons(nodes: Mapping[str, Node], sources: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Neurons that are updated together, in the order of updates; see :class:`Graph`."""
    instant = {name: [s for s in own if not nodes[s].is_delayed] for name, own in sources.items()}
    found = (tuple(n for n in names if nodes[n].is_neuron) for names in components(instant))
    return tuple(names for names in found if names)


def components(sources: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """Strongly connected components of a graph. Each comes after those that it reads; ties are in order of names.

    Args:
        sources: For each node, the nodes that it reads.
    """
    from scipy.sparse import csr_matrix  # Both are slow to import.
    from scipy.sparse.csgraph import connected_components

    names = sorted(sources)
    index = {name: k for k, name in enumerate(names)}
    pairs = [(index[source], index[name]) for name in names for source in sources[name]]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    matrix = csr_matrix(([1] * len(pairs), (rows, columns)), shape=(len(names), len(names)))
    labels = connected_components(matrix, connection="strong")[1].tolist()
    members: dict[int, list[str]] = {}
    for name, label in zip(names, labels, strict=True):
        members.setdefault(label, []).append(name)
    first = {label: own[0] for label, own in members.items()}
    # Components by their first names: the numbers that SciPy gives them follow its walk.
    before: dict[str, set[str]] = {name: set() for name in first.values()}
    for source, target in pairs:
        if labels[source] != labels[target]:
            before[first[labels[target]]].add(first[labels[source]])
    sorter = TopologicalSorter(before)
    sorter.prepare()
    out: list[tuple[str, ...]] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        out += [tuple(members[labels[index[name]]]) for name in ready]
        sorter.done(*ready)
    return out
