"""Input and output signal of each node of a graph, with units. NIR's files do not contain them.

The equations of NIR's neurons hold in any consistent units. Times are in seconds, as dt is; ohms and amperes then give
volts. The unit of a weight is that of the node's output divided by that of its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuromorphic.graph.model import Graph, Node, Shape

SPIKES, POTENTIAL, CURRENT, WEIGHTED, NUMBERS = "spikes", "potential, V", "current, A", "weighted spikes", "numbers"
"""Kinds of signals. Spikes are 0 or 1 in each step. Weighted spikes are the input of CubaLIF and CubaLI, which w_in
turns into a current. Numbers are what linear nodes send to an Output or a Threshold; weights and inputs determine their
unit."""
PASSING = {"Flatten", "Delay", "Input", "Output"}
"""Nodes whose output is their input; Input and Output are among them in nested graphs."""
UNITS = {
    **dict.fromkeys(("tau", "tau_syn", "tau_mem"), "s"),
    **dict.fromkeys(("v_leak", "v_threshold", "v_reset"), "V"),
    "r": "ohm",
    "w_in": "A",
    "delay": "s",
}
"""Units of parameters. I and IF add r times the current in each step, without dt: their r is in V / A per step."""


@dataclass(frozen=True)
class Signature:
    """Input and output of a node in one step.

    Attributes:
        node: Name of the node.
        kind: Its primitive.
        shape_in, shape: Shapes of input and output, without the axes of samples and steps.
        gets, sends: Kinds of signals of input and output, see :data:`SPIKES`. There may be several.
        parameters: Units by parameter.
    """

    node: str
    kind: str
    shape_in: Shape
    shape: Shape
    gets: str
    sends: str
    parameters: Mapping[str, str]


def signatures(graph: Graph) -> list[Signature]:
    """Signature of each node, in the order of the file."""
    readers: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for name, sources in graph.sources.items():
        for source in sources:
            readers[source].append(name)

    def wanted(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """Kinds of signals that the readers of a linear node or an Input take."""
        found: set[str] = set()
        for reader in readers[name]:
            kind = graph.nodes[reader].kind
            if graph.nodes[reader].is_neuron:
                found.add(NUMBERS if kind == "Threshold" else WEIGHTED if kind.startswith("Cuba") else CURRENT)
            elif kind in PASSING and reader not in seen and reader not in graph.outputs:
                found |= wanted(reader, seen | {reader})
        return found

    def sent(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """Kinds of signals that a node sends."""
        node = graph.nodes[name]
        if node.is_neuron:
            return {SPIKES if node.is_spiking else POTENTIAL}
        if name in graph.outputs or (node.kind in PASSING and graph.sources[name] and name not in seen):
            return {signal for source in graph.sources[name] for signal in sent(source, seen | {name})}
        return wanted(name) or {NUMBERS}

    def got(name: str) -> set[str]:
        """Kinds of signals that a node gets."""
        if name in graph.inputs:
            return sent(name)
        kind = graph.nodes[name].kind
        if kind in ("I", "LI", "IF", "LIF"):
            return {CURRENT}
        if kind.startswith("Cuba"):
            return {WEIGHTED}
        return {signal for source in graph.sources[name] for signal in sent(source)}

    def words(signals: set[str]) -> str:
        return " and ".join(sorted(signals))

    return [
        Signature(name, node.kind, node.shape_in, node.shape, words(got(name)), words(sent(name)), units(node))
        for name, node in graph.nodes.items()
    ]


def units(node: Node) -> dict[str, str]:
    """Units of a node's parameters, without weights and biases."""
    own = {key: UNITS[key] for key in node.parameters if key in UNITS}
    return own | ({"r": "V / A a step"} if node.kind in ("I", "IF") else {})
