"""Folded networks in NumPy: what Lava's processes compute, in float64 or in Loihi's integers, without their latency."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neuromorphic.compiler.network import GRADED, LIF, SUM, Network, Population
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


@dataclass
class Overflow:
    """How often a register's range was left, in neurons and steps.

    Attributes:
        accumulated: Synaptic sums beyond 32 bits; a simulator that has only these gives something else.
        wrapped: Currents that wrapped around.
        saturated: Potentials that stayed at their limit.
    """

    accumulated: int = 0
    wrapped: int = 0
    saturated: int = 0

    @property
    def any(self) -> bool:
        """Whether there was any."""
        return bool(self.accumulated or self.wrapped or self.saturated)


@dataclass(frozen=True)
class PopulationRun:
    """What a run of a network gave.

    Attributes:
        sent: Messages of every population, shape (T, M): spikes, graded values, outputs; integers in fixed point.
        potentials: Of the populations asked for, after each step, shape (T, M), in NIR's units.
        peaks: Likewise before the reset, in the units of the network's potential; of integers in those of the register.
        ranges: What was observed, of integers in the units of messages and registers.
        overflow: By population, in fixed point.
    """

    sent: dict[str, NDArray]
    potentials: dict[str, NDArray[np.float64]]
    peaks: dict[str, NDArray[np.float64]]
    ranges: Ranges
    overflow: dict[str, Overflow] = field(default_factory=dict)


def run(network: Network, inputs: Mapping[str, NDArray], potentials: Collection[str] = ()) -> PopulationRun:
    """Run a network from rest.

    Float networks by the equations of :class:`~neuromorphic.compiler.network.Population`, fixed-point ones by
    :func:`fixed_step`, bit for bit as Lava's models.

    Args:
        network: Float or fixed.
        inputs: By name, shape (T, n); in fixed point the values before they become messages.
        potentials: Populations whose potentials are recorded.
    """
    fixed = isinstance(network, FixedNetwork)
    steps = len(next(iter(inputs.values())))
    sent: dict[str, NDArray] = {}
    for name, x in inputs.items():
        flat = np.asarray(x, np.float64).reshape(steps, -1)
        sent[name] = network.messages(name, flat).astype(np.int64) if isinstance(network, FixedNetwork) else flat
    dtype = np.int64 if fixed else np.float64
    sent |= {p.name: np.zeros((steps, p.size), dtype) for p in network.populations}
    cells: dict[str, Any] = {p.name: rest(p) for p in network.populations}
    into = {p.name: network.into(p.name) for p in network.populations}
    overflow = {p.name: Overflow() for p in network.populations if fixed}
    traces: dict[str, list[NDArray]] = {name: [] for name in potentials}
    peaks: dict[str, list[NDArray]] = {name: [] for name in potentials}
    current = dict.fromkeys(cells, 0.0)
    potential = dict.fromkeys(cells, 0.0)
    for t in tqdm(range(steps), "populations", unit="step", leave=False, delay=2):
        for p in network.populations:
            a: Any = bias_at(p, t)
            for projection in into[p.name]:
                for delay, operator in projection.taps.items():
                    if t < delay:
                        continue
                    total: Any = operator.dot(sent[projection.source][t - delay])
                    if isinstance(projection, FixedProjection):
                        overflow[p.name].accumulated += int((np.abs(total) > ACCUMULATOR_LIMIT).sum())
                        total = projection.scaled(total)
                    a = a + total
            if isinstance(p, FixedPopulation):
                message, cells[p.name], w = fixed_step(p, a, cells[p.name], overflow[p.name])
            else:
                message, cells[p.name], w = float_step(p, a, cells[p.name])
            current[p.name] = max(current[p.name], float(np.abs(cells[p.name][0]).max(initial=0)))
            potential[p.name] = max(potential[p.name], float(np.abs(w).max(initial=0)))
            if p.name in peaks:
                peaks[p.name].append(w)
            sent[p.name][t] = message
            if p.name in traces:
                traces[p.name].append(potential_of(p, cells[p.name]))
    ranges = Ranges(
        {name: float(np.abs(x).max(initial=0.0)) for name, x in sent.items()},
        current,
        potential,
        unsigned=frozenset(name for name, x in sent.items() if (x >= 0).all()),
        whole=frozenset(name for name, x in sent.items() if (x == np.round(x)).all()),
        steps=steps,
    )
    return PopulationRun(
        {p.name: sent[p.name] for p in network.populations},
        {name: np.array(rows).reshape(steps, -1) for name, rows in traces.items()},
        {name: np.array(rows).reshape(steps, -1) for name, rows in peaks.items() if rows},
        ranges,
        overflow,
    )


def bias_at(p: Population, t: int) -> NDArray:
    """What a population's bias adds to a in step t, shape (M,)."""
    if isinstance(p, FixedPopulation):
        return bias_sent(p.bias.at(t), t) if p.bias.start else np.zeros(p.size, np.int64)
    return p.bias.at(t) if p.bias.start else np.zeros(p.size)


def rest(p: Population) -> tuple[NDArray, ...]:
    """u and v of a population that nothing has reached yet."""
    zero = np.zeros(p.size, np.int64 if isinstance(p, FixedPopulation) else np.float64)
    return zero, zero


def potential_of(p: Population, cell: tuple[NDArray, ...]) -> NDArray[np.float64]:
    """Membrane potential in NIR's units."""
    if not isinstance(p, FixedPopulation):
        return cell[1] + p.offset
    return cell[1] / 2.0**p.alignment / p.scale + p.offset


def float_step(p: Population, a: NDArray, cell: tuple[NDArray, ...]) -> tuple[NDArray, tuple[NDArray, ...], NDArray]:
    """One step by the equations of ``Population``: the message, the cell after it, and w."""
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
    """One step in Loihi's integers: the message, the cell after it, and w.

    by :func:`integrate`, and by kind

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
    """u' and w from a sum a in the units of the state, as Loihi's registers hold them.

    u' = u (4096 - du) / 4096 + a, wrapping at +-2^23;  w = v (4096 - dv) / 4096 + u', clipped to +-(2^23 - 1)

    with products rounded towards 0. What wrapped or was clipped is added to ``overflow``.
    """
    u = decay(u, du) + a
    wrapped = np.where(u > STATE_LIMIT, u - 2 * STATE_LIMIT, u)
    wrapped = np.where(wrapped <= -STATE_LIMIT, u + 2 * STATE_LIMIT, wrapped)
    overflow.wrapped += int((wrapped != u).sum())
    w = decay(v, dv) + wrapped
    clipped = np.clip(w, 1 - STATE_LIMIT, STATE_LIMIT - 1)
    overflow.saturated += int((clipped != w).sum())
    return wrapped, clipped


def decay(x: NDArray[np.int64], rate: NDArray) -> NDArray[np.int64]:
    """x (4096 - rate) / 4096, rounded towards 0."""
    return np.sign(x) * (np.abs(x) * (DECAY_UNITY - rate.astype(np.int64)) // DECAY_UNITY)
