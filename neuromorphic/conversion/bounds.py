"""Bounds of neurons' potentials, and whether they can fire, for all inputs within given bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.network import GRADED, LIF, SUM, Network, Population, Projection
from neuromorphic.compiler.operators import FixedKron, Floats, Kron, Operator, expanded
from neuromorphic.compiler.quantize import (
    BIAS_FRACTION,
    DECAY_UNITY,
    STATE_LIMIT,
    FixedNetwork,
    FixedPopulation,
    FixedProjection,
)
from neuromorphic.execution.populations import Overflow, fixed_step, rest

Interval: TypeAlias = tuple[NDArray, NDArray]
"""Least and largest value, shape (M,) each; in fixed point integers."""
Flags: TypeAlias = NDArray[np.bool_]

STEPS = 2048
"""Number of steps of a float population that are followed one by one. One bound covers all later steps."""
FIXED_STEPS = 2**14
"""Largest number of steps of an integer population that are followed until its state no longer changes."""
PASSES = 6
"""Number of passes that tighten the bounds of loops. The bounds of every pass hold."""
ROUNDING = 1e-9
"""A float potential this close to its threshold, relative to the terms of its sum, may be on either side of it."""
UNBOUNDED = 1e200
"""Stands for infinity, because 0 times infinity is not a number. Results above its square root count as unbounded."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of a population, shape (M,) each; in fixed point in the registers' units, which are 2^-6 units of a.

    Attributes:
        messages: Its messages.
        drive: Its input in a step, a + bias; in fixed point in units of a.
        current: Largest |u|.
        potential: Largest |w|; in fixed point before it is clipped to its register.
        accumulated: Largest |sum| before the weight exponent is applied; fixed point only.
        never: Neurons that never fire.
        always: Neurons that fire in every step.
    """

    messages: Interval
    drive: Interval
    current: Floats
    potential: Floats
    accumulated: Floats
    never: Flags
    always: Flags


def bounds(network: Network, inputs: Mapping[str, Interval]) -> dict[str, Bounds]:
    """Bounds of every population, from rest, for all later steps.

    Bounds of messages give the least and the largest drive a in each step, with the steps of biases and delays taken
    into account. u grows with a, and v does up to the first spike. So a neuron that stays silent under the largest
    drive never fires. Under any drive, u and v are at least those under the least drive, step by step. So a neuron that
    fires in every step under the least drive always fires. Both hold in integers, too, if u cannot wrap around.

    In a loop, the first pass takes messages to be anything that the population's kind allows; later passes take the
    bounds of the pass before.

    Args:
        network: Float or fixed.
        inputs: Bounds of the inputs' values, shape (n,) each. For a fixed network, too, these are not yet messages.

    Returns:
        Bounds by population.
    """
    messages: dict[str, Interval] = {p.name: anything(p) for p in network.populations}
    for name, (low, high) in inputs.items():
        pair = np.asarray(low, np.float64).reshape(-1), np.asarray(high, np.float64).reshape(-1)
        if isinstance(network, FixedNetwork):
            pair = network.messages(name, pair[0]).astype(np.int64), network.messages(name, pair[1]).astype(np.int64)
        messages[name] = pair
    out: dict[str, Bounds] = {}
    for _ in range(PASSES):
        before = dict(messages)
        for p in network.populations:
            out[p.name] = bounds_of(p, network.into(p.name), messages)
            messages[p.name] = out[p.name].messages
        if all(np.array_equal(messages[name][k], before[name][k]) for name in messages for k in (0, 1)):
            break
    return out


def anything(p: Population) -> Interval:
    """The range of messages of a population's kind."""
    if p.spikes:
        return np.zeros(p.size, np.int64), np.ones(p.size, np.int64)
    if isinstance(p, FixedPopulation):  # A sum can send more, but no population reads it.
        largest = np.full(p.size, (STATE_LIMIT - 1) >> p.message_shift, np.int64)
        return -largest - 1, largest
    return np.full(p.size, -np.inf), np.full(p.size, np.inf)


