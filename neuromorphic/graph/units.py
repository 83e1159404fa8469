"""What each node of a graph gets and sends, with units; NIR's files say neither.

The equations of NIR's neurons hold in any units that fit together. With seconds for times, which dt is in, ohms and
amperes give volts. A weight is the unit of what the node sends over that of what it gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuromorphic.graph.model import Graph, Node, Shape

SPIKES, POTENTIAL, CURRENT, WEIGHTED, NUMBERS = "spikes", "potential, V", "current, A", "weighted spikes", "numbers"
"""Signals. Spikes are 0 or 1 a step. CubaLIF and CubaLI get weighted spikes, of which w_in makes a current. Numbers are
what an Output or a Threshold gets of linear nodes: in whatever unit weights and inputs have them."""
PASSING = {"Flatten", "Delay", "Input", "Output"}
"""Nodes that send what they get; Input and Output so within a graph within the graph."""
UNITS = {
    **dict.fromkeys(("tau", "tau_syn", "tau_mem"), "s"),
    **dict.fromkeys(("v_leak", "v_threshold", "v_reset"), "V"),
    "r": "ohm",
    "w_in": "A",
    "delay": "s",
}
"""Of parameters; r of I and IF, whose steps add r times the current without dt, is V / A a step."""


@dataclass(frozen=True)
class Signature:
    """What a node gets and sends in a step.

    Attributes:
        node: Its name.
        kind: Its primitive.
        shape_in, shape: Of what it gets and sends, without the axes of samples and steps.
        gets, sends: Which signals, several of them where sources or readers differ; see :data:`SPIKES`.
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
    """What each node gets and sends, in the order of the file."""
    readers: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for name, sources in graph.sources.items():
        for source in sources:
            readers[source].append(name)

    def wanted(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """What the readers of a linear node or an Input want."""
        found: set[str] = set()
        for reader in readers[name]:
            kind = graph.nodes[reader].kind
            if graph.nodes[reader].is_neuron:
                found.add(NUMBERS if kind == "Threshold" else WEIGHTED if kind.startswith("Cuba") else CURRENT)
            elif kind in PASSING and reader not in seen and reader not in graph.outputs:
                found |= wanted(reader, seen | {reader})
        return found

    def sent(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """What a node sends."""
        node = graph.nodes[name]
        if node.is_neuron:
            return {SPIKES if node.is_spiking else POTENTIAL}
        if name in graph.outputs or (node.kind in PASSING and graph.sources[name] and name not in seen):
            return {signal for source in graph.sources[name] for signal in sent(source, seen | {name})}
        return wanted(name) or {NUMBERS}

    def got(name: str) -> set[str]:
        """What a node gets."""
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
    """Units of a node's parameters that have one of their own; weights and biases have those of what is sent."""
    own = {key: UNITS[key] for key in node.parameters if key in UNITS}
    return own | ({"r": "V / A a step"} if node.kind in ("I", "IF") else {})
