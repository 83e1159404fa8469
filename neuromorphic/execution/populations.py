"""Run folded networks in NumPy, in float64 or in Loihi's integers.

Results are those of Lava's processes. The latency of synapses on hardware is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neuromorphic.compiler.network import GRADED, LIF, SUM, Network, Population, repeat
from neuromorphic.compiler.operators import largest_of, prepared
from neuromorphic.compiler.quantize import (
    ACCUMULATOR_LIMIT,
    ALIGNMENT,
    DECAY_UNITY,
    STATE_LIMIT,
    FixedNetwork,
    FixedPopulation,
    FixedProjection,
    Ranges,
    bias_sent,
)
from neuromorphic.execution.machine import Arrays, of_kind


@dataclass
class Overflow:
    """Number of values that left the range of their register, over neurons and steps.

    Attributes:
        accumulated: Synaptic sums beyond 32 bits. A simulator with 32-bit sums gives other results there.
        wrapped: Currents that wrapped around.
        saturated: Potentials that were clipped to their limit.
    """

    accumulated: int = 0
    wrapped: int = 0
    saturated: int = 0

    @property
    def any(self) -> bool:
        """Whether any value left its range."""
        return bool(self.accumulated or self.wrapped or self.saturated)


@dataclass(frozen=True)
class PopulationRun:
    """The result of a run. In a batched run every array has a leading axis of samples, (B, T, M).

    Attributes:
        sent: Messages of every population, shape (T, M): spikes as bool, graded values and outputs as float64, or as
            int64 in fixed point.
        potentials: Membrane potentials after each step, of the populations that were asked for, shape (T, M), in NIR's
            units.
        peaks: Potentials of the same populations before the reset, shape (T, M), in units of the network's potential,
            or of the register in fixed point.
        ranges: Largest values over all samples, in fixed point in units of messages and registers.
        overflow: By population, summed over the samples. Empty for a float network.
    """

    sent: dict[str, NDArray]
    potentials: dict[str, NDArray[np.float64]]
    peaks: dict[str, NDArray[np.float64]]
    ranges: Ranges
    overflow: dict[str, Overflow] = field(default_factory=dict)


def run(
    network: Network,
    inputs: Mapping[str, NDArray],
    potentials: Collection[str] = (),
    batched: bool = False,
    watch: bool = True,
) -> PopulationRun:
    """Run a network from rest; :func:`run_from` has the equations.

    Args:
        network: Float or fixed.
        inputs: By name, shape (T, *shape), or (B, T, *shape) with ``batched``.
        potentials: Names of the populations whose potentials are recorded.
        batched: Whether the inputs have an axis of samples.
        watch: Not used, as ranges and overflows are always watched here. :func:`neuromorphic.c.library.run` has it.
    """
    batch, x = flat_inputs(inputs, batched)
    return run_from(start(network, batch or 1), Synapses(network, batch or 1), x, potentials, batch)[0]


def ranges_of(
    network: Network,
    x: Mapping[str, NDArray],
    sent: Mapping[str, NDArray],
    current: dict[str, float],
    potential: dict[str, float],
    steps: int,
) -> Ranges:
    """The largest values of a run, from which fixed-point scales are chosen.

    Args:
        network: Float or fixed.
        x: Inputs by name, any shape, before they become messages.
        sent: Messages of the populations by name, any shape.
        current: Largest magnitude of each population's current.
        potential: Largest magnitude of each population's potential before the reset.
        steps: T.
    """
    signals = {**x, **sent}
    observed = {name: largest_of(values) for name, values in signals.items()}
    if isinstance(network, FixedNetwork):
        observed |= {name: largest_of(network.messages(name, np.array(observed[name]))) for name in x}
    return Ranges(
        observed,
        current,
        potential,
        unsigned=frozenset(name for name, values in signals.items() if values.min(initial=0) >= 0),
        whole=frozenset(name for name, values in signals.items() if is_whole(values)),
        steps=steps,
    )


class Synapses:
    """Synapses into each population, for B samples side by side, in the form that multiplies fastest.

    Attributes:
        network: The network, B times side by side.
        into: For each population its projections, each with its operators by delay.
    """

    def __init__(self, network: Network, batch: int) -> None:
        self.network = repeat(network, batch)
        self.into = {
            p.name: [
                # The longest delay first, which is the order in which Lava's synapses add up delayed messages.
                (q, {delay: prepared(operator) for delay, operator in sorted(q.taps.items(), reverse=True)})
                for q in self.network.into(p.name)
            ]
            for p in self.network.populations
        }


def run_from(
    state: Mapping[str, NDArray],
    synapses: Synapses,
    x: Mapping[str, NDArray[np.float64]],
    potentials: Collection[str] = (),
    batch: int | None = None,
) -> tuple[PopulationRun, Arrays]:
    """Continue a run from a state.

    A float network follows the equations of :class:`~neuromorphic.compiler.network.Population`. A fixed-point network
    follows :func:`fixed_step`, bit for bit as Lava's models do. A sample's results do not depend on the batch that it
    is in. Terms of a sum are added in a fixed order: the bias, then each projection; within a projection, the longest
    delay comes first.

    Args:
        state: The state to start from, as :func:`start` describes it. It is not changed.
        synapses: Synapses of the network, float or fixed.
        x: Inputs by name, shape (T, n) or (B, T, n). For a fixed network, too, these are values, not yet messages.
        potentials: Names of the populations whose potentials are recorded.
        batch: B, if inputs and results have an axis of samples; else None.

    Returns:
        The run of these T steps, and the state after them.
    """
    network, into = synapses.network, synapses.into
    steps, begin = next(iter(x.values())).shape[-2], int(state["step"])
    fixed = isinstance(network, FixedNetwork)
    dtype = np.int64 if fixed else np.float64
    sent = {p.name: np.zeros((steps, p.size), bool if p.spikes else dtype) for p in network.populations}
    cells: dict[str, Any] = {p.name: () for p in network.populations}
    for name in of_kind(state, "v"):
        cells[name] = tuple(state[f"{key}/{name}"].reshape(-1) for key in "uv")
    # Earlier messages as rows, shape (D, B n): row -k was sent k steps before this run.
    past = {name: rows.swapaxes(0, 1).reshape(rows.shape[1], -1) for name, rows in of_kind(state, "past").items()}
    overflow = {p.name: Overflow() for p in network.populations if fixed}
    traces = {p.name: np.zeros((steps, p.size)) for p in network.populations if p.name in potentials}
    peaks = {name: np.zeros_like(rows) for name, rows in traces.items()}
    current = dict.fromkeys(cells, 0.0)
    potential = dict.fromkeys(cells, 0.0)

    def messages(source: str, t: int) -> NDArray:
        """What a population or input sends in step t of this run, shape (B n,)."""
        if t < 0:
            return past[source][t]
        if source in sent:
            return sent[source][t]
        row = x[source][..., t, :].reshape(-1)
        return network.messages(source, row).astype(dtype) if isinstance(network, FixedNetwork) else row

    for t in tqdm(range(steps), "run in NumPy", unit=" steps", leave=False, delay=2):
        newest = {name: messages(name, t) for name in x}
        for p in network.populations:
            a: Any = bias_at(p, begin + t)
            for projection, taps in into[p.name]:
                arrived: Any = None
                for delay, operator in taps.items():
                    if begin + t < delay:
                        continue
                    source = projection.source
                    row = newest[source] if delay == 0 and source in newest else messages(source, t - delay)
                    total: Any = operator.dot(row).astype(dtype, copy=False)
                    if isinstance(projection, FixedProjection):
                        if largest_of(total) > ACCUMULATOR_LIMIT:
                            overflow[p.name].accumulated += int((np.abs(total) > ACCUMULATOR_LIMIT).sum())
                        total = projection.scaled(total)
                    arrived = total if arrived is None else arrived + total
                a = a if arrived is None else a + arrived
            if isinstance(p, FixedPopulation):
                message, cells[p.name], w = fixed_step(p, a, cells[p.name], overflow[p.name])
            else:
                message, cells[p.name], w = float_step(p, a, cells[p.name])
            current[p.name] = max(current[p.name], largest_of(cells[p.name][0]))
            potential[p.name] = max(potential[p.name], largest_of(w))
            if p.name in peaks:
                peaks[p.name][t] = w
            sent[p.name][t] = message
            if p.name in traces:
                traces[p.name][t] = potential_of(p, cells[p.name])
    ranges = ranges_of(network, x, sent, current, potential, steps)
    done = PopulationRun(
        {name: by_sample(rows, batch) for name, rows in sent.items()},
        {name: by_sample(rows, batch) for name, rows in traces.items()},
        {name: by_sample(rows, batch) for name, rows in peaks.items()},
        ranges,
        overflow,
    )
    after: Arrays = {"step": np.array(begin + steps)}
    for name in of_kind(state, "v"):
        after |= {
            f"{key}/{name}": values.reshape(batch or 1, -1) for key, values in zip("uv", cells[name], strict=True)
        }
    for name, rows in past.items():
        new = [messages(name, t) for t in range(max(steps - len(rows), 0), steps)]
        rows = np.concatenate([rows[len(new) :], np.stack(new).astype(rows.dtype)]) if len(rows) else rows
        after[f"past/{name}"] = rows.reshape(len(rows), batch or 1, -1).swapaxes(0, 1)
    return done, after


def flat_inputs(inputs: Mapping[str, NDArray], batched: bool) -> tuple[int | None, dict[str, NDArray[np.float64]]]:
    """Flatten inputs.

    Args:
        inputs: By name, shape (T, *shape), or (B, T, *shape) with ``batched``.
        batched: Whether they have an axis of samples.

    Returns:
        B, or None; and the inputs, float64, shape (T, n) or (B, T, n).
    """
    leading = 2 if batched else 1
    arrays = {name: np.asarray(x, np.float64) for name, x in inputs.items()}
    sizes = {name: int(np.prod(x.shape[leading:], dtype=np.int64)) for name, x in arrays.items()}
    flat = {name: x.reshape(*x.shape[:leading], sizes[name]) for name, x in arrays.items()}
    return len(next(iter(flat.values()))) if batched else None, flat


def by_sample(rows: NDArray, batch: int | None) -> NDArray:
    """Split rows of B samples, shape (T, B M), into (B, T, M). With a batch of None they stay as they are."""
    return rows if batch is None else rows.reshape(len(rows), batch, -1).swapaxes(0, 1)


def is_whole(x: NDArray) -> bool:
    """Whether all values are whole numbers."""
    return x.dtype.kind != "f" or bool((x == np.round(x)).all())


def bias_at(p: Population, t: int) -> NDArray:
    """The bias that is added to a in step t, shape (M,)."""
    if isinstance(p, FixedPopulation):
        return bias_sent(p.bias.at(t), t) if p.bias.start else np.zeros(p.size, np.int64)
    return p.bias.at(t) if p.bias.start else np.zeros(p.size)


def rest(p: Population) -> tuple[NDArray, ...]:
    """u and v of a population at rest, shape (M,) each."""
    zero = np.zeros(p.size, np.int64 if isinstance(p, FixedPopulation) else np.float64)
    return zero, zero


def start(network: Network, batch: int) -> Arrays:
    """The state before step 0, as arrays by name.

    step: number of steps that are done
    u/NODE, v/NODE: current and potential of each population with dynamics, shape (B, M)
    past/NODE: messages of the last D steps, the newest last, shape (B, D, M), of each population or input whose
        messages are delayed

    Arrays are int64 for a fixed network, float64 otherwise.
    """
    dtype = np.int64 if isinstance(network, FixedNetwork) else np.float64
    depth: dict[str, int] = {}
    for q in network.projections:
        depth[q.source] = max(depth.get(q.source, 0), *q.taps)
    return (
        {"step": np.array(0)}
        | {
            f"{key}/{p.name}": np.zeros((batch, p.size), dtype)
            for p in network.populations
            if p.kind != SUM
            for key in "uv"
        }
        | {f"past/{name}": np.zeros((batch, d, network.size(name)), dtype) for name, d in depth.items() if d}
    )


def potential_of(p: Population, cell: tuple[NDArray, ...]) -> NDArray[np.float64]:
    """Membrane potential in NIR's units, shape (M,)."""
    if not isinstance(p, FixedPopulation):
        return cell[1] + p.offset
    return cell[1] / 2.0**p.alignment / p.scale + p.offset


