"""NIR's semantics in NumPy, slow and obvious: the reference that every back end is compared with."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tqdm import tqdm

from neuromorphic.arguments import check_type
from neuromorphic.errors import ArgumentError
from neuromorphic.execution.machine import Arrays, Machine, of_kind
from neuromorphic.execution.record import Record, check_inputs
from neuromorphic.graph import RESET_BY_SUBTRACTION, Floats, Graph, Node

Map = Callable[[Floats], Floats]


@dataclass(frozen=True)
class State:
    """The state of a run after its last step. A node that a field leaves out starts at zero.

    Attributes:
        step: Number of steps done.
        v: Membrane potential by node, for neurons that have one, shape (B, *shape).
        i: Synaptic current by node, for CubaLI and CubaLIF, shape (B, *shape).
        sent: Last output by neuron node, shape (B, *shape).
        past: Inputs of Delay nodes in earlier steps, as far back as delays reach, by node and step, shape (B, *shape).
    """

    step: int = 0
    v: Mapping[str, Floats] = field(default_factory=dict)
    i: Mapping[str, Floats] = field(default_factory=dict)
    sent: Mapping[str, Floats] = field(default_factory=dict)
    past: Mapping[str, Mapping[int, Floats]] = field(default_factory=dict)


def simulate(graph: Graph, inputs: Mapping[str, NDArray], potentials: Collection[str] = ()) -> Record:
    """Run a graph from rest; see :func:`simulate_from`."""
    return simulate_from(State(), graph, inputs, potentials)[0]


def simulate_from(
    state: State,
    graph: Graph,
    inputs: Mapping[str, NDArray],
    potentials: Collection[str] = (),
    maps: Mapping[str, Map] | None = None,
) -> tuple[Record, State]:
    """Continue a run of a graph from a state, node by node and step by step, in float64.

    :class:`~neuromorphic.graph.Graph` defines loops, :func:`advance` has the equations of neurons, :func:`linear_map`
    those of linear nodes, and :func:`add` the sum over sources. Sums have a fixed order, so the record does not depend
    on the batch, on threads or on a BLAS.

    Args:
        state: The state to start from; ``State()`` is rest. It is not changed.
        graph: The graph.
        inputs: By Input node, shape (B, T, *shape).
        potentials: Names of the spiking nodes whose membrane potentials are recorded too.
        maps: The result of :func:`linear_maps` for this graph, if it was computed before.

    Returns:
        The record of these T steps, and the state after them.

    Raises:
        ArgumentError, UnsupportedGraphError: see :func:`neuromorphic.execution.record.check_inputs`.
    """
    check_type("the state", state, State, "give the one that a run ended with, or State()")
    batch, steps = check_inputs(graph, inputs, potentials)
    check_state(state, graph, batch)

    def zeros(name: str) -> Floats:
        return np.zeros((batch, *graph.nodes[name].shape))

    v, i, sent = ({n: of.get(n, zeros(n)) for n in graph.neurons} for of in (state.v, state.i, state.sent))
    delays = {name: graph.nodes[name].parameters["delay"] for name in graph.linear if graph.nodes[name].kind == "Delay"}
    past = {name: dict(state.past.get(name, {})) for name in delays}
    maps = linear_maps(graph) if maps is None else maps
    recorded: dict[str, list[Floats]] = {name: [] for name in (*graph.outputs, *graph.neurons)}
    membranes: dict[str, list[Floats]] = {
        name: []
        for name in graph.neurons
        if graph.nodes[name].has_membrane and (name in potentials or not graph.nodes[name].is_spiking)
    }
    ways = [(names, graph.within_a_step(names), graph.late(names)) for names in graph.components]
    last = graph.within_a_step((*graph.outputs, *delays))

    def evaluate(name: str, known: Mapping[str, Floats], t: int) -> Floats:
        """Output of a linear node in step t, given the outputs of its sources."""
        if name in maps:
            return maps[name](total(name, known))
        out = zeros(name)
        for steps in np.unique(delays[name]).astype(int).tolist():
            got = total(name, known) if steps == 0 else past[name].get(t - steps, out)
            out = np.where(delays[name] == steps, got, out)
        return out

    def total(name: str, known: Mapping[str, Floats]) -> Floats:
        return add([known[source] for source in graph.sources[name]])

    for t in tqdm(range(state.step, state.step + steps), "run in NumPy", unit=" steps", leave=False, delay=2):
        # now: outputs of this step; before: older outputs of the component that is updated next, and what follows.
        now = {name: np.asarray(inputs[name][:, t - state.step], np.float64) for name in graph.inputs}
        for component, way, late in ways:
            before = {name: sent[name] for name in component}
            known = ChainMap(before, now)
            for name in way:
                if name in late:
                    before[name] = evaluate(name, known, t)
                elif name not in now:
                    now[name] = evaluate(name, known, t)
            for name in component:
                output, v[name], i[name] = advance(graph.nodes[name], total(name, known), v[name], i[name], graph.dt)
                now[name] = sent[name] = output
                recorded[name].append(output)
                if name in membranes:
                    membranes[name].append(v[name])
        for name in last:
            if name not in now:
                now[name] = evaluate(name, now, t)
        for name, delay in delays.items():
            past[name][t] = total(name, now)
            past[name].pop(t - int(delay.max(initial=0)), None)
        for name in graph.outputs:
            recorded[name].append(total(name, now))

    def stack(rows: list[Floats], name: str) -> Floats:
        return np.stack(rows, axis=1) if rows else np.zeros((batch, 0, *graph.nodes[name].shape))

    record = Record(
        outputs={name: stack(recorded[name], name) for name in graph.outputs},
        spikes={name: stack(recorded[name], name) > 0 for name in graph.spiking},
        potentials={name: stack(rows, name) for name, rows in membranes.items()},
    )
    return record, State(state.step + steps, v, i, sent, past)


def rest(graph: Graph, batch: int) -> Arrays:
    """The state before step 0, as arrays by name.

    step: number of steps that are done
    v/NODE, i/NODE, sent/NODE: as in :class:`State`, shape (B, *shape)
    past/NODE: inputs of a Delay node in the last D steps, the newest last, shape (B, D, *shape)
    """

    def zeros(name: str, *lead: int) -> Floats:
        return np.zeros((batch, *lead, *graph.nodes[name].shape))

    delays = {name: graph.nodes[name].parameters["delay"] for name in graph.linear if graph.nodes[name].kind == "Delay"}
    return (
        {"step": np.array(0)}
        | {f"v/{name}": zeros(name) for name in graph.neurons if graph.nodes[name].has_membrane}
        | {f"i/{name}": zeros(name) for name in graph.neurons if "tau_syn" in graph.nodes[name].parameters}
        | {f"sent/{name}": zeros(name) for name in graph.neurons}
        | {f"past/{name}": zeros(name, int(delay.max(initial=0))) for name, delay in delays.items()}
    )


def as_state(arrays: Mapping[str, NDArray]) -> State:
    """Make a :class:`State` of arrays that are named as in :func:`rest`."""
    step = int(arrays["step"])
    past = {
        name: {step - rows.shape[1] + k: row for k, row in enumerate(rows.swapaxes(0, 1))}
        for name, rows in of_kind(arrays, "past").items()
    }
    return State(step, of_kind(arrays, "v"), of_kind(arrays, "i"), of_kind(arrays, "sent"), past)


def as_arrays(state: State, start: Mapping[str, NDArray]) -> Arrays:
    """Make arrays of a state, with the names and shapes of ``start``."""
    out = {"step": np.array(state.step)}
    for key, zeros in start.items():
        kind, _, name = key.partition("/")
        if kind == "past":
            depth = zeros.shape[1]
            rows = [state.past.get(name, {}).get(state.step - depth + k, zeros[:, 0]) for k in range(depth)]
            out[key] = np.stack(rows, axis=1) if rows else zeros
        elif kind != "step":
            out[key] = getattr(state, kind).get(name, zeros)
    return out


class ReferenceMachine(Machine):
    """A session's machine with NIR's semantics, in float64.

    Args:
        graph: The graph.
        batch: Number of samples B.
        potentials: Names of the spiking nodes whose membrane potentials are recorded too.
    """

    def __init__(self, graph: Graph, batch: int, potentials: Collection[str] = ()) -> None:
        self.graph, self.potentials, self.maps = graph, potentials, linear_maps(graph)
        self.start = rest(graph, batch)
        self._state = State()

    def run(self, inputs: Mapping[str, NDArray]) -> Record:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        with np.errstate(over="ignore", invalid="ignore"):  # The session reports it, with the node's name.
            record, self._state = simulate_from(self._state, self.graph, inputs, self.potentials, self.maps)
        return record

    def state(self) -> Arrays:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        return as_arrays(self._state, self.start)

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        self._state = as_state(state)


def check_state(state: State, graph: Graph, batch: int) -> None:
    """Check that a state fits a graph and a batch.

    Raises:
        ArgumentError: a node of the state is unknown, or its array has another shape.
    """
    for name, values in (*state.v.items(), *state.i.items(), *state.sent.items()):
        expected = (batch, *graph.nodes[name].shape) if name in graph.nodes else None
        if np.shape(values) != expected:
            raise ArgumentError(
                f"the state has '{name}' of shape {np.shape(values)}, the run {expected or 'no such neuron'}; give the "
                "one that a run of this graph with as many samples ended with"
            )


def add(terms: Sequence[Floats]) -> Floats:
    """The sum over a node's sources. For each element the terms are added in ascending order.

    So the result does not depend on the order of edges or on names, to the last bit.
    """
    if len(terms) > 2:
        terms = list(np.sort(np.stack(terms), axis=0))
    return reduce(np.add, terms)


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
        current: Their input, shape (B, *shape).
        v: Membrane potential, shape (B, *shape).
        i: Synaptic current, shape (B, *shape).
        dt: Seconds.

    Returns:
        Output, v' and i', shape (B, *shape) each. Spikes are 0.0 or 1.0.
    """
    w, i = charge(node, current, v, i, dt)
    if not node.is_spiking:
        return w, w, i
    spikes = w > node.threshold
    if not node.has_membrane:
        return spikes.astype(np.float64), v, i
    p = node.parameters
    after = w - p["v_threshold"] if node.reset == RESET_BY_SUBTRACTION else p["v_reset"]
    return spikes.astype(np.float64), np.where(spikes, after, w), i


