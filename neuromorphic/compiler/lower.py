"""Fold NIR graphs into networks of populations, whose parameters are those that neuromorphic chips have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from neuromorphic.arguments import check_type
from neuromorphic.compiler.linear import bias_of, matrix_of
from neuromorphic.compiler.network import GRADED, LIF, SUBTRACT, SUM, Levels, Network, Population, Projection
from neuromorphic.compiler.operators import Operator, add, block_diagonal, compose, scale_rows
from neuromorphic.compiler.quantize import DECAY_UNITY, decay_registers
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph import RESET_BY_SUBTRACTION, Floats, Graph, Node
from neuromorphic.graph.model import TIME_CONSTANTS


@dataclass(frozen=True)
class Signal:
    """The input of a node in step t: the sum over (source, d) of operator source[t - d], plus biases.

    Attributes:
        terms: Operators by source (a neuron node or an input) and delay d in steps; None is the identity.
        bias: By d, the bias that is added from step d on, shape (size,).
    """

    terms: Mapping[tuple[str, int], Operator | None]
    bias: Mapping[int, Floats]


def lower(graph: Graph, check: bool = True, horizon: int | None = None) -> Network:
    """Fold a graph: linear nodes and delays into synapses, parameters of neurons into weights and biases.

    Args:
        graph: The graph.
        check: Refuse nodes that populations cannot represent exactly. Without the check, only the connections of the
            network are meaningful.
        horizon: For fixed point, a number of steps T. Decays are rounded to the 12 bits of Loihi's registers. Weights
            and biases are scaled so that a constant input leads to the exact potential after T steps.

    Returns:
        The network, in float64.

    Raises:
        ArgumentError: the argument is not a flat graph.
        UnsupportedGraphError: populations cannot represent a node exactly; the message names it.
    """
    check_type("the graph", graph, Graph, "give a neuromorphic.graph.Graph: flatten(nir_graph)")
    signals: dict[str, Signal] = {name: Signal({(name, 0): None}, {}) for name in (*graph.inputs, *graph.neurons)}
    for name in graph.linear:
        signals[name] = propagate(graph.nodes[name], gather(graph, name, signals))
    populations: list[Population] = []
    projections: list[Projection] = []
    together = {name: component for component in graph.components for name in component}
    for name in graph.neurons:
        signal = gather(graph, name, signals)
        terms: dict[tuple[str, int], Operator | None] = {}
        for (source, delay), operator in signal.terms.items():
            # Neurons that are updated together read each other, and themselves, as they were in the step before.
            key = source, 1 if source in together[name] and delay == 0 else delay
            terms[key] = add(operator, terms[key], graph.nodes[name].size) if key in terms else operator
        if check:
            check_neurons(name, graph.nodes[name], graph.dt)
        population, gain = fold(name, graph.nodes[name], signal.bias, graph.dt, horizon)
        populations.append(population)
        projections += project(name, terms, gain)
    for name in graph.outputs:
        signal = signals[name]
        size = graph.nodes[name].size
        none, still = np.zeros(size), np.ones(size)
        levels = bias_levels(signal.bias, still, [none])
        populations.append(Population(name, SUM, graph.nodes[name].shape, still, still, none, levels, none))
        projections += project(name, signal.terms, still)
    inputs = {name: graph.nodes[name].shape for name in graph.inputs}
    return Network(inputs, tuple(populations), tuple(projections), graph.dt)


def gather(graph: Graph, name: str, signals: Mapping[str, Signal]) -> Signal:
    """The sum over the signals of a node's sources."""
    size = int(np.prod(graph.nodes[name].shape_in, dtype=np.int64))
    terms: dict[tuple[str, int], Operator | None] = {}
    bias: dict[int, Floats] = {}
    for source in graph.sources[name]:
        for key, operator in signals[source].terms.items():
            terms[key] = add(operator, terms[key], size) if key in terms else operator
        for delay, values in signals[source].bias.items():
            bias[delay] = bias[delay] + values if delay in bias else values
    return Signal(terms, bias)


def propagate(node: Node, signal: Signal) -> Signal:
    """A signal after a linear node or a delay."""
    if node.kind == "Delay":
        return delayed(node, signal)
    matrix = matrix_of(node)
    terms, bias = signal.terms, dict(signal.bias)
    if matrix is not None:
        terms = {key: compose(matrix, operator) for key, operator in terms.items()}
        bias = {delay: matrix.dot(values) for delay, values in bias.items()}
    if (own := bias_of(node)) is not None:
        bias[0] = bias[0] + own if 0 in bias else own
    return Signal(terms, bias)