def float_step(p: Population, a: NDArray, cell: tuple[NDArray, ...]) -> tuple[NDArray, tuple[NDArray, ...], NDArray]:
    """One step by the equations of :class:`~neuromorphic.compiler.network.Population`.

    Args:
        p: The population.
        a: Sum of bias and synapses, shape (M,).
        cell: u and v before the step, shape (M,) each.

    Returns:
        The message, shape (M,); u and v after the step; and w, the potential before the reset.
    """
    if p.kind == SUM:
        return a, (a, a), a
    u = cell[0] * (1 - p.du) + a
    w = cell[1] * (1 - p.dv) + u
    if p.kind == GRADED:
        return w, (u, w), w
    s = w > p.threshold
    return s, (u, np.where(s, 0.0, w) if p.kind == LIF else w - p.threshold * s), w


def fixed_step(
    p: FixedPopulation, a: NDArray[np.int64], cell: tuple[NDArray, ...], overflow: Overflow
) -> tuple[NDArray, tuple[NDArray, ...], NDArray]:
    """One step in Loihi's integers; arguments and results as of :func:`float_step`, in int64.

    :func:`integrate` gives u' and w from a 2^6, or from a itself for populations that the host computes. Then, by kind,

    lif:       s = w > threshold 2^6;  v' = 0 if s else w
    subtract:  s = w > threshold 2^6;  v' = w - threshold 2^6 s
    graded:    v' = w; the message is v' 2^-message_shift, rounded down
    sum:       the message is a
    """
    if p.kind == SUM:
        return a, (a, a), a
    u, w = integrate(a << p.alignment, cell[0], cell[1], p.du, p.dv, overflow)
    if p.kind == GRADED:
        return w >> p.message_shift, (u, w), w
    threshold = p.threshold.astype(np.int64) << ALIGNMENT
    s = w > threshold
    return s, (u, np.where(s, 0, w) if p.kind == LIF else w - threshold * s), w


