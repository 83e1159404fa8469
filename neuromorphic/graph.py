"""NIR graphs made flat, shaped and checked: what every simulator and the compiler start from."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_choice, check_type, described, listed, not_finite, printed
from neuromorphic.errors import UnsupportedGraphError, UserNotice

Floats = NDArray[np.float64]
Shape = tuple[int, ...]

RESET_TO_V_RESET, RESET_BY_SUBTRACTION = "zero", "subtract"
RESETS = (RESET_TO_V_RESET, RESET_BY_SUBTRACTION)
"""Values of the metadata key ``reset``. In the step of the spike the membrane becomes v_reset, or loses v_threshold.

NIR has no field for it, nor for dt: both stand in the metadata of the graph or of its nodes.
"""

NEURONS: dict[str, tuple[str, ...]] = {
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "Threshold": ("threshold",),
}
PARAMETERS: dict[type, tuple[str, ...]] = {
    getattr(nir, name): parameters
    for name, parameters in NEURONS.items()
    if hasattr(nir, name)  # nir 1.0.4 has no CubaLI.
}
"""Neurons, that is, all that can close a loop, with their parameters, one value per neuron."""
GRADED = {"I", "LI", "CubaLI"}
"""Neurons whose output is the membrane potential; the others' are spikes."""
LINEAR = (nir.Affine, nir.Linear, nir.Scale, nir.Conv1d, nir.Conv2d, nir.SumPool2d, nir.AvgPool2d, nir.Flatten)
TIME_CONSTANTS = ("tau", "tau_syn", "tau_mem")
TIME_TOLERANCE = 4 * float(np.finfo(np.float32).eps)
"""Relative difference up to which two times are the same, 5e-7: seconds are float32 as often as float64, and each
rounding to float32 is off by up to 6e-8."""
DEFAULT_DT = 1e-3
"""Seconds a step of a graph that says no dt and needs none: it has no time constants and no delays."""
MAX_DT = 1e30
"""Largest time step in seconds, and 1 / the smallest: beyond, float64 has no room for what is computed from it."""
MAX_NUMBER = 1e300
"""Largest parameter of a neuron, and 1 / the smallest that is not 0."""
MAX_DEPTH = 32
"""Graphs within graphs, or metadata within metadata."""
MAX_ELEMENTS = 2**27
"""Elements of a node's input or output; a file that claims more is refused before memory is."""
MAX_SYNAPSES = 2**28
"""Synapses of a convolution or pooling node once it is unrolled."""