def bounds_of(p: Population, projections: list[Projection], messages: Mapping[str, Interval]) -> Bounds:
    """Bounds of one population, given those of its sources."""
    drives, accumulated = drive(p, projections, messages)
    span = (
        np.min([low for low, _ in drives.values()], axis=0),
        np.max([high for _, high in drives.values()], axis=0),
    )
    none = np.zeros(p.size, bool)
    if p.kind == SUM:
        largest = np.maximum(np.abs(span[0]), np.abs(span[1])).astype(np.float64)
        return Bounds(span, span, largest, largest, accumulated, none, none)
    current, potential, values = reach(p, drives)
    if p.kind == GRADED:
        return Bounds(graded_messages(p, current, values), span, current, potential, accumulated, none, none)
    if isinstance(p, FixedPopulation):
        safe = current < STATE_LIMIT
        never, always = (found & safe for found in fires_fixed(p, drives))
    else:
        never, always = fires_float(p, drives, strength(p, projections, messages))
    return Bounds(
        (always.astype(np.int64), (~never).astype(np.int64)), span, current, potential, accumulated, never, always
    )


def graded_messages(p: Population, current: Floats, values: Interval) -> Interval:
    """Bounds of a graded population's messages, given those of u and w."""
    if not isinstance(p, FixedPopulation):
        return values
    least, largest = anything(p)
    ends = (np.clip(end, 1 - STATE_LIMIT, STATE_LIMIT - 1) / 2.0**p.message_shift for end in values)
    low, high = (np.floor(end).astype(np.int64) for end in ends)
    wraps = current >= STATE_LIMIT
    # One unit more on each side, as these bounds are floats and rounded.
    return np.where(wraps, least, np.maximum(low - 1, least)), np.where(wraps, largest, np.minimum(high + 1, largest))


def drive(
    p: Population, projections: list[Projection], messages: Mapping[str, Interval]
) -> tuple[dict[int, Interval], Floats]:
    """Bounds of a + bias, by the step from which they hold; and the largest |sum| before the weight exponent.

    Messages with a delay of d arrive from step d on.
    """
    fixed = isinstance(p, FixedPopulation)
    parts: list[tuple[int, Interval]] = []
    accumulated = np.zeros(p.size)
    for projection in projections:
        for delay, operator in projection.taps.items():
            pair = product(operator, *messages[projection.source])
            if isinstance(projection, FixedProjection):
                accumulated = np.maximum(accumulated, np.maximum(np.abs(pair[0]), np.abs(pair[1])))
                pair = projection.scaled(pair[0]), projection.scaled(pair[1])
            parts.append((delay, pair))
    out = {}
    for t in sorted({0, *(delay for delay, _ in parts), *p.bias.start}):
        low = high = p.bias.at(t) if p.bias.start else np.zeros(p.size, np.int64 if fixed else np.float64)
        if fixed:  # Whole units, whose sum over steps is that of the bias.
            low, high = low.astype(np.int64) >> BIAS_FRACTION, -(-high.astype(np.int64) >> BIAS_FRACTION)
        for delay, pair in parts:
            if t >= delay:
                low, high = low + pair[0], high + pair[1]
        out[t] = (low, high) if fixed else (np.maximum(low, -UNBOUNDED), np.minimum(high, UNBOUNDED))
    return out, accumulated


def product(operator: Operator, low: NDArray, high: NDArray) -> Interval:
    """Bounds of operator m for messages m between ``low`` and ``high``.

    high_i = sum_j max(w_ij, 0) high_j + min(w_ij, 0) low_j, and low_i likewise with high and low swapped. A Kronecker
    product is not expanded; there, every message is taken to be between the least and the largest of all.
    """
    if isinstance(operator, Kron | FixedKron):
        positive, negative = signed_sums(operator)
        least, largest = low.min(initial=0), high.max(initial=0)
        return times(positive, least) + times(negative, largest), times(positive, largest) + times(negative, least)
    matrix = expanded(operator, 0)
    if low.dtype.kind == matrix.dtype.kind == "i":
        matrix = matrix.astype(np.int64)
    above, below = matrix.maximum(0).tocsr(), matrix.minimum(0).tocsr()
    for part in (above, below):
        part.eliminate_zeros()  # 0 times an unbounded message is 0.
    return above @ low + below @ high, above @ high + below @ low


def times(sums: NDArray, message: float) -> NDArray:
    """sums x message, where 0 times an unbounded message is 0."""
    return np.multiply(sums, message, out=np.zeros_like(sums, np.result_type(sums, message)), where=sums != 0)


