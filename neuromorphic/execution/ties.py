"""Why spikes of two back ends differ: a tie (the potential is within rounding of the threshold), or another cause."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuromorphic.execution.record import Record
from neuromorphic.execution.reference import Map, add, charge, linear_map
from neuromorphic.graph import RESET_BY_SUBTRACTION, Floats, Graph, Node

ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""Largest rounding error of a potential, relative to the sum of the absolute values that were added to it since step 0.
Each addition or product may be off by eps / 2 of its result, and these errors add up like a random walk."""
SAME = 1e-9
"""Inputs of a neuron are equal up to this fraction of the largest: sums of graded potentials are rounded, too."""

TIE, FOLLOWS, OTHER = "tie", "follows", "other"
"""Causes of a first difference. Tie: the potential before the reset is within rounding of the threshold. Follows: the
input of the neuron differed in this step or before. Other: neither, so one of the back ends computes something else."""


@dataclass(frozen=True)
class FirstDifference:
    """The first step in which the spikes of a neuron differ between two records.

    Attributes:
        node, sample, step, neuron: The place; ``neuron`` is an index in C order over the shape of the node.
        potentials: w, the potential before the reset (for a Threshold: its input), in both records; see
            :func:`before_reset`.
        threshold: The neuron spikes where w is above it.
        rounding: Largest rounding error of w.
        cause: One of :data:`TIE`, :data:`FOLLOWS` and :data:`OTHER`.
    """

    node: str
    sample: int
    step: int
    neuron: int
    potentials: tuple[float, float]
    threshold: float
    rounding: float
    cause: str


def first_differences(
    graph: Graph, inputs: Mapping[str, NDArray], records: tuple[Record, Record], is_float: tuple[bool, bool]
) -> list[FirstDifference]:
    """The first difference of each neuron whose spikes differ, by node, sample and neuron.

    Later differences of the neuron and of its readers follow from it, so only first differences have a cause. A tie
    needs w of every float record to be within :data:`ROUNDING` of the threshold. Integer arithmetic is exact, so two
    records in fixed point have no ties.

    Args:
        graph: What was run.
        inputs: By Input node, shape (B, T, *shape).
        records: With the potentials of all neurons that have a membrane.
        is_float: Whether each of the records is of float arithmetic.
    """
    sent = [signals(graph, inputs, record) for record in records]
    got = [received(graph, own) for own in sent]
    sizes = received(absolute(graph), {name: np.abs(values) for name, values in sent[0].items()})
    out = []
    for name in graph.spiking:
        node = graph.nodes[name]
        different = flat(records[0].spikes[name] != records[1].spikes[name])
        if not different.any():
            continue
        w = [flat(before_reset(graph, name, own[name], record)) for own, record in zip(got, records, strict=True)]
        scale = flat(added(graph, name, sizes[name], records[0].spikes[name]))
        apart = flat(np.abs(got[0][name] - got[1][name])) > SAME * sizes[name].max(initial=0.0)
        for sample, neuron in np.argwhere(different.any(axis=1)):
            step = int(different[sample, :, neuron].argmax())
            threshold = float(node.threshold.reshape(-1)[neuron])
            potentials = (float(w[0][sample, step, neuron]), float(w[1][sample, step, neuron]))
            rounding = ROUNDING * float(scale[sample, step, neuron])
            near = [abs(p - threshold) <= rounding for p, floats in zip(potentials, is_float, strict=True) if floats]
            follows = bool(apart[sample, : step + 1, neuron].any())
            cause = FOLLOWS if follows else TIE if near and all(near) else OTHER
            where = (name, int(sample), step, int(neuron))
            out.append(FirstDifference(*where, potentials, threshold, rounding, cause))
    return out


def flat(values: NDArray) -> NDArray:
    """Neurons in C order, shape (B, T, M)."""
    return values.reshape(*values.shape[:2], -1)


def signals(graph: Graph, inputs: Mapping[str, NDArray], record: Record) -> dict[str, Floats]:
    """Outputs of Input nodes and neurons, shape (B, T, *shape), float64."""
    sent = {name: np.asarray(inputs[name], np.float64) for name in graph.inputs}
    for name in graph.neurons:
        values = record.spikes[name] if graph.nodes[name].is_spiking else record.potentials[name]
        sent[name] = values.astype(np.float64)
    return sent


def every_signal(graph: Graph, inputs: Mapping[str, NDArray], record: Record) -> dict[str, Floats]:
    """Outputs of every node but Output nodes, shape (B, T, *shape).

    Those of inputs and neurons are the record's. Those of linear nodes are computed from them in float64.
    """
    return linear_signals(graph, signals(graph, inputs, record))


def linear_signals(graph: Graph, sent: Mapping[str, Floats]) -> dict[str, Floats]:
    """Outputs of all nodes, given those of inputs and neurons. Linear nodes read the outputs of the same step."""
    maps = linear_maps(graph)
    now: dict[str, Floats] = dict(sent)
    for name in graph.linear:
        now[name] = evaluate(graph, maps, name, now, now)
    return now