@dataclass(frozen=True)
class Node:
    """A primitive with checked parameters.

    Attributes:
        kind: Name of the NIR class.
        shape_in: Shape of its input.
        shape: Shape of its output.
        parameters: By NIR's names. Neurons', delays (in steps) and scales are float64 of the node's shape. Convolution
            and pooling have ``weight`` (Conv), ``bias``, ``groups``, ``kernel_size`` (pooling), and per axis
            ``stride``, ``dilation`` and ``padding`` (before, after); Conv1d has a leading axis of one.
        reset: Reset rule of spiking neurons with a membrane.
        metadata: NIR's.
    """

    kind: str
    shape_in: Shape
    shape: Shape
    parameters: Mapping[str, Any]
    reset: str | None = None
    metadata: Mapping[str, Any] | None = None

    @property
    def size(self) -> int:
        """Elements of the output."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_delayed(self) -> bool:
        """Whether nothing passes within a step: a Delay of which every element is a step or more."""
        return self.kind == "Delay" and bool(self.parameters["delay"].min(initial=1) >= 1)

    @property
    def is_neuron(self) -> bool:
        """Whether the node can close a loop: a neuron, with or without membrane."""
        return self.kind in NEURONS

    @property
    def has_membrane(self) -> bool:
        """Whether the node has a membrane potential: all neurons but Threshold have."""
        return self.is_neuron and self.kind != "Threshold"

    @property
    def is_spiking(self) -> bool:
        """Whether the output is 0 or 1."""
        return self.is_neuron and self.kind not in GRADED

    @property
    def threshold(self) -> Floats:
        """What the potential of a spiking neuron, or the input of a Threshold, has to be above for a spike."""
        threshold: Floats = self.parameters["threshold" if self.kind == "Threshold" else "v_threshold"]
        return threshold


@dataclass(frozen=True)
class Graph:
    """A flat NIR graph.

    Nodes of a nested graph are named ``graph.node``; its Input and Output nodes pass on what they get.

    What a loop means: of neurons that read each other within a step, each reads the outputs of the step before. Within
    a step means over linear nodes without a delay; an element-wise Delay of which an element is 0 is one of those.
    Neurons that reach each other so, directly or over others, are a component (the strongly connected components of the
    graph of neurons with these ways as edges), and a component's neurons are updated together: over such a way each
    reads what the others, and it itself, sent in the step before. From neurons of other components it reads what they
    send in this step. Over Delay nodes of d >= 1 steps in all it reads what was sent d steps before, no more and no
    less, in a loop and elsewhere; so a Delay of a step or more takes the loop it stands in apart.

    The linear nodes between are evaluated on what is read, so a recurrent Affine's bias counts from step 0. Before step
    0 all is zero.

    This depends on the graph alone: neither on the order of its nodes or edges nor on their names. Nothing is left to
    choose, not even between two neurons that are alike in all (they read each other as they were), so there is nothing
    to warn of. A neuron here is a node, that is, a population.

    Attributes:
        nodes: In the file's order.
        sources: Per node, the nodes whose outputs are summed to its input, by name.
        inputs: Names of the graph's Input nodes.
        outputs: Names of the graph's Output nodes.
        components: Names of the neurons that are updated together, each component after those that it reads within a
            step, as far as they leave that open by name.
        linear: Names of all other nodes but inputs, each after its sources.
        dt: Time step, seconds.
    """

    nodes: Mapping[str, Node]
    sources: Mapping[str, tuple[str, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    components: tuple[tuple[str, ...], ...]
    linear: tuple[str, ...]
    dt: float

    @property
    def neurons(self) -> tuple[str, ...]:
        """Names of the neurons, in the order of their updates."""
        return tuple(name for component in self.components for name in component)

    @property
    def spiking(self) -> tuple[str, ...]:
        """Names of the neurons that spike."""
        return tuple(name for name in self.neurons if self.nodes[name].is_spiking)

    def within_a_step(self, names: Iterable[str]) -> tuple[str, ...]:
        """Linear nodes whose output in this step is needed for what ``names`` get in it, each after its sources.

        Of a Delay without an element of 0 steps that is its own output, and nothing that it reads.
        """
        needed: set[str] = set()
        waiting = list(names)
        among = set(self.linear)
        while waiting:
            for source in self.sources[waiting.pop()]:
                if source in among and source not in needed:
                    needed.add(source)
                    if not self.nodes[source].is_delayed:
                        waiting.append(source)
        return tuple(name for name in self.linear if name in needed)

    def late(self, component: Collection[str]) -> frozenset[str]:
        """Linear nodes that a component reaches within a step and that reach it so.

        What the component gets of them is evaluated on its outputs of the step before, what others get on its new ones.
        """
        late: set[str] = set()
        for name in self.within_a_step(component):
            if not self.nodes[name].is_delayed and any(s in component or s in late for s in self.sources[name]):
                late.add(name)
        return frozenset(late)


def flatten(nir_graph: nir.NIRGraph, dt: float | None = None, reset: str | None = None) -> Graph:
    """Flatten, shape and check a NIR graph.

    Args:
        nir_graph: As read from a file, types not checked.
        dt: Time step in seconds; by default the metadata's. A graph without time constants and delays needs none; where
            it says none, :data:`DEFAULT_DT` stands for it, and changes nothing.
        reset: Reset rule of all neurons, one of :data:`RESETS`; by default each node's or its graph's metadata's, else
            to v_reset, as NIR's equations have it.

    Raises:
        ArgumentError: what is given is no NIR graph, or the reset rule is unknown.
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


