"""NIR semantics in NumPy: slow, obvious, and what every back end is held to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neuromorphic.arguments import check_type
from neuromorphic.errors import ArgumentError
from neuromorphic.execution.record import Record, check_inputs
from neuromorphic.graph import RESET_BY_SUBTRACTION, Floats, Graph, Node


@dataclass(frozen=True)
class State:
    """Where a run stands after its last step; what a run starts from is all zero where it is not said.

    Attributes:
        step: Steps done.
        v: Membrane potential of each neuron that has one, shape (B, *shape).
        i: Synaptic current of CubaLI and CubaLIF.
        past: The last outputs of inputs and neurons, as far back as loops and delays reach, by node and step.
    """

    step: int = 0
    v: Mapping[str, Floats] = field(default_factory=dict)
    i: Mapping[str, Floats] = field(default_factory=dict)
    past: Mapping[str, Mapping[int, Floats]] = field(default_factory=dict)


def simulate(graph: Graph, inputs: Mapping[str, NDArray], potentials: Collection[str] = ()) -> Record:
    """Run a graph from rest; see :func:`simulate_from`."""
    return simulate_from(State(), graph, inputs, potentials)[0]


def simulate_from(
    state: State, graph: Graph, inputs: Mapping[str, NDArray], potentials: Collection[str] = ()
) -> tuple[Record, State]:
    """Run a graph on from a state, node by node and step by step, in float64.

    What a loop means is said by :class:`~neuromorphic.graph.Graph`; the equations of neurons by :func:`advance`, those
    of linear nodes by :func:`apply`.

    Args:
        state: ``State()`` for the start; it is not changed.
        graph: The graph.
        inputs: By Input node, shape (B, T, *shape).
        potentials: Spiking neurons whose membrane potentials are recorded too.

    Returns:
        The record of these T steps, and the state after them.

    Raises:
        ArgumentError, UnsupportedGraphError: see :func:`neuromorphic.execution.record.check_inputs`.
    """
    check_type("the state", state, State, "give the one that a run ended with, or State()")
    batch, steps = check_inputs(graph, inputs, potentials)
    check_state(state, graph, batch)
    v, i = dict(state.v), dict(state.i)
    past: dict[str, dict[int, Floats]] = {n: dict(state.past.get(n, {})) for n in (*graph.inputs, *graph.neurons)}
    recorded: dict[str, list[Floats]] = {name: [] for name in (*graph.outputs, *graph.neurons)}
    membranes: dict[str, list[Floats]] = {
        name: []
        for name in graph.neurons
        if graph.nodes[name].has_membrane and (name in potentials or not graph.nodes[name].is_spiking)
    }
    reach = graph.max_delay() + 1

    for t in tqdm(range(state.step, state.step + steps), "reference", unit="step", leave=False, delay=2):
        for name in graph.inputs:
            past[name][t] = np.asarray(inputs[name][:, t - state.step], np.float64)
        for name in graph.neurons:
            node = graph.nodes[name]
            current = read(graph, past, t, batch)(name)
            zero = np.zeros((batch, *node.shape))
            output, v_after, i_after = advance(node, current, v.get(name, zero), i.get(name, zero), graph.dt)
            v[name], i[name] = v_after, i_after
            past[name][t] = output
            recorded[name].append(output)
            if name in membranes:
                membranes[name].append(v_after)
        for name in graph.outputs:
            recorded[name].append(read(graph, past, t, batch)(name))
        for values in past.values():
            values.pop(t - reach, None)

    def stack(rows: list[Floats], name: str) -> Floats:
        return np.stack(rows, axis=1) if rows else np.zeros((batch, 0, *graph.nodes[name].shape))

    record = Record(
        outputs={name: stack(recorded[name], name) for name in graph.outputs},
        spikes={name: stack(recorded[name], name) > 0 for name in graph.spiking},
        potentials={name: stack(rows, name) for name, rows in membranes.items()},
    )
    return record, replace(state, step=state.step + steps, v=v, i=i, past=past)


def check_state(state: State, graph: Graph, batch: int) -> None:
    """Check that a state is one of this graph, for so many samples.

    Raises:
        ArgumentError: it is not.
    """
    for name, values in (*state.v.items(), *state.i.items()):
        expected = (batch, *graph.nodes[name].shape) if name in graph.nodes else None
        if np.shape(values) != expected:
            raise ArgumentError(
                f"the state has '{name}' of shape {np.shape(values)}, the run {expected or 'no such neuron'}; give the "
                "one that a run of this graph with as many samples ended with"
            )


def read(graph: Graph, past: Mapping[str, Mapping[int, Floats]], now: int, batch: int) -> Callable[[str], Floats]:
    """What a node gets in step ``now``: a function from its name to the sum over its sources.

    Neurons that have not been updated in this step yet stand with their output of the step before.
    """
    known: dict[tuple[str, int], Floats] = {}

    def output(name: str, t: int) -> Floats:
        """Output of a node in step t <= now; zero before step 0."""
        if (name, t) not in known:
            node = graph.nodes[name]
            if t < 0:
                known[name, t] = np.zeros((batch, *node.shape))
            elif name in past:
                newest = t if t in past[name] else t - 1
                known[name, t] = past[name].get(newest, np.zeros((batch, *node.shape)))
            elif node.kind == "Delay":
                delay = node.parameters["delay"]
                known[name, t] = np.zeros((batch, *node.shape))
                for steps in np.unique(delay):
                    known[name, t] += np.where(delay == steps, total(name, t - int(steps)), 0.0)
            else:
                known[name, t] = apply(node, total(name, t))
        return known[name, t]

    def total(name: str, t: int) -> Floats:
        if t < 0:
            return np.zeros((batch, *graph.nodes[name].shape_in))
        return np.sum([output(source, t) for source in graph.sources[name]], axis=0)

    return lambda name: total(name, now)


def advance(node: Node, current: Floats, v: Floats, i: Floats, dt: float) -> tuple[Floats, Floats, Floats]:
    """One step of neurons: forward Euler, strict threshold, reset in the step of the spike.

    LIF, LI:          w = v + (dt / tau)(v_leak - v + r current)
    IF, I:            w = v + r current; the platforms' practice, where the literal equation has r current dt
    CubaLIF, CubaLI:  i' = i + (dt / tau_syn)(w_in current - i);  w = v + (dt / tau_mem)(v_leak - v + r i')
    Threshold:        s = 1 if current > threshold else 0
    IF, LIF, CubaLIF: s = 1 if w > v_threshold else 0; where s, v' = v_reset, or w - v_threshold by subtraction
    I, LI, CubaLI:    v' = w, and w is the output

    Args:
        node: The neurons.
        current: What they get, shape (B, *shape).
        v: Membrane potential.
        i: Synaptic current.
        dt: Seconds.

    Returns:
        Output, v' and i'.
    """
    p = node.parameters
    if node.kind == "Threshold":
        return (current > p["threshold"]).astype(np.float64), v, i
    if node.kind in ("I", "IF"):
        w = v + p["r"] * current
    elif node.kind in ("LI", "LIF"):
        w = v + (dt / p["tau"]) * (p["v_leak"] - v + p["r"] * current)
    else:
        i = i + (dt / p["tau_syn"]) * (p["w_in"] * current - i)
        w = v + (dt / p["tau_mem"]) * (p["v_leak"] - v + p["r"] * i)
    if not node.is_spiking:
        return w, w, i
    spikes = w > p["v_threshold"]
    after = w - p["v_threshold"] if node.reset == RESET_BY_SUBTRACTION else p["v_reset"]
    return spikes.astype(np.float64), np.where(spikes, after, w), i


def apply(node: Node, x: Floats) -> Floats:
    """A linear node's map, shape (B, *shape_in) -> (B, *shape).

    Affine: y = W x + b;  Linear: y = W x;  Scale: y = s x;  Flatten, Input, Output: y = x
    Conv1d, Conv2d: cross-correlation + b;  SumPool2d: sum over the window;  AvgPool2d: that / (kh kw)
    """
    p = node.parameters
    if node.kind in ("Affine", "Linear"):
        return np.einsum("...nm,b...m->b...n", p["weight"], x) + p.get("bias", 0.0)
    if node.kind == "Scale":
        return p["scale"] * x
    if node.kind in ("Conv1d", "Conv2d"):
        return slide(node, x, lambda patch, group: np.einsum("bcij,ocij->bo", patch, group), p["weight"])
    if node.kind in ("SumPool2d", "AvgPool2d"):
        return slide(
            node, x, lambda patch, _: patch.mean(axis=(2, 3)) if node.kind[0] == "A" else patch.sum(axis=(2, 3))
        )
    return x.reshape(-1, *node.shape)


def slide(node: Node, x: Floats, window: Callable[[Floats, Any], Floats], weight: Floats | None = None) -> Floats:
    """Slide a window over the last two axes (Conv1d: over the last), one position after the other."""
    p = node.parameters
    x = x if x.ndim == 4 else x[:, :, None]
    x = np.pad(x, ((0, 0), (0, 0), *p["padding"]))
    out = np.zeros((len(x), *(node.shape if len(node.shape) == 3 else (node.shape[0], 1, node.shape[1]))))
    kernel = p["kernel_size"] if weight is None else weight.shape[2:]
    (sy, sx), (dy, dx), groups = p["stride"], p["dilation"], p.get("groups", 1)
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            patch = x[:, :, row * sy :: dy, column * sx :: dx][:, :, : kernel[0], : kernel[1]]
            if weight is None:
                out[:, :, row, column] = window(patch, None)
                continue
            parts = zip(np.split(patch, groups, axis=1), np.split(weight, groups), strict=True)
            out[:, :, row, column] = np.concatenate([window(*part) for part in parts], axis=1) + p["bias"]
    return out.reshape(len(x), *node.shape)