def linear_maps(graph: Graph) -> dict[str, Map]:
    """Maps of all linear nodes but Delay, by name."""
    return {name: linear_map(graph.nodes[name]) for name in graph.linear if graph.nodes[name].kind != "Delay"}


def total(graph: Graph, name: str, known: Mapping[str, Floats]) -> Floats:
    """The sum over the outputs of a node's sources."""
    return add([known[source] for source in graph.sources[name]])


def evaluate(
    graph: Graph, maps: Mapping[str, Map], name: str, known: Mapping[str, Floats], now: Mapping[str, Floats]
) -> Floats:
    """Output of a linear node, shape (B, T, *shape).

    Args:
        graph: The graph.
        maps: From :func:`linear_maps`.
        name: The node.
        known: Outputs of the sources, as this node reads them.
        now: Outputs of the sources in their own steps, which a Delay of at least one step reads.
    """
    node = graph.nodes[name]
    if name in maps:
        x = total(graph, name, known)
        return maps[name](x.reshape(-1, *node.shape_in)).reshape(*x.shape[:2], *node.shape)
    delay = node.parameters["delay"]
    parts = [
        (d, total(graph, name, known) if d == 0 else shifted(total(graph, name, now), int(d))) for d in np.unique(delay)
    ]
    return sum((np.where(delay == d, part, 0.0) for d, part in parts), np.zeros(1))


def received(graph: Graph, sent: Mapping[str, Floats]) -> dict[str, Floats]:
    """Inputs of every neuron node, shape (B, T, *shape), given the outputs of inputs and neurons."""
    maps, now = linear_maps(graph), linear_signals(graph, sent)
    got: dict[str, Floats] = {}
    for component in graph.components:
        before = {name: shifted(now[name], 1) for name in component}
        known: MutableMapping[str, Floats] = ChainMap(before, now)
        late = graph.late(component)
        for name in graph.within_a_step(component):
            if name in late:
                known[name] = evaluate(graph, maps, name, known, now)
        got |= {name: total(graph, name, known) for name in component}
    return got


def shifted(values: Floats, steps: int) -> Floats:
    """Values, shape (B, T, ...), moved to later steps; the first steps become 0."""
    out = np.zeros_like(values)
    out[:, steps:] = values[:, : max(values.shape[1] - steps, 0)]
    return out


def absolute(graph: Graph) -> Graph:
    """The graph with all weights, biases and scales positive, so that nodes receive sums of absolute values."""

    def positive(node: Node) -> Node:
        own = {key: np.abs(node.parameters[key]) for key in ("weight", "bias", "scale") if key in node.parameters}
        return replace(node, parameters={**node.parameters, **own})

    return replace(graph, nodes={name: positive(node) for name, node in graph.nodes.items()})


def before_reset(graph: Graph, name: str, got: Floats, record: Record) -> Floats:
    """w, the potential before the reset, in each step, shape (B, T, *shape).

    Without a spike it is the record's potential after the step. After a reset by subtraction, the threshold is added
    back. After a reset to v_reset, w is computed as the reference does, from the record's potential after the step
    before and the neuron's input. For a Threshold, w is the input.

    Args:
        graph: The graph.
        name: A spiking node.
        got: Its inputs, shape (B, T, *shape).
        record: With the potentials of the node.
    """
    node = graph.nodes[name]
    if not node.has_membrane:
        return got
    spikes, after = record.spikes[name], record.potentials[name]
    if node.reset == RESET_BY_SUBTRACTION:
        return after + node.threshold * spikes
    v, i = shifted(after, 1), np.zeros_like(got[:, 0])
    w = np.zeros_like(got)
    for t in range(got.shape[1]):
        w[:, t], i = charge(node, got[:, t], v[:, t], i, graph.dt)
    return np.where(spikes, w, after)


def added(graph: Graph, name: str, sizes: Floats, spikes: NDArray[np.bool_]) -> Floats:
    """Sum of the absolute values that were added to w since step 0, and of threshold and v_reset, shape (B, T, *shape).

    Resets by subtraction count, too. A Threshold has no memory, so only its input of the same step counts.
    """
    node, p, dt = graph.nodes[name], graph.nodes[name].parameters, graph.dt
    ends = np.abs(node.threshold) + np.abs(p.get("v_reset", 0.0))
    if not node.has_membrane:
        return sizes + ends
    each = np.abs(p["r"] * p.get("w_in", 1.0)) * sizes + np.abs(p.get("v_leak", 0.0))
    tau = p.get("tau", p.get("tau_mem"))
    if tau is not None:
        each = dt / tau * each
    if node.reset == RESET_BY_SUBTRACTION:
        each = each + np.abs(node.threshold) * spikes
    return np.cumsum(each, axis=1) + ends