def check_nir_graph(nir_graph: object, prefix: str = "", depth: int = 0) -> None:
    """Check that a graph, and all graphs in it, are made of what NIR's classes hold; they check none of it.

    Raises:
        ArgumentError: it is no NIR graph.
        UnsupportedGraphError: a name, node or edge is something else, or graphs are nested without end.
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
            raise UnsupportedGraphError(f"{where}: the edge {printed(edge)} is no pair of node names")


def needs_dt(nodes: Mapping[str, nir.NIRNode]) -> bool:
    """Whether dt means anything: to a time constant, or to a delay."""
    return any(
        numbers(name, "delay", node.delay).any()
        if isinstance(node, nir.Delay)
        else any(hasattr(node, key) for key in TIME_CONSTANTS)
        for name, node in nodes.items()
    )


def time_step(nir_graph: nir.NIRGraph, default: float | None = None) -> float:
    """The dt of a graph in seconds, from its metadata or, where it has none, from its nodes'.

    Raises:
        ArgumentError: what is given is no NIR graph.
        UnsupportedGraphError: there is none and no default, it is not positive and finite, or nodes differ.
    """
    check_nir_graph(nir_graph)
    if "dt" in nir_graph.metadata:
        return checked_time_step(nir_graph.metadata["dt"])
    found = {name: metadata_of(node)["dt"] for name, node in walk(nir_graph) if "dt" in metadata_of(node)}
    if not found and default is not None:
        return default
    if not found:
        raise UnsupportedGraphError(
            "the NIR graph does not say its time step: give --dt SECONDS, or write metadata 'dt'"
        )
    steps = {name: checked_time_step(value) for name, value in found.items()}
    # Of those that are the same but for rounding, whatever the order: what float32 rounded has many digits in float64.
    first = min(steps, key=lambda name: (len(repr(steps[name])), steps[name], name))
    for name, other in steps.items():
        if not same_time(other, steps[first]):
            raise UnsupportedGraphError(
                f"nodes '{first}' and '{name}' differ in metadata 'dt': {steps[first]} and {other}"
            )
    return steps[first]


def same_time(a: Floats | float, b: float) -> NDArray[np.bool_]:
    """Whether times are the same but for rounding to float32, see :data:`TIME_TOLERANCE`."""
    return np.isclose(a, b, rtol=TIME_TOLERANCE, atol=0.0)


def checked_time_step(value: object) -> float:
    """A time step that is one.

    Raises:
        UnsupportedGraphError: it is not a positive, finite number.
    """
    try:
        if isinstance(value, bool | complex):
            raise TypeError
        dt = float(np.asarray(value, np.float64).reshape(()))
    except Exception:  # The value's own, such as a tensor's that PyTorch does not hand out.
        raise UnsupportedGraphError(f"the time step must be a number of seconds, got {printed(value)}") from None
    if not 0 < dt < float("inf"):
        raise UnsupportedGraphError(f"the time step must be positive and finite, got dt={dt}")
    if not 1 / MAX_DT <= dt <= MAX_DT:
        raise UnsupportedGraphError(f"the time step must be within {1 / MAX_DT:g} and {MAX_DT:g} s, got dt={dt}")
    return dt


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
    """Add a graph's nodes, each with its reset rule, and edges under their flat names."""
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
            f"{prefix}{port(nir_graph, name, kind, prefix)}"
            for name, kind in zip(ends, (nir.Output, nir.Input), strict=True)
        )
        if (source, target) in known:
            raise UnsupportedGraphError(f"the edge from '{source}' to '{target}' stands twice")
        known.add((source, target))
        edges.append((source, target))


def find(nir_graph: nir.NIRGraph, name: str) -> nir.NIRNode | None:
    """The node that an end of an edge names: one of the graph's own or, as ``graph.node``, one of a graph in it."""
    if name in nir_graph.nodes:
        return nir_graph.nodes[name]
    for place in (k for k, c in enumerate(name) if c == "."):
        inner = nir_graph.nodes.get(name[:place])
        if isinstance(inner, nir.NIRGraph) and (node := find(inner, name[place + 1 :])) is not None:
            return node
    return None