def charge(node: Node, current: Floats, v: Floats, i: Floats, dt: float) -> tuple[Floats, Floats]:
    """The first half of :func:`advance`: w, the potential before the reset, and i'. For a Threshold, w is its input."""
    p = node.parameters
    if node.kind == "Threshold":
        return current, i
    if node.kind in ("I", "IF"):
        return v + p["r"] * current, i
    if node.kind in ("LI", "LIF"):
        return v + (dt / p["tau"]) * (p["v_leak"] - v + p["r"] * current), i
    i = i + (dt / p["tau_syn"]) * (p["w_in"] * current - i)
    return v + (dt / p["tau_mem"]) * (p["v_leak"] - v + p["r"] * i), i


def linear_maps(graph: Graph) -> dict[str, Map]:
    """The maps of all linear nodes but Delay."""
    return {name: linear_map(graph.nodes[name]) for name in graph.linear if graph.nodes[name].kind != "Delay"}


def linear_map(node: Node) -> Map:
    """A linear node's map, shape (B, *shape_in) -> (B, *shape).

    Affine: y = W x + b;  Linear: y = W x;  Scale: y = s x;  Flatten, Input, Output: y = x
    Conv1d, Conv2d: cross-correlation + b;  SumPool2d: sum over the window;  AvgPool2d: that / (kh kw)

    Sums start from 0 and add terms by ascending index of the flattened input. The bias is added last, and a mean is
    divided last. The tests compare the maps with ``numpy.einsum``, whose order of additions is not fixed.
    """
    p = node.parameters
    if node.kind in ("Affine", "Linear"):
        *lead, rows, columns = p["weight"].shape
        # SciPy's product by columns adds in this order, for each sample of a batch.
        blocks = [sparse.csc_matrix(block) for block in p["weight"].reshape(int(np.prod(lead)), rows, columns)]
        matrix = blocks[0] if len(blocks) == 1 else sparse.block_diag(blocks, format="csc")
        bias = p.get("bias")

        def affine(x: Floats) -> Floats:
            y = (matrix @ x.reshape(len(x), matrix.shape[1]).T).T.reshape(len(x), *node.shape)
            return y if bias is None else y + bias

        return affine
    if node.kind == "Scale":
        return lambda x: p["scale"] * x
    if node.kind in ("Conv1d", "Conv2d"):
        bias = p["bias"].reshape(-1, *(1,) * (len(node.shape) - 1))
        return lambda x: slide(node, x, p["weight"]) + bias
    if node.kind == "SumPool2d":
        return lambda x: slide(node, x)
    if node.kind == "AvgPool2d":
        return lambda x: slide(node, x) / np.prod(p["kernel_size"])
    return lambda x: x.reshape(len(x), *node.shape)


