"""The table of what each back end supports, made by trying every primitive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.hardware import for_hardware
from neuromorphic.compiler.lower import lower, unite
from neuromorphic.compiler.network import GRADED, LIF, SUBTRACT, SUM, Network
from neuromorphic.compiler.quantize import FixedNetwork, quantize
from neuromorphic.compiler.schedule import schedule
from neuromorphic.conversion.chips import RULES
from neuromorphic.errors import LavaMissingError, UnsupportedGraphError
from neuromorphic.execution import populations, reference
from neuromorphic.execution.record import Record
from neuromorphic.graph import RESET_BY_SUBTRACTION, Graph, flatten
from neuromorphic.graph.model import LINEAR, NEURONS, PARAMETERS, TIME_CONSTANTS
from neuromorphic.lava.run import run_network
from neuromorphic.nir_file import build, graph_of

DT, STEPS = 1e-3, 64
PROCESSES: Mapping[str, str] = {
    LIF: "LIF",
    SUBTRACT: "a process of ours",
    GRADED: "a process of ours",
    SUM: "a process of ours",
}
"""Lava's process for each kind of population, see :func:`neuromorphic.lava.network.process_for`."""
SUBTRACTION = ", reset by subtraction"
NO, DIFFERS, MISSING = "no", "differs", "not tried: Lava is missing"
"""Cells of the table: refused; runs with another result; not tried, as there is nothing to run it on."""
ROUNDING = 1e-9
"""Largest allowed difference of numbers on Lava in float from the reference, as a share of the largest number."""
FIXED_VALUES, FIXED_SPIKES = 0.02, 0.9
"""Largest allowed difference of numbers in fixed point from float, as a share of the largest number; and the least
share of cells (neuron, step) of each population with equal spikes."""


@dataclass(frozen=True)
class Row:
    """What is supported of one primitive: the cells of the table."""

    primitive: str
    reference: str
    torch: str
    lava_float: str
    lava_fixed: str
    loihi2: str


def example_neurons(kind: str, shape: tuple[int, ...], subtract: bool) -> nir.NIRNode:
    """Neurons of a kind, with parameters that all have an effect."""
    values = dict.fromkeys(NEURONS[kind], 0.5) | {"r": 1.5, "w_in": 2.0, "v_reset": -0.25, "v_leak": 0.25}
    parameters = {key: np.full(shape, 4 * DT if key in TIME_CONSTANTS else values[key]) for key in NEURONS[kind]}
    metadata = {"metadata": {"reset": RESET_BY_SUBTRACTION}} if subtract else {}
    return build({"type": kind, **parameters, **metadata})


def weights(*shape: int) -> NDArray[np.float64]:
    """Weights of both signs, with which inputs of 1 give about 0.5."""
    return np.asarray(np.random.default_rng(1).normal(0.5 / np.prod(shape[1:]), 0.25, shape))


IMAGE = (2, 4, 4)
EXAMPLES: dict[str, tuple[tuple[int, ...], Callable[[], nir.NIRNode]]] = {
    "Affine": ((3,), lambda: nir.Affine(weights(2, 3), np.full(2, 0.1))),
    "Linear": ((3,), lambda: nir.Linear(weights(2, 3))),
    "Scale": ((3,), lambda: nir.Scale(np.array([0.5, 1.0, 0.75]))),
    "Conv1d": ((2, 4), lambda: nir.Conv1d(4, weights(3, 2, 2), 1, 0, 1, 1, np.full(3, 0.1))),
    "Conv2d": (IMAGE, lambda: nir.Conv2d((4, 4), weights(3, 2, 2, 2), 1, 0, 1, 1, np.full(3, 0.1))),
    "SumPool2d": (IMAGE, lambda: nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))),
    "AvgPool2d": (IMAGE, lambda: nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))),
    "Flatten": (IMAGE, lambda: nir.Flatten({"input": np.array(IMAGE)}, 0, -1)),
    "Delay": ((3,), lambda: nir.Delay(DT * np.arange(3.0))),
}
"""For each primitive that is no neuron, an input shape and a node."""