def port(nir_graph: nir.NIRGraph, name: str, kind: type, prefix: str) -> str:
    """The node that an edge to (``kind`` Input) or from (Output) ``name`` means; of a graph its one node of that kind.

    Raises:
        UnsupportedGraphError: there is no such node, or a graph has several.
    """
    node = find(nir_graph, name)
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
    """A graph's edges; where one name is no node's, one node has no edges, and the names begin alike, as ``lif`` and
    ``lif1``, they are the same, and a warning says so.

    As in the subgraphs of the NIR paper's networks, of which nodes were renamed without their edges.
    """
    edges = [(source, target) for source, target in nir_graph.edges]
    named = dict.fromkeys(end for edge in edges for end in edge)
    unknown = [end for end in named if find(nir_graph, end) is None]
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


def metadata_of(node: nir.NIRNode) -> Mapping[str, Any]:
    """A node's metadata; in nir 1.0.4 not every type has any."""
    return getattr(node, "metadata", {})


def text(value: object) -> str | None:
    """A metadata value as text."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if value is None or isinstance(value, str) else printed(value)


def infer_shapes(
    nodes: Mapping[str, nir.NIRNode], sources: Mapping[str, Iterable[str]]
) -> dict[str, tuple[Shape, Shape]]:
    """Shapes of every node's input and output, from the nodes' own parameters and along the edges.

    Axes of batch and time that an exporter (Rockpool, nirtorch) left in the shape of an Input or Output are dropped,
    where the nodes beside it say what shape a step has.

    Raises:
        UnsupportedGraphError: a shape cannot be found, or those along an edge differ.
    """
    shapes_in: dict[str, Shape] = {}
    shapes: dict[str, Shape] = {}
    wanted: dict[str, set[Shape]] = {name: set() for name in nodes}
    for name, node in nodes.items():
        own = own_input_shape(name, node)
        if own is not None:
            for source in sources[name]:
                wanted[source].add(own)
            if not isinstance(node, nir.Flatten):
                shapes_in[name] = own
                shapes[name] = output_shape(name, node, own)
    for name in nodes:
        if isinstance(nodes[name], nir.Input) and not sources[name]:
            shapes_in[name] = shapes[name] = of_a_step(shapes[name], wanted[name])
    waiting = [name for name in nodes if name not in shapes]
    while waiting:
        left = []
        for name in waiting:
            known = next((shapes[source] for source in sources[name] if source in shapes), None)
            if known is None:
                left.append(name)
            else:
                shapes_in[name] = known
                node = nodes[name]
                shapes[name] = (
                    flattened(name, node, known, wanted[name])
                    if isinstance(node, nir.Flatten)
                    else output_shape(name, node, known)
                )
        if len(left) == len(waiting):
            # Nothing that leads to it says a shape: then what a Flatten says itself has to do.
            said = next((n for n in left if own_input_shape(n, nodes[n]) is not None), None)
            if said is None:
                raise UnsupportedGraphError(
                    f"the shape of node '{left[0]}' can be found neither from it nor from its sources"
                )
            shapes_in[said] = own_input_shape(said, nodes[said]) or ()
            shapes[said] = output_shape(said, nodes[said], shapes_in[said])
            left.remove(said)
        waiting = left
    for name in nodes:
        if isinstance(nodes[name], nir.Output):
            sent = {shapes[source] for source in sources[name]}
            shapes_in[name] = shapes[name] = of_a_step(shapes[name], sent)
    for name, shape in shapes_in.items():
        for source in sources[name]:
            if shapes[source] != shape:
                ports = isinstance(nodes[source], nir.Input) or isinstance(nodes[name], nir.Output)
                mend = "; give the shape of one step, without batch and time" if ports else ""
                raise UnsupportedGraphError(
                    f"the edge from '{source}' to '{name}': shapes {shapes[source]} and {shape} differ{mend}"
                )
    for name in nodes:
        if 0 in shapes_in[name] or 0 in shapes[name]:
            raise UnsupportedGraphError(
                f"node '{name}' has no elements: its shapes are {shapes_in[name]} -> {shapes[name]}; remove it"
            )
        if max(np.prod(shapes_in[name], dtype=float), np.prod(shapes[name], dtype=float)) > MAX_ELEMENTS:
            raise UnsupportedGraphError(
                f"node '{name}' has shapes {shapes_in[name]} -> {shapes[name]}, more than {MAX_ELEMENTS} elements"
            )
    return {name: (shapes_in[name], shapes[name]) for name in nodes}


def of_a_step(shape: Shape, beside: Collection[Shape]) -> Shape:
    """A port's shape without the one or two leading axes, batch and time, that the nodes beside it do not have."""
    own, *others = beside or [shape]
    extra = len(shape) - len(own)
    return own if own and not others and extra in (1, 2) and shape[extra:] == own else shape