def slide(node: Node, x: Floats, weight: Floats | None = None) -> Floats:
    """Sums over a window that slides over the last two axes (Conv1d: over the last), all positions at once.

    A window's elements are added by channel, row and column, which is the order of the flat input. Padding is 0.

    Args:
        node: A convolution or pooling node.
        x: Shape (B, *shape_in).
        weight: Shape (C_out, C_in / groups, ky, kx). None, for pooling: ones, with a group for each channel.

    Returns:
        Shape (B, *shape).
    """
    p = node.parameters
    x = np.pad(x if x.ndim == 4 else x[:, :, None], ((0, 0), (0, 0), *p["padding"]))
    rows, columns = (1, *node.shape[1:])[-2:]
    if weight is None:
        weight = np.ones((node.shape[0], 1, *p["kernel_size"]))
    groups = x.shape[1] // weight.shape[1]
    x = x.reshape(len(x), groups, 1, weight.shape[1], *x.shape[2:])
    weight = weight.reshape(groups, -1, *weight.shape[1:])
    (sy, sx), (dy, dx) = p["stride"], p["dilation"]
    out = np.zeros((len(x), groups, weight.shape[1], rows, columns))
    for channel, ky, kx in np.ndindex(*weight.shape[2:]):
        y0, x0 = ky * dy, kx * dx
        window = x[:, :, :, channel, y0 : y0 + sy * (rows - 1) + 1 : sy, x0 : x0 + sx * (columns - 1) + 1 : sx]
        out += weight[:, :, channel, ky, kx, None, None] * window
    return out.reshape(len(x), *node.shape)
