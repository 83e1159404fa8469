"""Counts by hand: every edge of a NIR graph walked by loops, from the NIR nodes' own parameters.

Nothing of the compiler is used; of :mod:`neuromorphic.graph` only the shapes of the nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.graph import Graph

NEURONS = (
    nir.I,
    nir.IF,
    nir.LI,
    nir.LIF,
    nir.CubaLIF,
    nir.Threshold,
    *([nir.CubaLI] if hasattr(nir, "CubaLI") else []),
)
GRADED = ("I", "LI", "CubaLI")
PORTS = (nir.Input, nir.Output, nir.Flatten)
Place = tuple[int, ...]


def pair(value: object) -> Place:
    return tuple(int(v) for v in np.broadcast_to(np.asarray(value), 2))


def edges_of(node: nir.NIRNode, shape: Place) -> Iterator[tuple[Place, Place, float]]:
    """Every edge of a linear node: the place of its source, that of its target, its weight."""
    if isinstance(node, nir.Affine | nir.Linear):
        for place in np.ndindex(node.weight.shape):
            *stack, i, j = place
            yield (*stack, j), (*stack, i), float(node.weight[place])
    elif isinstance(node, nir.Scale):
        for place in np.ndindex(shape):
            yield place, place, float(np.broadcast_to(node.scale, shape)[place])
    elif isinstance(node, nir.Conv1d):
        (n,) = shape[1:]
        channels_out, per_group, kernel = node.weight.shape
        stride, dilation, groups = int(node.stride), int(node.dilation), int(node.groups)
        pad = (dilation * (kernel - 1)) // 2 if node.padding == "same" else int(node.padding)
        for o in range(channels_out):
            first = o // (channels_out // groups) * per_group
            for to, start in enumerate(starts(n, kernel, stride, dilation, pad, node.padding == "same")):
                for c in range(per_group):
                    for k in range(kernel):
                        x = start + k * dilation
                        if 0 <= x < n:
                            yield (first + c, x), (o, to), float(node.weight[o, c, k])
    elif isinstance(node, nir.Conv2d | nir.SumPool2d | nir.AvgPool2d):
        height, width = shape[1:]
        if isinstance(node, nir.Conv2d):
            channels_out, per_group, *kernel = node.weight.shape
            dilation, groups = pair(node.dilation), int(node.groups)
        else:
            channels_out, per_group, kernel, dilation, groups = shape[0], 1, pair(node.kernel_size), (1, 1), shape[0]
        same = isinstance(node.padding, str) and node.padding == "same"
        pads = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
        if not same:
            pads = [0, 0] if isinstance(node.padding, str) else [*pair(node.padding)]
        rows, columns = (
            starts(n, k, s, d, p, same)
            for n, k, s, d, p in zip((height, width), kernel, pair(node.stride), dilation, pads, strict=True)
        )
        for o in range(channels_out):
            first = o // (channels_out // groups) * per_group
            for row, top in enumerate(rows):
                for column, left in enumerate(columns):
                    for c in range(per_group):
                        for ky in range(kernel[0]):
                            for kx in range(kernel[1]):
                                y, x = top + ky * dilation[0], left + kx * dilation[1]
                                if 0 <= y < height and 0 <= x < width:
                                    weight = 1.0
                                    if isinstance(node, nir.Conv2d):
                                        weight = float(node.weight[o, c, ky, kx])
                                    elif isinstance(node, nir.AvgPool2d):
                                        weight = 1 / (kernel[0] * kernel[1])
                                    yield (first + c, y, x), (o, row, column), weight
    else:
        raise AssertionError(type(node))


def starts(n: int, kernel: int, stride: int, dilation: int, pad: int, same: bool) -> list[int]:
    """Where the kernel may lie: its first element, counted in the signal without its padding."""
    if same:
        return [k - pad for k in range(n)]
    return [first for first in range(-pad, n + pad, stride) if first + dilation * (kernel - 1) < n + pad]


class Walk:
    """A NIR graph, its nested graphs unfolded, and what its places get over linear nodes."""

    def __init__(self, nir_graph: nir.NIRGraph, graph: Graph) -> None:
        self.nodes: dict[str, nir.NIRNode] = {}
        self.sources: dict[str, list[str]] = defaultdict(list)
        self.dt, self.shapes = graph.dt, {name: (n.shape_in, n.shape) for name, n in graph.nodes.items()}
        self.resets = {name: node.reset for name, node in graph.nodes.items()}
        self.unfold(nir_graph, "")
        self.known: dict[str, tuple[dict, dict]] = {}
        self.instant = {name: self.read_at_once(name) for name, node in self.nodes.items() if isinstance(node, NEURONS)}

    def unfold(self, nir_graph: nir.NIRGraph, prefix: str) -> None:
        for name, node in nir_graph.nodes.items():
            if isinstance(node, nir.NIRGraph):
                self.unfold(node, f"{prefix}{name}.")
            else:
                self.nodes[prefix + name] = node

        def end(name: str, kind: type) -> str:
            if not isinstance(nir_graph.nodes[name], nir.NIRGraph):
                return prefix + name
            (own,) = (n for n, inner in nir_graph.nodes[name].nodes.items() if isinstance(inner, kind))
            return f"{prefix}{name}.{own}"

        for source, target in nir_graph.edges:
            self.sources[end(target, nir.Input)].append(end(source, nir.Output))

    def is_source(self, name: str) -> bool:
        return isinstance(self.nodes[name], NEURONS) or not self.sources[name]

    def delays(self, name: str) -> bool:
        return isinstance(self.nodes[name], nir.Delay) and bool(
            (np.asarray(self.nodes[name].delay) > 0.5 * self.dt).all()
        )

    def read_at_once(self, name: str) -> set[str]:
        """Neurons that a neuron reads within a step, over others too."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for source in self.sources[waiting.pop()]:
                if source not in seen and not self.delays(source):
                    seen.add(source)
                    waiting.append(source)
        return {n for n in seen if isinstance(self.nodes[n], NEURONS)}

    def gets(self, name: str) -> tuple[dict, dict]:
        """What reaches each place of a node: weights by (source, its place, delay), and biases by delay."""
        weights: dict[Place, dict[tuple[str, Place, int], float]] = defaultdict(lambda: defaultdict(float))
        biases: dict[Place, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for source in self.sources[name]:
            sent_weights, sent_biases = self.sends(source)
            for place, terms in sent_weights.items():
                for key, weight in terms.items():
                    weights[place][key] += weight
            for place, terms in sent_biases.items():
                for delay, bias in terms.items():
                    biases[place][delay] += bias
        return weights, biases

    def sends(self, name: str) -> tuple[dict, dict]:
        """Likewise, what comes out of each place of a node."""
        if self.is_source(name):
            return {place: {(name, place, 0): 1.0} for place in np.ndindex(self.shapes[name][1])}, {}
        if name in self.known:
            return self.known[name]
        node, (shape_in, shape) = self.nodes[name], self.shapes[name]
        weights_in, biases_in = self.gets(name)
        weights: dict = defaultdict(lambda: defaultdict(float))
        biases: dict = defaultdict(lambda: defaultdict(float))
        if isinstance(node, PORTS):
            ways = [(a, b, 1.0, 0) for a, b in zip(np.ndindex(shape_in), np.ndindex(shape), strict=True)]
        elif isinstance(node, nir.Delay):
            steps = np.round(np.broadcast_to(node.delay, shape) / self.dt).astype(int)
            ways = [(place, place, 1.0, int(steps[place])) for place in np.ndindex(shape)]
        else:
            ways = [(*edge, 0) for edge in edges_of(node, shape_in)]
        for source, target, weight, steps in ways:
            for (neuron, place, delay), before in weights_in.get(source, {}).items():
                weights[target][neuron, place, delay + steps] += weight * before
            for delay, before in biases_in.get(source, {}).items():
                biases[target][delay + steps] += weight * before
        if hasattr(node, "bias") and node.bias is not None:
            for place in np.ndindex(shape):
                own = node.bias[place[0]] if isinstance(node, nir.Conv1d | nir.Conv2d) else np.asarray(node.bias)[place]
                biases[place][0] += float(own)
        self.known[name] = weights, biases
        return self.known[name]

    def only_passes_on(self, name: str) -> bool:
        """Whether an output is just what one neuron or input sends, in the same step, in another shape at most."""
        (first, *others) = self.sources[name]
        while not others and not self.is_source(first):
            none = isinstance(self.nodes[first], nir.Delay) and not np.any(self.nodes[first].delay)
            if not none and not isinstance(self.nodes[first], PORTS):
                return False
            first, *others = self.sources[first]
        return not others


def count_by_hand(
    nir_graph: nir.NIRGraph, graph: Graph, sent: Mapping[str, NDArray], until: int | None = None
) -> dict[str, dict[str, int]]:
    """Counts by neuron and output node, of messages of shape (B, T, *shape) by node; if asked, of the first steps."""
    walk = Walk(nir_graph, graph)
    batch, steps = next(iter(sent.values())).shape[:2]
    steps = min(steps, until or steps)
    counts: dict[str, dict[str, int]] = {}
    for name in (*(n for n, node in walk.nodes.items() if isinstance(node, NEURONS)), *graph.outputs):
        own = counts[name] = defaultdict(int)
        weights, biases = walk.gets(name)
        if name not in graph.outputs:
            own["neuron_updates"] = batch * steps * len(list(np.ndindex(walk.shapes[name][1])))
        for place in np.ndindex(walk.shapes[name][1]):
            for t in range(steps):
                own["bias_additions"] += batch * has_bias(walk, name, place, biases.get(place, {}), t)
        if name in graph.outputs and walk.only_passes_on(name):
            continue
        kept: dict[tuple[str, Place], int] = defaultdict(int)
        pairs, sources = set(), set()
        for place, terms in weights.items():
            merged: dict[tuple[str, Place, int], float] = defaultdict(float)
            for (source, at, delay), weight in terms.items():
                together = name in walk.instant and source in walk.instant
                late = together and name in walk.instant[source] and source in walk.instant[name]
                late = late or (source == name and name in walk.instant[name])
                merged[source, at, 1 if late and delay == 0 else delay] += weight
            for (source, at, delay), weight in merged.items():
                sources.add(source)
                if weight == 0:
                    continue
                pairs.add((place, source, at))
                own["synapses"] += batch
                own["dense_operations"] += batch * steps
                kept[source, at] = max(kept[source, at], delay)
                for sample in range(batch):
                    for t in range(steps):
                        message = float(sent[source][(sample, t, *at)])
                        if message != 0:
                            own["effective_acs" if is_spike(walk.nodes[source], message) else "effective_macs"] += 1
        own["delayed_messages"] = batch * sum(kept.values())
        own["connected"] = batch * len(pairs)
        size = len(list(np.ndindex(walk.shapes[name][1])))
        own["pairs"] = batch * size * sum(len(list(np.ndindex(walk.shapes[source][1]))) for source in sources)
    return {name: dict(own) for name, own in counts.items()}


def is_spike(source: nir.NIRNode, message: float) -> bool:
    if isinstance(source, nir.Input):
        return abs(message) == 1
    return type(source).__name__ not in GRADED


def has_bias(walk: Walk, name: str, place: Place, biases: Mapping[int, float], t: int) -> bool:
    """Whether something is added to what a neuron or output gets in step t, but its synapses.

    A neuron measures its potential from v_reset, from 0 where it is reset by subtraction or not at all: v_leak,
    measured so, is added in each step. NIR starts at 0, so that in step 0 what the leak leaves of it is added, too, and
    in step 1 taken off what is left of that in the synaptic current.
    """
    from_linear = sum(bias for delay, bias in biases.items() if delay <= t) != 0
    node = walk.nodes[name]
    if isinstance(node, nir.Output):
        return from_linear
    if isinstance(node, nir.Threshold):
        return from_linear or float(np.broadcast_to(node.threshold, walk.shapes[name][1])[place]) < 0

    def value(key: str) -> float:
        return float(np.broadcast_to(getattr(node, key), walk.shapes[name][1])[place])

    rest = value("v_reset") if walk.resets[name] == "zero" else 0.0
    leaks = hasattr(node, "v_leak") and value("v_leak") != rest
    tau = next((value(key) for key in ("tau", "tau_mem") if hasattr(node, key)), None)
    starts_elsewhere = rest != 0 and tau != walk.dt
    if t == 0 and starts_elsewhere:
        return True
    if t == 1 and starts_elsewhere and hasattr(node, "tau_syn") and value("tau_syn") != walk.dt:
        return True
    return from_linear or leaks