def own_input_shape(name: str, node: nir.NIRNode) -> Shape | None:
    """Input shape that a node's own parameters say; None where they do not."""
    if isinstance(node, nir.Input):
        return shape_of(name, shape_in_type(name, node.input_type, "input"))
    if isinstance(node, nir.Output):
        return optional_shape(name, shape_in_type(name, node.output_type, "output"))
    if isinstance(node, nir.Flatten):
        return optional_shape(name, shape_in_type(name, node.input_type, "input"))
    if isinstance(node, nir.Affine | nir.Linear):
        weight = numbers(name, "weight", node.weight)
        if weight.ndim < 2:
            raise UnsupportedGraphError(f"node '{name}': weight needs two dimensions, got shape {weight.shape}")
        return (*weight.shape[:-2], weight.shape[-1])
    if isinstance(node, nir.Conv1d | nir.Conv2d):
        if node.input_shape is None or np.size(node.input_shape) == 0:
            return None
        weight = numbers(name, "weight", node.weight)
        check_axes(name, "weight", weight, 3 if isinstance(node, nir.Conv1d) else 4)
        channels = weight.shape[1] * integers(name, "groups", node.groups, 1, 1)[0]
        return (channels, *integers(name, "input_shape", node.input_shape, weight.ndim - 2, 1))
    if isinstance(node, nir.Scale):
        shape = numbers(name, "scale", node.scale).shape
    elif isinstance(node, nir.Delay):
        shape = numbers(name, "delay", node.delay).shape
    elif type(node) in PARAMETERS:
        shape = max((numbers(name, p, getattr(node, p, 0.0)).shape for p in PARAMETERS[type(node)]), key=np.prod)
    elif isinstance(node, nir.SumPool2d | nir.AvgPool2d):
        return None
    else:
        raise UnsupportedGraphError(f"node '{name}' is a {type(node).__name__}, which is no primitive of NIR 1.0")
    return shape if int(np.prod(shape)) > 1 else None