def delayed(node: Node, signal: Signal) -> Signal:
    """A signal after a Delay node, which delays each element by its own number of steps."""
    delays = node.parameters["delay"].reshape(-1).astype(int)
    terms: dict[tuple[str, int], Operator | None] = {}
    bias: dict[int, Floats] = {}
    for steps in np.unique(delays).tolist():
        chosen = (delays == steps).astype(float)
        keep = None if chosen.all() else sparse.diags(chosen, format="csr")
        for (source, delay), operator in signal.terms.items():
            term = operator if keep is None else compose(keep, operator)
            key = source, delay + steps
            terms[key] = add(term, terms[key], node.size) if key in terms else term
        for delay, values in signal.bias.items():
            bias[delay + steps] = bias.get(delay + steps, 0.0) + chosen * values
    return Signal(terms, bias)


def project(target: str, terms: Mapping[tuple[str, int], Operator | None], gain: Floats) -> list[Projection]:
    """Projections into one population, the weights of its neurons times their gains."""
    taps: dict[str, dict[int, Operator | None]] = {}
    for (source, delay), operator in terms.items():
        taps.setdefault(source, {})[delay] = operator
    unity = bool((gain == 1.0).all())
    return [
        Projection(
            source,
            target,
            {delay: scale_rows(operator, gain) for delay, operator in sorted(own.items())},
            identity=unity and own.keys() == {0} and own[0] is None,
        )
        for source, own in taps.items()
    ]


def check_neurons(name: str, node: Node, dt: float) -> None:
    """Check that a population can represent a node's neurons.

    Raises:
        UnsupportedGraphError: a time constant is below dt, or a threshold is below the rest. Such neurons would fire
            while they wait for their first step.
    """
    p = node.parameters
    for key in TIME_CONSTANTS:
        if key in p and not (p[key] >= dt).all():
            raise UnsupportedGraphError(f"node '{name}': {key} must be at least dt = {dt}, got {p[key].min()}")
    if "v_threshold" in p:
        subtract = node.reset == RESET_BY_SUBTRACTION
        if (p["v_threshold"] < (0.0 if subtract else p["v_reset"])).any():
            raise UnsupportedGraphError(
                f"node '{name}': v_threshold must not be below {'0' if subtract else 'v_reset'}"
            )


def fold(
    name: str, node: Node, bias: Mapping[int, Floats], dt: float, horizon: int | None = None
) -> tuple[Population, Floats]:
    """Make a population of a neuron node; also return the gain of the weights and biases into it, shape (M,).

    With offset v_0 = v_reset (reset to v_reset), 0 (by subtraction, graded) or min(threshold, 0) (Threshold):

    dv = dt / tau, 0 for I and IF, 1 for Threshold;  du = dt / tau_syn, 1 where there is no synaptic current
    gain = dv r, r for I and IF, du w_in dv r for CubaLI and CubaLIF, 1 for Threshold;  threshold = v_threshold - v_0

    The membrane gets dv (v_leak - v_0) in every step, and -(1 - dv) v_0 in step 0. The second term is needed because
    NIR starts at v_nir = 0, while populations start at v = 0, where they can wait without leaking. Both terms are part
    of the bias of a, and so pass through u: a value x that is to reach the membrane once is added as x, and as
    -(1 - du) x in the next step.

    With a ``horizon`` of T steps, du and dv are rounded to 12 bits (:func:`~.quantize.decay_registers`). As factors of
    the gain, the exact du and dv are kept, times S(d) / S(rounded d). S(d) = (1 - (1 - d)^T) / d is the response to a
    constant input of 1 after T steps.
    """
    p = {key: values.reshape(-1) for key, values in node.parameters.items()}
    one, zero = np.ones(node.size), np.zeros(node.size)
    tau_mem, tau_syn = p.get("tau", p.get("tau_mem")), p.get("tau_syn")
    threshold, rest = p.get("v_threshold", zero), zero
    if node.kind == "Threshold":
        kind, du, dv, gain = LIF, one, one, one
        threshold, rest = p["threshold"], np.minimum(p["threshold"], 0.0)
        leak = -rest
    else:
        dv = zero if tau_mem is None else dt / tau_mem
        du = one if tau_syn is None else dt / tau_syn
        gain_u, gain_v = du, dv
        if horizon is not None:
            exact = du, dv
            du, dv = (register / DECAY_UNITY for register in decay_registers(du, dv))
            gain_u, gain_v = (gain_for(d, ours, horizon) for d, ours in zip(exact, (du, dv), strict=True))
        gain = p["r"] if tau_mem is None else gain_v * p["r"]
        if tau_syn is not None:
            gain = gain_u * p["w_in"] * gain
        kind = GRADED if not node.is_spiking else SUBTRACT if node.reset == RESET_BY_SUBTRACTION else LIF
        rest = p["v_reset"] if kind == LIF else zero
        leak = gain_v * (p.get("v_leak", rest) - rest)
    start = -(1 - dv) * rest if node.kind != "Threshold" else zero
    levels = bias_levels(bias, gain, [leak + start, du * leak - (1 - du) * start, du * leak])
    return Population(name, kind, node.shape, du, dv, threshold - rest, levels, rest), gain


