"""NIR graphs in exact rational arithmetic: slow, obvious, and without any code of the simulators.

Every number is a :class:`fractions.Fraction`. So no sum depends on its order, no potential is rounded, and a tie at a
threshold is exact. :class:`neuromorphic.graph.Graph` defines what a graph means, and
:func:`neuromorphic.execution.reference.advance` has the equations. Both are implemented again here, from the
``nir.NIRGraph`` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

SPIKING, GRADED_NEURONS = ("IF", "LIF", "CubaLIF", "Threshold"), ("I", "LI", "CubaLI")
Exact = NDArray[np.object_]
"""An array of fractions."""


@dataclass
class ExactRun:
    """The result of an exact run. Only the results are rounded to float64. Shapes are (B, T, *shape of the node).

    Attributes:
        outputs: Values of each Output node.
        spikes: Spikes of each spiking node, bool.
        potentials: Membrane potentials after each step, of every neuron node but Threshold.
        ties: Number of potentials (for a Threshold, of inputs) that equal the threshold, and so cause no spike.
        margin: Least distance of any other potential from its threshold; infinite if no node spikes.
    """

    outputs: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    spikes: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    potentials: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    ties: int = 0
    margin: float = float("inf")


def exact(values: Any) -> Exact:
    """Convert floats to fractions of exactly the same value."""
    return np.asarray(np.frompyfunc(lambda x: Fraction(float(x)), 1, 1)(np.asarray(values)), object)


def rounded(values: Exact) -> NDArray[np.float64]:
    """Convert fractions to the nearest float64."""
    return np.asarray(values).astype(np.float64)


def simulate_exactly(graph: nir.NIRGraph, inputs: Mapping[str, NDArray], dt: float) -> ExactRun:
    """Run a graph from rest.

    A neuron reads the messages that others send in the same step. An exception is its component: itself and the neurons
    that it reaches, and that reach it, without a Delay of a step or more. Of these it reads the step before.

    Args:
        graph: Any of NIR's primitives. ``reset`` in metadata is ``zero`` (also where it is missing) or ``subtract``.
        inputs: By Input node, shape (B, T, *shape).
        dt: Time step, seconds. Delays are whole multiples of it but for rounding.
    """
    nodes, resets, sources = flat(graph)
    kinds = {name: type(node).__name__ for name, node in nodes.items()}
    step = Fraction(dt)
    x = {name: exact(values) for name, values in inputs.items()}
    batch, steps = next(iter(x.values())).shape[:2]
    delays = {n: np.rint(np.asarray(nodes[n].delay) / dt).astype(int) for n in nodes if kinds[n] == "Delay"}
    neurons = [name for name in nodes if kinds[name] in SPIKING + GRADED_NEURONS]
    parameters = {name: parameters_of(nodes[name]) for name in neurons}
    weights = {
        n: {k: exact(getattr(nodes[n], k)) for k in ("weight", "bias", "scale") if hasattr(nodes[n], k)} for n in nodes
    }

    def upstream(name: str) -> set[str]:
        """Nodes whose messages reach a node within a step."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for source in sources[waiting.pop()]:
                if source not in seen and not (source in delays and (delays[source] >= 1).all()):
                    seen.add(source)
                    waiting.append(source)
        return seen

    above = {name: upstream(name) for name in neurons}
    together = {a: {b for b in neurons if b == a or (a in above[b] and b in above[a])} for a in neurons}
    run = ExactRun()
    states: dict[tuple[str, int], tuple[Exact, Exact, Exact]] = {}

    def neuron(name: str, t: int) -> tuple[Exact, Exact, Exact]:
        """Output, v and i after step t."""
        if t < 0:
            zero = exact(np.zeros((batch, *parameters[name]["shape"])))
            return zero, zero, zero
        if (name, t) not in states:
            _, v, i = neuron(name, t - 1)
            states[name, t] = advance(name, received(name, t, t, together[name]), v, i)
        return states[name, t]

    def sent(name: str, t: int, now: int, readers: set[str]) -> Any:
        """Output of any node in step t, as the component ``readers``, which does its step ``now``, reads it."""
        if t < 0:
            return Fraction(0)
        if name in x:
            return x[name][:, t]
        if name in above:
            return neuron(name, t - 1 if t == now and name in readers else t)[0]
        if name in delays:
            own = delays[name]
            parts = (exact(own == d) * received(name, t - int(d), now, readers) for d in np.unique(own))
            return sum(parts, exact(np.zeros((batch, *own.shape))))
        return linear(nodes[name], weights[name], received(name, t, now, readers))

    def received(name: str, t: int, now: int, readers: set[str]) -> Any:
        """Sum over the outputs of a node's sources."""
        return sum((sent(source, t, now, readers) for source in sources[name]), Fraction(0)) if t >= 0 else Fraction(0)

    def advance(name: str, current: Exact, v: Exact, i: Exact) -> tuple[Exact, Exact, Exact]:
        """A step of neurons: output, v' and i'."""
        p, kind = parameters[name], kinds[name]
        if kind == "Threshold":
            w = current
        elif kind in ("I", "IF"):
            w = v + p["r"] * current
        elif kind in ("LI", "LIF"):
            w = v + step / p["tau"] * (p["v_leak"] - v + p["r"] * current)
        else:
            i = i + step / p["tau_syn"] * (p["w_in"] * current - i)
            w = v + step / p["tau_mem"] * (p["v_leak"] - v + p["r"] * i)
        if kind in GRADED_NEURONS:
            return w, w, i
        threshold = p["threshold" if kind == "Threshold" else "v_threshold"]
        away = np.abs(w - threshold)
        run.ties += int((away == 0).sum())
        run.margin = min(run.margin, *(float(d) for d in away.flat if d), float("inf"))
        spikes = np.asarray(w > threshold, bool)
        after = w
        if kind != "Threshold":
            after = np.where(spikes, w - threshold if resets[name] == "subtract" else p["v_reset"] + 0 * w, w)
        return exact(spikes), after, i

    for name in neurons:
        rows = [neuron(name, t) for t in range(steps)]
        if kinds[name] in SPIKING:
            run.spikes[name] = np.stack([rounded(row[0]) for row in rows], axis=1) > 0
        if kinds[name] != "Threshold":
            run.potentials[name] = np.stack([rounded(row[1]) for row in rows], axis=1)
    for name in nodes:
        if kinds[name] == "Output" and "." not in name:
            run.outputs[name] = np.stack([rounded(received(name, t, t, set())) for t in range(steps)], axis=1)
    return run