def example(primitive: str) -> tuple[nir.NIRGraph, str]:
    """input -> the primitive -> a Threshold where it is no neuron -> output, and the name of the node in question.

    What a primitive that is no neuron gives is an output, too.
    """
    kind, _, subtract = primitive.partition(", ")
    if primitive == "NIRGraph":
        inner, _ = example("LIF")
        nodes = {"in": nir.Input(np.array([3])), "node": inner, "out": nir.Output(np.array([3]))}
        edges = [("in", "node"), ("node", "out")]
        return graph_of(nodes, edges, {"dt": DT}), "node.node"
    if primitive == "loops":
        nodes = {
            "in": nir.Input(np.array([3])),
            "node": example_neurons("LIF", (3,), False),
            "back": nir.Linear(0.25 * np.eye(3)),
            "out": nir.Output(np.array([3])),
        }
        edges = [("in", "node"), ("node", "back"), ("back", "node"), ("node", "out")]
        return graph_of(nodes, edges, {"dt": DT}), "node"
    shape, make = EXAMPLES[kind] if kind in EXAMPLES else ((3,), lambda: example_neurons(kind, (3,), bool(subtract)))
    own = {} if kind in ("Input", "Output") else {"node": make()}
    nodes = {"in": nir.Input(np.array(shape)), **own}
    if kind in EXAMPLES:
        nodes["last"] = nir.Threshold(np.full(shape_out(make(), shape), 0.5))
    elif not own:
        nodes["last"] = example_neurons("LIF", shape, False)
    nodes["out"] = nir.Output(np.array(shape_out(make(), shape) if kind in EXAMPLES else shape))
    edges = list(pairwise(nodes))
    if kind in EXAMPLES:
        nodes["values"] = nir.Output(nodes["out"].output_type["output"])
        edges.append(("node", "values"))
    return graph_of(nodes, edges, {"dt": DT}), "node"