def integrate(
    a: NDArray, u: NDArray, v: NDArray, du: NDArray, dv: NDArray, overflow: Overflow
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """u' and w as Loihi's registers hold them, from a sum a in the units of the state.

    u' = u (4096 - du) / 4096 + a, wrapping at +-2^23;  w = v (4096 - dv) / 4096 + u', clipped to +-(2^23 - 1)

    Products are rounded towards 0. ``overflow`` counts the values that wrapped or were clipped. All shapes are (M,).
    """
    wrapped = wrap(decay(u, du) + a, overflow)
    return wrapped, clip(decay(v, dv) + wrapped, overflow)


def wrap(u: NDArray[np.int64], overflow: Overflow) -> NDArray[np.int64]:
    """Wrap currents around at the limits of their registers, and count those that do."""
    if largest_of(u) < STATE_LIMIT:
        return u
    wrapped = np.where(u > STATE_LIMIT, u - 2 * STATE_LIMIT, u)
    wrapped = np.where(wrapped <= -STATE_LIMIT, u + 2 * STATE_LIMIT, wrapped)
    overflow.wrapped += int((wrapped != u).sum())
    return wrapped


def clip(w: NDArray[np.int64], overflow: Overflow) -> NDArray[np.int64]:
    """Clip potentials to the limits of their registers, and count those that are clipped."""
    if largest_of(w) < STATE_LIMIT:
        return w
    clipped = np.clip(w, 1 - STATE_LIMIT, STATE_LIMIT - 1)
    overflow.saturated += int((clipped != w).sum())
    return clipped


def decay(x: NDArray[np.int64], rate: NDArray) -> NDArray[np.int64]:
    """x (4096 - rate) / 4096, rounded towards 0."""
    kept = DECAY_UNITY - rate.astype(np.int64)
    if not kept.any():  # No current lasts longer than its step.
        return np.zeros_like(x)
    product = x * kept
    product += (product >> 63) & (DECAY_UNITY - 1)  # A shift rounds down, so negative products are raised first.
    product >>= DECAY_UNITY.bit_length() - 1
    return product