def gain_for(decay: Floats, register: Floats, horizon: int) -> Floats:
    """The gain of a leaky sum whose decay was rounded to ``register``, see :func:`fold`; shape (M,)."""

    def constant(d: Floats) -> Floats:
        """S(d)."""
        return np.divide(1 - (1 - d) ** horizon, d, out=np.full(len(d), float(horizon)), where=d > 0)

    return np.where(decay == register, decay, decay * constant(decay) / constant(register))


def bias_levels(bias: Mapping[int, Floats], gain: Floats, own: Sequence[Floats]) -> Levels:
    """The bias of a population.

    Args:
        bias: Biases of its input, as in :class:`Signal`.
        gain: Their factor, shape (M,).
        own: The population's own bias in steps 0, 1, ...; the last one holds for all later steps.
    """
    starts = sorted({*range(len(own)), *bias})
    values: list[Floats] = []
    kept: list[int] = []
    for t in starts:
        level = own[min(t, len(own) - 1)] + sum((gain * b for delay, b in bias.items() if delay <= t), np.zeros(1))
        if np.any(level) if not values else not np.array_equal(level, values[-1]):
            values.append(level)
            kept.append(t)
    return Levels(tuple(kept), np.stack(values) if values else np.zeros((0, len(gain))))


def pack(networks: Sequence[Network]) -> Network:
    """Put networks side by side as one: populations with the same name become one, weights block-diagonal.

    For the same network several times see :func:`~neuromorphic.compiler.network.repeat`, which copies no weights.

    Raises:
        UnsupportedGraphError: the networks differ in their populations or in what connects them.
    """
    first = networks[0]
    layout = ([(p.name, p.kind) for p in first.populations], [connection(p) for p in first.projections])
    for other in networks[1:]:
        if layout != ([(p.name, p.kind) for p in other.populations], [connection(p) for p in other.projections]):
            raise UnsupportedGraphError("networks packed into one run need the same populations and connections")
    populations = tuple(
        side_by_side([network.populations[k] for network in networks]) for k in range(len(first.populations))
    )
    projections = []
    for k, projection in enumerate(first.projections):
        taps = {
            delay: block_diagonal([network.projections[k].taps[delay] for network in networks])
            for delay in projection.taps
        }
        projections.append(replace(projection, taps=taps))
    inputs = {name: (sum(network.size(name) for network in networks),) for name in first.inputs}
    return Network(inputs, populations, tuple(projections), first.dt)


def unite(networks: Mapping[str, Network]) -> Network:
    """Put any networks side by side as one, without connections between them. Names become ``KEY/NAME``."""
    first = next(iter(networks.values()))
    return Network(
        {f"{key}/{name}": shape for key, network in networks.items() for name, shape in network.inputs.items()},
        tuple(replace(p, name=f"{key}/{p.name}") for key, network in networks.items() for p in network.populations),
        tuple(
            replace(p, source=f"{key}/{p.source}", target=f"{key}/{p.target}")
            for key, network in networks.items()
            for p in network.projections
        ),
        first.dt,
    )


def connection(projection: Projection) -> tuple[str, str, tuple[int, ...], bool]:
    """Everything about a projection but its weights: source, target, delays, and whether it is the identity."""
    return projection.source, projection.target, tuple(projection.taps), projection.identity


def side_by_side(parts: Sequence[Population]) -> Population:
    """Join populations into one, with their neurons one after the other."""
    starts = sorted({t for part in parts for t in part.bias.start})
    levels = Levels(
        tuple(starts),
        np.stack([np.concatenate([part.bias.at(t) for part in parts]) for t in starts])
        if starts
        else np.zeros((0, sum(part.size for part in parts))),
    )
    arrays = {
        key: np.concatenate([getattr(part, key) for part in parts]) for key in ("du", "dv", "threshold", "offset")
    }
    return Population(parts[0].name, parts[0].kind, (len(arrays["du"]),), bias=levels, **arrays)