def shape_out(node: nir.NIRNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a node's output, as inferred from the graph."""
    nodes = {"in": nir.Input(np.array(shape)), "node": node, "out": nir.Output(None)}
    graph = graph_of(nodes, [("in", "node"), ("node", "out")], {"dt": DT})
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


@dataclass(frozen=True)
class Trial:
    """A primitive with its example, an input of shape (1, T, *shape), and the reference's result.

    Attributes:
        name: Name of the primitive's node.
    """

    primitive: str
    graph: Graph
    name: str
    x: Mapping[str, NDArray]
    expected: Record

    def agrees(self, sent: Mapping[str, NDArray], tolerance: float, share: float = 1.0) -> bool:
        """Whether messages by node, shape (T, M) or (1, T, *shape), are those of the reference.

        Args:
            sent: The messages, in NIR's units.
            tolerance: Tolerance of numbers, as a share of the largest.
            share: Share of the cells whose spikes must be equal, in each population.
        """
        for name, values in (self.expected.spikes | self.expected.outputs | self.expected.potentials).items():
            ours = np.asarray(sent[name], np.float64).reshape(values.shape)
            if set(np.unique(values)) <= {0, 1}:
                if (ours == values).mean() < share:
                    return False
            elif not np.abs(ours - values).max() <= tolerance * np.abs(values).max():
                return False
        return True


def trial(primitive: str) -> Trial:
    """Run a primitive's example on the reference."""
    nir_graph, name = example(primitive)
    graph = flatten(nir_graph)
    random = np.random.default_rng(0)
    x = {n: random.uniform(-0.5, 1, (1, STEPS, *graph.nodes[n].shape)) for n in graph.inputs}
    return Trial(primitive, graph, name, x, reference.simulate(graph, x))


def rows(names: Iterable[str] | None = None) -> list[Row]:
    """Try primitives everywhere, by default all; on Lava all at once, once in float and once in fixed point."""
    trials = [trial(primitive) for primitive in names or primitives()]
    lava = {precision: on_lava(trials, precision == "fixed") for precision in ("float", "fixed")}
    return [
        Row(
            t.primitive, "yes", torch_cell(t), lava["float"][t.primitive], lava["fixed"][t.primitive], rule(t.primitive)
        )
        for t in trials
    ]


def torch_cell(tried: Trial) -> str:
    """The cell of PyTorch."""
    from neuromorphic.execution.torch_simulator import simulate_torch

    try:
        ours = simulate_torch(tried.graph, tried.x)
    except UnsupportedGraphError:
        return NO
    return "yes" if tried.agrees(ours.spikes | ours.outputs | ours.potentials, ROUNDING) else DIFFERS


def on_lava(trials: Iterable[Trial], fixed: bool) -> dict[str, str]:
    """Cells by primitive: what Lava gives, all examples in one run.

    In float the reference's spikes, and its numbers but for rounding; in fixed point what the integer simulator gives,
    bit for bit, and that near the reference, see :data:`FIXED_VALUES`.
    """
    cells: dict[str, str] = {}
    networks: dict[str, Network] = {}
    tried = {t.primitive: t for t in trials}
    for primitive, one in tried.items():
        try:
            networks[primitive] = compiled(one, fixed)
        except UnsupportedGraphError:
            cells[primitive] = NO
    if not networks:
        return cells
    network = unite(networks)
    x = {
        f"{primitive}/{name}": values[0].reshape(STEPS, -1)
        for primitive in networks
        for name, values in tried[primitive].x.items()
    }
    program: Network | FixedNetwork = quantize(network, populations.run(network, x).ranges) if fixed else network
    try:
        sent = run_network(program, x).sent
    except LavaMissingError:
        return cells | dict.fromkeys(networks, MISSING)
    integers = populations.run(program, x).sent if fixed else sent
    for primitive in networks:
        own = {p.name: f"{primitive}/{p.name}" for p in networks[primitive].populations}
        same = all(np.array_equal(sent[name], integers[name]) for name in own.values())
        values = {
            name: program.values(full, sent[full]) if isinstance(program, FixedNetwork) else sent[full]
            for name, full in own.items()
        }
        near = tried[primitive].agrees(values, *((FIXED_VALUES, FIXED_SPIKES) if fixed else (ROUNDING,)))
        cells[primitive] = DIFFERS if not (same and near) else "yes" if fixed else compiled_to(tried[primitive])
    return cells


def compiled(tried: Trial, fixed: bool) -> Network:
    """An example's network, float in any case.

    Raises:
        UnsupportedGraphError: it cannot be compiled or quantised, also not as hardware wants it.
    """
    network = lower(tried.graph, horizon=STEPS if fixed else None)
    if fixed:
        x = {name: values[0].reshape(STEPS, -1) for name, values in tried.x.items()}
        for variant in (network, for_hardware(network, registers=True)):
            quantize(variant, populations.run(variant, x).ranges)
    else:
        schedule(for_hardware(network))
    return network


def compiled_to(tried: Trial) -> str:
    """The cell of what the compiler makes of the primitive's node."""
    network = lower(tried.graph)
    found = {p.name: p.kind for p in network.populations}
    if tried.name in found:
        made = PROCESSES[found[tried.name]]
    elif tried.primitive == "Input":
        made = "a source"
    elif tried.primitive == "Output":
        made = PROCESSES[SUM]
    else:
        delays = {delay for projection in network.projections for delay in projection.taps}
        made = "delays of synapses" if delays != {0} else "synapses"
    return made + (", without latency" if schedule(for_hardware(network)).instant else "")


def rule(primitive: str) -> str:
    """The cell of Loihi 2."""
    kind, _, reset = primitive.partition(", ")
    return RULES[reset or kind]


def support_table() -> str:
    """The table as Markdown."""
    columns = ("primitive", "reference", "torch", "Lava, float", "Lava, fixed", "Loihi 2")
    cells = [tuple(vars(row).values()) for row in rows()]
    lines = ["| " + " | ".join(row) + " |" for row in (columns, ("---",) * len(columns), *cells)]
    return "\n".join(lines)
