"""What is supported where, found out by trying every primitive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.hardware import for_hardware
from neuromorphic.compiler.limits import RULES
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import GRADED, LIF, SUBTRACT, SUM
from neuromorphic.compiler.quantize import quantize
from neuromorphic.compiler.schedule import schedule
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.execution import populations, reference
from neuromorphic.graph import LINEAR, NEURONS, PARAMETERS, RESET_BY_SUBTRACTION, TIME_CONSTANTS, Graph, flatten

DT, STEPS = 1e-3, 8
PROCESSES: Mapping[str, str] = {
    LIF: "LIF",
    SUBTRACT: "a process of ours",
    GRADED: "a process of ours",
    SUM: "a process of ours",
}
"""Lava's process for each kind of population, see :func:`neuromorphic.lava.network.neurons`."""
SUBTRACTION = ", reset by subtraction"


@dataclass(frozen=True)
class Row:
    """What is supported of one primitive: the cells of the table."""

    primitive: str
    reference: str
    torch: str
    lava_float: str
    lava_fixed: str
    loihi2: str


def neurons(kind: str, shape: tuple[int, ...], subtract: bool) -> nir.NIRNode:
    """Neurons of a kind with parameters that all do something."""
    values = dict.fromkeys(NEURONS[kind], 0.5) | {"r": 1.5, "w_in": 2.0, "v_reset": -0.25, "v_leak": 0.25}
    parameters = {key: np.full(shape, 4 * DT if key in TIME_CONSTANTS else values[key]) for key in NEURONS[kind]}
    metadata = {"metadata": {"reset": RESET_BY_SUBTRACTION}} if subtract else {}
    return getattr(nir, kind)(**parameters, **metadata)


IMAGE = (2, 4, 4)
EXAMPLES: dict[str, tuple[tuple[int, ...], Callable[[], nir.NIRNode]]] = {
    "Affine": ((3,), lambda: nir.Affine(np.ones((2, 3)), np.full(2, 0.5))),
    "Linear": ((3,), lambda: nir.Linear(np.ones((2, 3)))),
    "Scale": ((3,), lambda: nir.Scale(np.full(3, 2.0))),
    "Conv1d": ((2, 4), lambda: nir.Conv1d(4, np.ones((3, 2, 2)), 1, 0, 1, 1, np.ones(3))),
    "Conv2d": (IMAGE, lambda: nir.Conv2d((4, 4), np.ones((3, 2, 2, 2)), 1, 0, 1, 1, np.ones(3))),
    "SumPool2d": (IMAGE, lambda: nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))),
    "AvgPool2d": (IMAGE, lambda: nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))),
    "Flatten": (IMAGE, lambda: nir.Flatten({"input": np.array(IMAGE)}, 0, -1)),
    "Delay": ((3,), lambda: nir.Delay(DT * np.arange(3.0))),
}
"""An input shape and a node of each primitive that is no neuron."""


def example(primitive: str) -> tuple[nir.NIRGraph, str]:
    """input -> the primitive -> a Threshold where it is no neuron -> output, and the name of the node in question."""
    kind, _, subtract = primitive.partition(", ")
    if primitive == "NIRGraph":
        inner, _ = example("LIF")
        nodes = {"in": nir.Input(np.array([3])), "node": inner, "out": nir.Output(np.array([3]))}
        edges = [("in", "node"), ("node", "out")]
        return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False), "node.node"
    if primitive == "loops":
        nodes = {
            "in": nir.Input(np.array([3])),
            "node": neurons("LIF", (3,), False),
            "back": nir.Linear(0.25 * np.eye(3)),
            "out": nir.Output(np.array([3])),
        }
        edges = [("in", "node"), ("node", "back"), ("back", "node"), ("node", "out")]
        return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False), "node"
    shape, make = EXAMPLES[kind] if kind in EXAMPLES else ((3,), lambda: neurons(kind, (3,), bool(subtract)))
    own = {} if kind in ("Input", "Output") else {"node": make()}
    nodes = {"in": nir.Input(np.array(shape)), **own}
    if kind in EXAMPLES:
        nodes["last"] = nir.Threshold(np.full(shape_out(make(), shape), 0.5))
    elif not own:
        nodes["last"] = neurons("LIF", shape, False)
    nodes["out"] = nir.Output(np.array(shape_out(make(), shape) if kind in EXAMPLES else shape))
    names = list(nodes)
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False), "node"