def flat(
    graph: nir.NIRGraph, prefix: str = "", reset: str = "zero"
) -> tuple[dict, dict[str, str], dict[str, list[str]]]:
    """Nodes by flat name, their reset rules, and their sources. Edges of a nested graph are its Input's or Output's."""
    nodes: dict[str, nir.NIRNode] = {}
    resets: dict[str, str] = {}
    sources: dict[str, list[str]] = {}
    reset = str(graph.metadata.get("reset", reset))
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            inner = flat(node, f"{prefix}{name}.", reset)
            nodes.update(inner[0])
            resets.update(inner[1])
            sources.update(inner[2])
        else:
            nodes[prefix + name] = node
            resets[prefix + name] = str(getattr(node, "metadata", {}).get("reset", reset))
            sources.setdefault(prefix + name, [])

    def port(name: str, kind: type) -> str:
        node = graph.nodes.get(name)
        if not isinstance(node, nir.NIRGraph):
            return prefix + name
        (inner,) = (key for key, own in node.nodes.items() if isinstance(own, kind))
        return f"{prefix}{name}.{inner}"

    for source, target in graph.edges:
        sources[port(target, nir.Input)].append(port(source, nir.Output))
    return nodes, resets, sources


def parameters_of(node: nir.NIRNode) -> dict[str, Any]:
    """A neuron's parameters and its shape. Without v_reset, which old versions of nir lack, it is 0."""
    names = ("tau", "tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in", "threshold")
    p: dict[str, Any] = {"v_reset": exact(0.0)} | {
        key: exact(getattr(node, key)) for key in names if hasattr(node, key)
    }
    return p | {"shape": max((value.shape for value in p.values()), key=len)}


def linear(node: nir.NIRNode, p: Mapping[str, Exact], x: Exact) -> Exact:
    """A linear node's map, (B, *shape_in) -> (B, *shape)."""
    kind = type(node).__name__
    if kind in ("Affine", "Linear"):
        y = (p["weight"] * x[..., None, :]).sum(axis=-1)
        return y + p["bias"] if kind == "Affine" else y
    if kind == "Scale":
        return p["scale"] * x
    if kind == "Flatten":
        start, end = (int(axis) % (x.ndim - 1) + 1 for axis in (node.start_dim, node.end_dim))
        return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])
    if kind in ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"):
        return slide(node, p, x)
    return x


def slide(node: nir.NIRNode, p: Mapping[str, Exact], x: Exact) -> Exact:
    """Convolution (cross-correlation) and pooling: a window at one position after the other."""
    axes, kind = x.ndim - 2, type(node).__name__
    pooling = "weight" not in p
    kernel = pair(node.kernel_size, axes) if pooling else p["weight"].shape[2:]
    stride, dilation = pair(node.stride, axes), pair(1 if pooling else node.dilation, axes)
    if isinstance(node.padding, str):
        extra = [d * (k - 1) if node.padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        padding = [(n // 2, n - n // 2) for n in extra]
    else:
        padding = [(n, n) for n in pair(node.padding, axes)]
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [(n - span) // s + 1 for n, span, s in zip(x.shape[2:], spans, stride, strict=True)]
    groups = x.shape[1] if pooling else int(node.groups)
    weight = exact(np.ones((groups, 1, *kernel))) if pooling else p["weight"]
    y = np.empty((len(x), len(weight), *size), object)
    per_group, inputs = len(weight) // groups, x.shape[1] // groups
    for place in np.ndindex(*y.shape):
        sample, channel, *at = place
        first = channel // per_group * inputs
        window = tuple(slice(k * s, k * s + span, d) for k, s, span, d in zip(at, stride, spans, dilation, strict=True))
        y[place] = (x[(sample, slice(first, first + inputs), *window)] * weight[channel]).sum()
    if kind == "AvgPool2d":
        return y / Fraction(int(np.prod(kernel)))
    return y if pooling else y + p["bias"].reshape(-1, *(1,) * axes)


def pair(value: Any, axes: int) -> list[int]:
    """A number for each axis."""
    return [int(n) for n in np.broadcast_to(np.asarray(value).reshape(-1), axes)]