def signed_sums(operator: Kron | FixedKron) -> Interval:
    """Sums of the positive and of the negative entries in each row, shape (M,) each."""
    if isinstance(operator, Kron):
        return operator.signed_row_sums()
    weights = operator.weights.astype(np.int64)
    targets = np.repeat(np.arange(operator.classes.shape[0]), np.diff(operator.classes.indptr))
    out = []
    for part in (np.maximum(weights, 0), np.minimum(weights, 0)):
        sums = np.zeros((operator.classes.shape[0], weights.shape[1]), np.int64)
        np.add.at(sums, targets, part.sum(axis=2)[operator.classes.data])
        out.append(sums.reshape(-1))
    return out[0], out[1]


def strength(p: Population, projections: list[Projection], messages: Mapping[str, Interval]) -> Floats:
    """Largest sum of the absolute values of the terms of a, to which its rounding error is proportional; shape (M,)."""
    total = np.abs(p.bias.values).max(axis=0, initial=0.0)
    for projection in projections:
        low, high = messages[projection.source]
        largest = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
        for operator in projection.taps.values():
            if isinstance(operator, Kron):
                positive, negative = operator.signed_row_sums()
                total = total + times(positive - negative, largest.max(initial=0.0))
            else:
                absolute = abs(expanded(operator, 0))
                absolute.eliminate_zeros()
                total = total + absolute @ largest
    return total


def phases(drives: Mapping[int, Interval], k: int, limit: int) -> tuple[list[NDArray], NDArray]:
    """The drive (k = 0: the least, 1: the largest) in each of the first steps, and that of all later steps."""
    starts = sorted(drives)
    steps = [drives[max(s for s in starts if s <= t)][k] for t in range(min(starts[-1], limit))]
    later = np.array([drives[s][k] for s in starts if s >= len(steps)])
    return steps, later.max(axis=0) if k else later.min(axis=0)


def reach(p: Population, drives: Mapping[int, Interval]) -> tuple[Floats, Floats, Interval]:
    """Largest |u|, largest |w|, and the least and largest w, shape (M,) each; infinite if there is no bound.

    u <- (1 - du) u + a,  w <- (1 - dv) v + u  with the largest a give the upper bounds; the mirror image with the least
    a gives the lower ones. A reset sets v to 0, or subtracts the threshold from a w above it. So v stays at most at the
    threshold, or at w - threshold, and no reset brings it below 0. In integers, truncation moves u and v towards 0;
    bounds beyond 0 are taken to be 0.
    """
    fixed = isinstance(p, FixedPopulation)
    unit = 2.0**p.alignment if isinstance(p, FixedPopulation) else 1.0
    du, dv = (p.du / DECAY_UNITY, p.dv / DECAY_UNITY) if fixed else (p.du, p.dv)
    threshold, zero = p.threshold * unit, np.zeros(p.size)
    currents, ends = [], []
    for k, sign in ((0, -1.0), (1, 1.0)):
        steps, last = phases(drives, k, STEPS)
        resets = p.spikes and k == 1

        def after(w: Floats, resets: bool = resets) -> Floats:
            """v after a step with potential w."""
            if not resets:
                return np.maximum(w, 0.0)
            return np.maximum(np.minimum(w, threshold), 0.0 if p.kind == LIF else w - threshold)

        u, v, top_u, top_w, settled = zero, zero, zero, zero, False
        for t in range(max(STEPS, len(steps))):
            a = sign * unit * (steps[t] if t < len(steps) else last)
            next_u = np.maximum((1 - du) * u, 0.0) + a
            w = (1 - dv) * v + next_u
            next_v = after(w)
            top_u, top_w = np.maximum(top_u, next_u), np.maximum(top_w, w)
            settled = t >= len(steps) and np.array_equal(next_u, u) and np.array_equal(next_v, v)
            u, v = next_u, next_v
            if settled:
                break
        if not settled:
            late_u = np.maximum(u, np.maximum(sign * unit * last, 0.0) / du)
            level = np.divide(late_u, dv, out=np.where(late_u > 0, np.inf, 0.0), where=dv > 0)
            late_v = np.maximum(v, level)
            if resets and p.kind == LIF:
                late_v = np.maximum(np.minimum(late_v, threshold), 0.0)
            elif resets:
                # Above the threshold and (u - threshold) / dv, a spike subtracts more than u adds.
                over = late_u - threshold
                level = np.divide(over, dv, out=np.where(over > 0, np.inf, 0.0), where=dv > 0)
                late_v = np.minimum(late_v, np.maximum.reduce([v, threshold, level]))
            top_u = np.maximum(top_u, late_u)
            # v <= late_v holds for all later steps: (1 - dv) late_v + u is at most late_v where that is the level.
            top_w = np.maximum(top_w, np.maximum(late_v, np.minimum(late_v, UNBOUNDED) * (1 - dv) + late_u))
        currents.append(top_u)
        ends.append(np.where(top_w >= UNBOUNDED**0.5, np.inf, top_w))
    current = np.maximum(*currents)
    return np.where(current >= UNBOUNDED**0.5, np.inf, current), np.maximum(*ends), (-ends[0], ends[1])