def shape_out(node: nir.NIRNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a node's output, as the graph finds it."""
    graph = nir.NIRGraph(
        {"in": nir.Input(np.array(shape)), "node": node, "out": nir.Output(None)},
        [("in", "node"), ("node", "out")],
        metadata={"dt": DT},
        type_check=False,
    )
    return flatten(graph).nodes["node"].shape


def primitives() -> list[str]:
    """All that :mod:`neuromorphic.graph` knows, neurons that can be reset by subtraction twice."""
    linear = [kind.__name__ for kind in LINEAR]
    found = [*linear, "Delay"]
    for kind in (kind.__name__ for kind in PARAMETERS):
        found.append(kind)
        if "v_reset" in NEURONS[kind]:
            found.append(kind + SUBTRACTION)
    return [*found, "Input", "Output", "NIRGraph", "loops"]


def attempt(what: Callable[[], str]) -> str:
    """What was found, or that it is refused."""
    try:
        return what()
    except UnsupportedGraphError:
        return "no"


def row(primitive: str) -> Row:
    """Try one primitive everywhere."""
    nir_graph, name = example(primitive)
    graph = flatten(nir_graph)
    random = np.random.default_rng(0)
    x = {n: random.uniform(0, 2, (1, STEPS, *graph.nodes[n].shape)) for n in graph.inputs}
    expected = reference.simulate(graph, x)

    def torch() -> str:
        from neuromorphic.execution.torch_simulator import simulate_torch

        ours = simulate_torch(graph, x)
        same = all(np.array_equal(ours.spikes[n], spikes) for n, spikes in expected.spikes.items())
        return "yes" if same else "differs"

    def flat() -> dict[str, NDArray]:
        return {n: values[0].reshape(STEPS, -1) for n, values in x.items()}

    def lava_float() -> str:
        network = lower(graph)
        plan = schedule(for_hardware(network))
        ours = populations.run(network, flat()).sent
        if any(not np.array_equal(ours[n], spikes[0].reshape(STEPS, -1)) for n, spikes in expected.spikes.items()):
            return "differs"
        return becomes(graph, primitive, name) + (", without latency" if plan.instant else "")

    def lava_fixed() -> str:
        network = for_hardware(lower(graph), registers=True)
        populations.run(quantize(network, populations.run(network, flat()).ranges), flat())
        return "yes"

    return Row(
        primitive,
        "yes",
        attempt(torch),
        attempt(lava_float),
        attempt(lava_fixed),
        rule(primitive),
    )


def becomes(graph: Graph, primitive: str, name: str) -> str:
    """What the compiler makes of a node."""
    network = lower(graph)
    found = {p.name: p.kind for p in network.populations}
    if name in found:
        return PROCESSES[found[name]]
    if primitive == "Input":
        return "a source"
    if primitive == "Output":
        return PROCESSES[SUM]
    delays = {delay for projection in network.projections for delay in projection.taps}
    return "delays of synapses" if delays != {0} else "synapses"


def rule(primitive: str) -> str:
    """What Loihi 2 makes of it."""
    kind, _, reset = primitive.partition(", ")
    return RULES[reset or kind]


def support_table() -> str:
    """The table as Markdown."""
    columns = ("primitive", "reference", "torch", "Lava, float", "Lava, fixed", "Loihi 2")
    rows = [tuple(vars(row(primitive)).values()) for primitive in primitives()]
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, ("---",) * len(columns), *rows)]
    return "\n".join(lines)