def output_shape(name: str, node: nir.NIRNode, shape_in: Shape) -> Shape:
    """Output shape of a node, given its input's."""
    if isinstance(node, nir.Affine | nir.Linear):
        weight = np.asarray(node.weight)
        return (*weight.shape[:-2], weight.shape[-2])
    if isinstance(node, nir.Flatten):
        shape = flat_shape(shape_in, *flatten_axes(name, node))
        if shape is None:
            raise UnsupportedGraphError(
                f"node '{name}': start_dim={node.start_dim}, end_dim={node.end_dim} do not fit the shape {shape_in}; "
                "axes are counted without batch and time"
            )
        return shape
    if isinstance(node, nir.Conv1d | nir.Conv2d | nir.SumPool2d | nir.AvgPool2d):
        p = window(name, node)
        kernel = p["weight"].shape if "weight" in p else (1, 1, *p["kernel_size"])
        axes = 1 if isinstance(node, nir.Conv1d) else 2
        if len(shape_in) != axes + 1:
            raise UnsupportedGraphError(f"node '{name}' needs an input of {axes + 1} dimensions, got shape {shape_in}")
        groups = p.get("groups", 1)
        if "weight" in p and shape_in[0] != kernel[1] * groups:
            raise UnsupportedGraphError(
                f"node '{name}': {shape_in[0]} input channels, but weight and groups say {kernel[1] * groups}"
            )
        spatial = []
        for size, k, stride, dilation, (before, after) in zip(
            (1, *shape_in[1:])[-2:], kernel[2:], p["stride"], p["dilation"], p["padding"], strict=True
        ):
            room = size + before + after - dilation * (k - 1) - 1
            if room < 0:
                raise UnsupportedGraphError(f"node '{name}': its kernel is larger than its padded input {shape_in}")
            spatial.append(room // stride + 1)
        channels = kernel[0] if "weight" in p else shape_in[0]
        shape = (channels, *spatial[-axes:])
        if np.prod(shape, dtype=float) * np.prod(kernel[1:], dtype=float) > MAX_SYNAPSES:
            raise UnsupportedGraphError(f"node '{name}' has more than {MAX_SYNAPSES} synapses")
        return shape
    return shape_in


def flatten_axes(name: str, node: nir.Flatten) -> tuple[int, int]:
    """First and last axis that a Flatten node flattens, as it says."""
    start, end = (integers(name, key, getattr(node, key), 1, None)[0] for key in ("start_dim", "end_dim"))
    return start, end


def flat_shape(shape: Shape, start: int, end: int) -> Shape | None:
    """A shape with the axes from ``start`` to ``end`` as one; None where there are no such axes."""
    axes = len(shape)
    start, end = (axis + axes if axis < 0 else axis for axis in (start, end))
    if not 0 <= start <= end < axes:
        return None
    return (*shape[:start], int(np.prod(shape[start : end + 1], dtype=np.int64)), *shape[end + 1 :])


def flattened(name: str, node: nir.Flatten, shape_in: Shape, wanted: set[Shape]) -> Shape:
    """Output shape of a Flatten node, whose axes NIR counts without batch and time, but some exporters with.

    With them it is taken to count where its own input_type has them, or where only so its axes exist or its targets get
    a shape that they take (``wanted``); a warning says so.

    Raises:
        UnsupportedGraphError: no way of counting fits.
    """
    start, end = flatten_axes(name, node)
    own = own_input_shape(name, node)
    leading = 0 if own is None else len(own) - len(shape_in)
    if own is not None and (leading < 0 or own[leading:] != shape_in):
        raise UnsupportedGraphError(
            f"node '{name}': its input_type {own} is not the shape {shape_in} of what reaches it; correct one of them"
        )
    literal = flat_shape(shape_in, start, end)
    for axes in [leading] if leading else [1, 2]:
        if not leading and literal is not None and (not wanted or literal in wanted):
            break
        fewer = (max(axis - axes, 0) if axis >= 0 else axis for axis in (start, end))
        shape = flat_shape(shape_in, *fewer)
        if shape is None or (wanted and shape not in wanted):
            continue
        warnings.warn(
            f"node '{name}': start_dim={start}, end_dim={end} count {axes} of batch and time, which NIR leaves out: "
            f"read as {shape_in} -> {shape}",
            UserNotice,
            stacklevel=2,
        )
        return shape
    return literal if literal is not None and not leading else output_shape(name, node, shape_in)


def shape_in_type(name: str, types: object, key: str) -> object:
    """What a node's ``input_type`` or ``output_type`` has for its one port."""
    if types is None:
        return None
    if not isinstance(types, Mapping):
        raise UnsupportedGraphError(f"node '{name}': its {key}_type is {described(types)}; give {{'{key}': shape}}")
    return types.get(key)


def shape_of(name: str, value: object) -> Shape:
    """A shape, from what a file has for it."""
    if value is None:
        raise UnsupportedGraphError(f"node '{name}' does not say its shape")
    return integers(name, "shape", value, None, 1)


def optional_shape(name: str, value: object) -> Shape | None:
    """A shape that need not be given."""
    return None if value is None else shape_of(name, value)


def numbers(name: str, key: str, value: object) -> Floats:
    """A parameter as float64, finite.

    Raises:
        UnsupportedGraphError: it is no array of finite numbers.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # A ragged list, or a tensor that PyTorch does not hand out.
        raise UnsupportedGraphError(f"node '{name}': {key} is {described(value)} and no array of numbers") from error
    if array.dtype.kind not in "fiub":
        held = described(value) if array.dtype.kind == "O" else array.dtype
        raise UnsupportedGraphError(f"node '{name}': {key} must be real numbers, got {held}")
    array = array.astype(np.float64, copy=False)
    if found := not_finite(array):
        raise UnsupportedGraphError(f"node '{name}': {key} is {found}; it must be finite")
    return array


def integers(name: str, key: str, value: object, count: int | None, low: int | None) -> tuple[int, ...]:
    """A parameter as ``count`` integers, each at least ``low``; a single one stands for all."""
    array = numbers(name, key, value).reshape(-1)
    if (array != np.round(array)).any() or (low is not None and (array < low).any()) or (abs(array) > 2**40).any():
        at_least = "" if low is None else f" of at least {low}"
        raise UnsupportedGraphError(f"node '{name}': {key} must be integers{at_least}, got {array.tolist()}")
    if count is not None and len(array) == 1:
        array = np.repeat(array, count)
    if count is not None and len(array) != count:
        raise UnsupportedGraphError(f"node '{name}': {key} must be {count} integers, got {array.tolist()}")
    return tuple(int(entry) for entry in array)


def check_axes(name: str, key: str, array: NDArray, axes: int) -> None:
    """Check how many dimensions an array has."""
    if array.ndim != axes:
        raise UnsupportedGraphError(f"node '{name}': {key} needs {axes} dimensions, got shape {array.shape}")


def window(name: str, node: nir.NIRNode) -> dict[str, Any]:
    """Parameters of convolution and pooling, see :class:`Node`; those of Conv1d with a leading axis of one."""
    pooling = isinstance(node, nir.SumPool2d | nir.AvgPool2d)
    axes = 1 if isinstance(node, nir.Conv1d) else 2
    lead = (1,) * (2 - axes)
    p: dict[str, Any] = {}
    if pooling:
        kernel = p["kernel_size"] = integers(name, "kernel_size", node.kernel_size, axes, 1)
    else:
        weight = numbers(name, "weight", node.weight)
        check_axes(name, "weight", weight, axes + 2)
        if not weight.size:
            raise UnsupportedGraphError(f"node '{name}' has no weights: their shape is {weight.shape}; remove it")
        p["weight"] = weight.reshape(*weight.shape[:2], *lead, *weight.shape[2:])
        kernel = p["weight"].shape[2:]
        (p["groups"],) = integers(name, "groups", node.groups, 1, 1)
        if weight.shape[0] % p["groups"]:
            raise UnsupportedGraphError(
                f"node '{name}': {weight.shape[0]} output channels cannot be split into groups={p['groups']}"
            )
        bias = numbers(name, "bias", 0.0 if node.bias is None else node.bias)
        if bias.size not in (1, weight.shape[0]):
            raise UnsupportedGraphError(f"node '{name}': bias must have {weight.shape[0]} values, got {bias.size}")
        p["bias"] = np.broadcast_to(bias.reshape(-1), weight.shape[0])
    p["stride"] = lead + integers(name, "stride", node.stride, axes, 1)
    p["dilation"] = lead + ((1, 1) if pooling else integers(name, "dilation", node.dilation, axes, 1))
    padding = node.padding
    if isinstance(padding, bytes | str) or np.asarray(padding).dtype.kind in "SUO":
        word = text(np.asarray(padding).reshape(-1)[0] if not isinstance(padding, bytes | str) else padding)
        if word == "same" and set(p["stride"]) != {1}:
            raise UnsupportedGraphError(f"node '{name}': padding 'same' needs a stride of 1, got {node.stride}")
        if word not in ("same", "valid"):
            raise UnsupportedGraphError(
                f"node '{name}': padding {printed(word)} is neither 'same', 'valid' nor a number"
            )
        total = [d * (k - 1) if word == "same" else 0 for d, k in zip(p["dilation"], kernel, strict=True)]
        p["padding"] = tuple((extra // 2, extra - extra // 2) for extra in total)
    else:
        p["padding"] = tuple((n, n) for n in (0,) * len(lead) + integers(name, "padding", padding, axes, 0))
    return p


def check_node(name: str, node: nir.NIRNode, shape_in: Shape, shape: Shape, dt: float, reset: str | None) -> Node:
    """Check a node's parameters and spread them over its shape."""
    kind = type(node).__name__
    metadata = dict(metadata_of(node))
    if isinstance(node, nir.Affine | nir.Linear):
        p: dict[str, Any] = {"weight": numbers(name, "weight", node.weight)}
        if isinstance(node, nir.Affine):
            p["bias"] = spread(name, "bias", node.bias, shape)
    elif isinstance(node, nir.Conv1d | nir.Conv2d | nir.SumPool2d | nir.AvgPool2d):
        p = window(name, node)
    elif isinstance(node, nir.Scale):
        p = {"scale": spread(name, "scale", node.scale, shape)}
    elif isinstance(node, nir.Delay):
        p = {"delay": steps_of_delay(name, spread(name, "delay", node.delay, shape), dt)}
    elif type(node) in PARAMETERS:
        p = {key: spread(name, key, getattr(node, key, None), shape) for key in PARAMETERS[type(node)]}
        for key, values in p.items():
            size = np.abs(values[values != 0])
            if (size < 1 / MAX_NUMBER).any() or (size > MAX_NUMBER).any():
                raise UnsupportedGraphError(
                    f"node '{name}': {key} has values beyond {1 / MAX_NUMBER:g} to {MAX_NUMBER:g}: no room in float64"
                )
        for key in TIME_CONSTANTS:
            if key in p and not (p[key] > 0).all():
                raise UnsupportedGraphError(f"node '{name}': {key} must be positive, got {p[key].min()}")
            if key in p:  # dt / tau is 1 then, exactly, on every back end.
                p[key] = np.where(same_time(p[key], dt), dt, p[key])
        if "v_reset" in p:
            reset = reset or RESET_TO_V_RESET
            if reset not in RESETS:
                raise UnsupportedGraphError(
                    f"node '{name}': reset rule {printed(reset)} is unknown; it must be one of {', '.join(RESETS)}"
                )
            return Node(kind, shape_in, shape, p, reset, metadata)
    else:
        p = {}
    return Node(kind, shape_in, shape, p, None, metadata)


def spread(name: str, key: str, value: object, shape: Shape) -> Floats:
    """A parameter spread over a node's shape; v_reset, which NIR 1.0.4 does not have, is 0 where it is missing."""
    array = numbers(name, key, 0.0 if value is None else value)
    if array.size == 1:
        array = array.reshape(())
    elif array.shape != shape:
        raise UnsupportedGraphError(f"node '{name}': {key} has shape {array.shape}, the node's shape is {shape}")
    return np.broadcast_to(array, shape)


def steps_of_delay(name: str, seconds: Floats, dt: float) -> Floats:
    """Delays in whole steps; the tolerance is :data:`TIME_TOLERANCE`, and never more than a quarter of a step."""
    steps = np.round(seconds / dt)
    tolerance = np.minimum(TIME_TOLERANCE * np.maximum(steps, 1.0), 0.25)
    if (steps < 0).any() or (abs(seconds / dt - steps) > tolerance).any():
        raise UnsupportedGraphError(f"node '{name}': delays must be whole multiples of dt = {dt}, none negative")
    if steps.max(initial=0) > 2**20:
        raise UnsupportedGraphError(f"node '{name}': a delay of {steps.max():g} steps is too long")
    return steps


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
    """Strongly connected components of a graph, each after those that it reads, by name where that leaves a choice.

    Args:
        sources: Of each node, those that it reads.
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