def fires_float(p: Population, drives: Mapping[int, Interval], total: Floats) -> tuple[Flags, Flags]:
    """The neurons of a float population that never fire, and those that always fire.

    The first steps are followed one by one. After them, with the largest drive, u stays below max(u, a / du) and v
    below max(v, u / dv). With the least drive, and a spike in every step, u stays above min(u, a / du), and v is 0, or
    with reset by subtraction stays above min(v, (u - threshold) / dv).

    Args:
        p: The population.
        drives: See :func:`drive`.
        total: See :func:`strength`.
    """
    margin = ROUNDING * (np.minimum(total, UNBOUNDED) / (p.du * np.maximum(p.dv, 1e-3)) + p.threshold)
    never, always = np.ones(p.size, bool), np.ones(p.size, bool)
    for k, chosen in ((1, never), (0, always)):
        steps, last = phases(drives, k, STEPS)
        u = v = np.zeros(p.size)
        settled = False
        for t in range(max(STEPS, len(steps))):
            next_u = (1 - p.du) * u + (steps[t] if t < len(steps) else last)
            w = (1 - p.dv) * v + next_u
            chosen &= w <= p.threshold - margin if k else w > p.threshold + margin
            next_v = w if k else np.zeros(p.size) if p.kind == LIF else w - p.threshold
            same = (next_u == u) & (next_v == v)
            u, v = next_u, next_v
            settled = t >= len(steps) and bool((same | ~chosen).all())
            if settled:
                break
        if settled:
            continue
        if k:
            late = np.maximum(u, last / p.du)
            level = np.divide(late, p.dv, out=np.where(late > 0, UNBOUNDED, -UNBOUNDED), where=p.dv > 0)
            chosen &= (1 - p.dv) * np.maximum(v, level) + late <= p.threshold - margin
        else:
            late = np.minimum(u, last / p.du)
            over = late - p.threshold
            level = np.divide(over, p.dv, out=np.where(over >= 0, UNBOUNDED, -UNBOUNDED), where=p.dv > 0)
            low = np.zeros(p.size) if p.kind == LIF else np.minimum(v, level)
            chosen &= (1 - p.dv) * low + late > p.threshold + margin
    return never, always


def fires_fixed(p: FixedPopulation, drives: Mapping[int, Interval]) -> tuple[Flags, Flags]:
    """The neurons of an integer population that never fire, and those that always fire.

    The population is run with the largest and with the least drive until its state no longer changes. Neurons whose
    state still changes after :data:`FIXED_STEPS` are in neither set.
    """
    out = []
    for k in (1, 0):
        steps, last = phases(drives, k, FIXED_STEPS)
        cell = rest(p)
        chosen, settled = np.ones(p.size, bool), np.zeros(p.size, bool)
        for t in range(max(FIXED_STEPS, len(steps) + 1)):
            spikes, after, _ = fixed_step(p, steps[t] if t < len(steps) else last, cell, Overflow())
            chosen &= spikes != bool(k)
            settled = np.logical_and.reduce([now == then for now, then in zip(after, cell, strict=True)])
            cell = after
            if t >= len(steps) and (settled | ~chosen).all():
                break
        out.append(chosen & settled)
    return out[0], out[1]
