"""Random NIR graphs: topology, sizes, primitives and parameters all from one seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import nir
import numpy as np
from numpy.typing import NDArray
from scenarios import DT, STEPS

from neuromorphic.compiler.lower import unite as unite  # of use with them

NEURONS = ("IF", "LIF", "CubaLIF", "Threshold", "I", "LI", "CubaLI")
GRADED = ("I", "LI", "CubaLI")
LINEAR = ("Affine", "Linear", "Scale", "Delay", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten")


@dataclass
class Builder:
    """A graph in the making; every node added is fed by at least one that is there."""

    random: np.random.Generator
    subtract: bool
    nodes: dict[str, nir.NIRNode] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, name: str, node: nir.NIRNode, shape: tuple[int, ...], *sources: str) -> str:
        name = f"{name}_{len(self.nodes)}"
        self.nodes[name], self.shapes[name] = node, shape
        self.edges += [(source, name) for source in dict.fromkeys(sources)]
        return name

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        return np.asarray(self.random.uniform(low, high, shape))

    def neuron(self, kind: str, shape: tuple[int, ...], *sources: str) -> str:
        u = self.uniform
        tau, tau_mem, tau_syn = (DT * u(1.0, 9.0, shape) for _ in range(3))
        r, v_leak, v_reset = u(0.5, 2.5, shape), u(-0.3, 0.3, shape), u(-0.4, 0.2, shape)
        v_threshold = np.maximum(v_reset, 0.0) + u(0.2, 1.0, shape)
        gain = u(0.5, 4.0, shape)
        metadata = {"reset": "subtract"} if self.subtract and self.random.random() < 0.5 else {}
        made = {
            "IF": lambda: nir.IF(r=r, v_threshold=v_threshold, v_reset=v_reset, metadata=metadata),
            "LIF": lambda: nir.LIF(
                tau=tau, r=r, v_leak=v_leak, v_threshold=v_threshold, v_reset=v_reset, metadata=metadata
            ),
            "CubaLIF": lambda: nir.CubaLIF(
                tau_syn=tau_syn,
                tau_mem=tau_mem,
                r=r,
                v_leak=v_leak,
                v_threshold=v_threshold,
                v_reset=v_reset,
                w_in=gain,
                metadata=metadata,
            ),
            "Threshold": lambda: nir.Threshold(threshold=u(-0.3, 1.0, shape)),
            "I": lambda: nir.I(r=0.1 * r),
            "LI": lambda: nir.LI(tau=tau, r=r, v_leak=v_leak),
            "CubaLI": lambda: nir.CubaLI(tau_syn=tau_syn, tau_mem=tau_mem, r=r, v_leak=v_leak, w_in=gain),
        }
        return self.add(kind.lower(), made[kind](), shape, *sources)

    def to_shape(self, shape: tuple[int, ...], source: str) -> str:
        """Make a signal one of another shape, over an Affine or Linear node."""
        if len(self.shapes[source]) > 1:
            flat = (int(np.prod(self.shapes[source])),)
            source = self.add("flatten", nir.Flatten({"input": np.array(self.shapes[source])}, 0, -1), flat, source)
        assert len(shape) == 1
        return self.affine(shape[0], source)

    def affine(self, size: int, source: str) -> str:
        (n,) = self.shapes[source]
        weight = self.random.normal(0.2, 1.5 / np.sqrt(n), (size, n)) * (self.random.random((size, n)) < 0.8)
        if self.random.random() < 0.6:
            return self.add("affine", nir.Affine(weight, self.random.normal(0.2, 0.3, size)), (size,), source)
        return self.add("linear", nir.Linear(weight), (size,), source)

    def linear(self, kind: str, source: str) -> str:
        """A linear node of a kind, after what it needs to fit."""
        shape = self.shapes[source]
        if kind == "Scale":
            return self.add("scale", nir.Scale(self.uniform(-1.0, 2.0, shape)), shape, source)
        if kind == "Delay":
            return self.add("delay", nir.Delay(DT * self.random.integers(0, 4, shape).astype(float)), shape, source)
        if kind in ("Affine", "Linear", "Flatten") or len(shape) == 1:
            return self.to_shape((int(self.random.integers(1, 6)),), source)
        stride, dilation = (int(self.random.integers(1, 3)) for _ in range(2))
        if kind == "Conv1d" or len(shape) == 2:
            if len(shape) != 2 or shape[1] < 4:
                return self.to_shape((3,), source)
            same = self.random.random() < 0.3
            weight = self.random.normal(0.2, 0.7, (2, shape[0], 2))
            node = nir.Conv1d(
                shape[1],
                weight,
                1 if same else stride,
                "same" if same else 1,
                dilation,
                1,
                self.uniform(-0.2, 0.4, (2,)),
            )
            out = shape[1] if same else (shape[1] + 2 - dilation - 1) // stride + 1
            return self.add("conv1d", node, (2, out), source)
        if kind == "Conv2d":
            groups = shape[0] if self.random.random() < 0.5 else 1
            kernel = (int(self.random.integers(1, 3)), int(self.random.integers(1, 4)))
            weight = self.random.normal(0.2, 0.6, (2 * groups, shape[0] // groups, *kernel))
            padding, strides, dilations = (1, 2), (stride, 1), (1, dilation)
            node = nir.Conv2d(
                shape[1:], weight, strides, padding, dilations, groups, self.uniform(-0.2, 0.4, (2 * groups,))
            )
            spatial = zip(shape[1:], padding, dilations, kernel, strides, strict=True)
            out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in spatial]
            return self.add("conv2d", node, (2 * groups, *out), source)
        pool = nir.SumPool2d if kind == "SumPool2d" else nir.AvgPool2d
        node = pool(np.array([2, 1]), np.array([stride, 1]), np.array([1, 0]))
        return self.add(kind.lower(), node, (shape[0], (shape[1] + 2 - 2) // stride + 1, shape[2]), source)


def random_graph(seed: int) -> tuple[nir.NIRGraph, dict[str, NDArray[np.float64]]]:
    """A graph of up to about a dozen nodes and an input for it, shape (1, T, *shape) by Input node."""
    random = np.random.default_rng(seed)
    b = Builder(random, subtract=random.random() < 0.3)
    for _ in range(random.integers(1, 3)):
        shape = [(int(random.integers(1, 6)),), (2, 6), (2, 4, 5)][random.choice(3, p=[0.6, 0.15, 0.25])]
        b.add("input", nir.Input(np.array(shape)), shape)
    inputs = {name: random.normal(0.3, 1.0, (1, STEPS, *b.shapes[name])) for name in b.nodes}
    neurons: list[str] = []
    for name in list(inputs):
        signal = name
        for _ in range(random.integers(1, 3)):
            for _ in range(random.integers(0, 3)):
                signal = b.linear(str(random.choice(LINEAR)), signal)
            weights = np.array([2, 4, 3, 1, 0.5, 0.7, 0.7])
            signal = b.neuron(str(random.choice(NEURONS, p=weights / weights.sum())), b.shapes[signal], signal)
            neurons.append(signal)
    flat = [name for name in neurons if len(b.shapes[name]) == 1]
    for _ in range(random.integers(0, 4)):  # skips, branches, merges, loops, self-loops
        if not flat:
            break
        source, target = str(random.choice(neurons)), str(random.choice(flat))
        way = random.random()
        if way < 0.25 and b.shapes[source] == b.shapes[target]:
            if (source, target) not in b.edges and type(b.nodes[source]).__name__ not in GRADED:
                b.edges.append((source, target))
            continue
        if way < 0.5:
            source = b.linear("Delay", source)
        last = b.to_shape(b.shapes[target], source)
        # Loops of graded neurons would grow without end.
        b.edges.append((b.add("scale", nir.Scale(np.full(b.shapes[target], 0.2)), b.shapes[target], last), target))
    leaves = [name for name in neurons if name not in {source for source, _ in b.edges}]
    for name in leaves[:2] or neurons[-1:]:
        if random.random() < 0.2:
            name = b.linear("Affine", name)
        b.add("output", nir.Output(np.array(b.shapes[name])), b.shapes[name], name)
    nodes, edges = b.nodes, b.edges
    if random.random() < 0.2:
        nodes, edges = nest(nodes, edges, b.shapes, neurons[0])
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False), inputs


def loop_graph(seed: int) -> tuple[nir.NIRGraph, dict[str, NDArray[np.float64]]]:
    """A graph with a loop of one to three populations, and an input for it, shape (1, T, 3).

    The seed modulo 12 says which: of 1, 2 or 3 populations; without a Delay, with one of 1 to 3 steps, with one of 0 or
    1 steps by element, or with one of as many steps as there are populations, beside a self-loop without.
    """
    random = np.random.default_rng([seed, 1])
    count, kind = seed % 3 + 1, seed // 3 % 4
    b = Builder(random, subtract=random.random() < 0.3)
    b.add("input", nir.Input(np.array([3])), (3,))
    names: list[str] = []
    for _ in range(count):
        shape = (int(random.integers(2, 5)),)
        kind_of_neuron = str(random.choice(NEURONS, p=[0.2, 0.3, 0.2, 0.1, 0, 0.1, 0.1]))
        names.append(b.neuron(kind_of_neuron, shape, b.affine(*shape, "input_0")))

    def way(source: str, target: str, steps: NDArray[np.int64] | None = None) -> None:
        shape = b.shapes[source]
        if steps is not None:
            source = b.add("delay", nir.Delay(DT * np.resize(steps, shape)), shape, source)
        last = b.add(
            "scale", nir.Scale(np.full(b.shapes[target], 0.4)), b.shapes[target], b.to_shape(b.shapes[target], source)
        )
        b.edges.append((last, target))

    steps = {1: random.integers(1, 4, 4), 2: np.array([0, 1]), 3: np.array([count])}.get(kind)
    for source, target in pairwise(names):
        way(source, target)
    way(names[-1], names[0], steps)
    if kind == 3:
        way(names[0], names[0])
    spiking = b.neuron("LIF", (2,), b.affine(2, names[0]), b.affine(2, names[-1]), b.affine(2, "input_0"))
    for name in (names[-1], spiking):
        b.add("output", nir.Output(np.array(b.shapes[name])), b.shapes[name], name)
    x = {"input_0": random.normal(0.3, 1.0, (1, STEPS, 3))}
    return nir.NIRGraph(b.nodes, b.edges, metadata={"dt": DT}, type_check=False), x


def shuffled(nir_graph: nir.NIRGraph, seed: int) -> nir.NIRGraph:
    """The graph with its nodes and edges in another order."""
    random = np.random.default_rng(seed)
    names, edges = list(nir_graph.nodes), list(nir_graph.edges)
    nodes = {names[k]: nir_graph.nodes[names[k]] for k in random.permutation(len(names))}
    edges = [edges[k] for k in random.permutation(len(edges))]
    return nir.NIRGraph(nodes, edges, metadata=nir_graph.metadata, type_check=False)


def renamed(nir_graph: nir.NIRGraph, seed: int) -> tuple[nir.NIRGraph, dict[str, str]]:
    """The graph with other names, and the new names by the old ones."""
    numbers = np.random.default_rng(seed).permutation(len(nir_graph.nodes))
    new = {name: f"n{number}" for name, number in zip(nir_graph.nodes, numbers, strict=True)}
    nodes = {new[name]: node for name, node in nir_graph.nodes.items()}
    edges = [(new[source], new[target]) for source, target in nir_graph.edges]
    return nir.NIRGraph(nodes, edges, metadata=nir_graph.metadata, type_check=False), new


def nest(
    nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]], shapes: dict[str, tuple[int, ...]], name: str
) -> tuple[dict[str, nir.NIRNode], list[tuple[str, str]]]:
    """Put one node into a graph of its own."""
    shape = np.array(shapes[name])
    inner = nir.NIRGraph(
        {"in": nir.Input(shape), name: nodes[name], "out": nir.Output(shape)},
        [("in", name), (name, "out")],
        type_check=False,
    )
    return {**nodes, name: inner}, edges
