"""Quantise folded networks to Loihi's fixed-point numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.network import GRADED, LIF, SUM, Levels, Network, Population, Projection
from neuromorphic.compiler.operators import (
    FixedKron,
    Floats,
    Kron,
    Operator,
    Repeated,
    expanded,
    quantize_kron,
    rounding_error,
    signed_row_sums,
)

Ints = NDArray[np.int32]

WEIGHT_LIMIT = 254
"""Largest 8-bit weight of mixed sign: the sign takes the lowest bit, so weights are even."""
WEIGHT_EXPONENTS = range(-8, 8)
"""Exponents that weights can have: 3 bits and sign."""
HOST_WEIGHT_LIMIT = 2**15 - 1
HOST_EXPONENTS = range(-16, 16)
"""Weights into populations that the host computes: those that send their potential, and outputs. They have 16 bits, and
their synaptic sums are in the units of the state."""
MESSAGE_LIMIT = 2**15 - 1
"""Largest graded message, 16 bits and sign included."""
LEAST_MESSAGE = 2**9
"""Graded messages of inputs have at least 10 bits, even if weights lose some of theirs."""
ALIGNMENT = 6
"""Synaptic sums and thresholds are shifted left by so many bits to meet the 24-bit current and potential."""
STATE_LIMIT = 2**23
"""Limit of current and potential. The current wraps around there, the potential is clipped."""
ACTIVATION_LIMIT = 2**17 - 1
"""Largest synaptic sum and threshold: the state's range without the bits of the alignment."""
DECAY_UNITY = 2**12
"""Decay constants are 12-bit fractions of it. Loihi adds one to the register of the current's decay only."""
ACCUMULATOR_LIMIT = 2**31 - 1
"""Largest synaptic sum before the weight exponent is applied (32 bits in Lava's model)."""
MESSAGE_SHIFTS = range(8, 15)
"""Numbers of lowest bits that a graded population leaves out of the potential it sends: 16 to 10 of 24 remain."""
BIAS_FRACTION = 6
"""Bits of a bias below the unit of the synaptic sum; see :func:`bias_sent`."""
EXACT = -1
"""Least exponent at which no sum is rounded, as weights are even."""

MAX_GROUPS = 8
"""Largest number of exponents in the synapses of one projection."""
MAX_AXONS = 4096
"""Axons of a core. A source takes one for each exponent of its synapses."""
COARSE_WEIGHT = 32
"""If the largest weight has fewer units than this, weights get finer exponents, and sums are rounded."""
HEADROOM = 1.15
"""If the worst case does not fit in the registers, the observed values fill 1 / 1.15 of them."""
FINE_THRESHOLD = 2**9
"""Number of units at which a threshold is fine enough. Room beyond that is left for inputs that were not observed."""
LEAST_THRESHOLD = 2**6
"""Least number of units of a threshold, even if the potential then leaves its register."""


@dataclass(frozen=True)
class FixedPopulation(Population):
    """A population in integers; :mod:`neuromorphic.execution.populations` runs it.

    du and dv are in units of 1 / 4096 (du 1 to 4096, dv 0 to 4095), thresholds in those of the synaptic sum a, biases
    in 1 / 64 of them (:func:`bias_sent`), int32.

    Attributes:
        scale: Units of a per unit of the float network's potential, shape (M,).
        report: The numbers that describe the quantisation, by name.
        message_shift: A graded population sends v 2^-message_shift, rounded down; in :data:`MESSAGE_SHIFTS`.
    """

    scale: Floats
    report: Mapping[str, float | int]
    message_shift: int = MESSAGE_SHIFTS.start

    @property
    def alignment(self) -> int:
        """Bits by which sums are shifted left to meet u and v; none where the host computes them."""
        return ALIGNMENT if self.spikes else 0


@dataclass(frozen=True)
class FixedProjection(Projection):
    """Synapses in integers: a_i = sum over taps of (sum_j weight_ij m_j) 2^weight_exp_i, rounded down.

    A chip has even weights in +-254 times 2^exponent. A weight here is such a number times a power of two: its own
    exponent is weight_exp_i plus what it takes to bring it into +-254. :func:`synapse_groups` takes a projection apart
    by exponent, as the chip holds it. Sums of several groups need no rounding, as all exponents are at least -1 then.
    Weights into populations that the host computes are any in +-(2^15 - 1).

    Attributes:
        weight_exp: In :data:`WEIGHT_EXPONENTS`, those of the host in :data:`HOST_EXPONENTS`; int32, shape (M,).
        host: Whether the host computes the target.
    """

    weight_exp: Ints = field(kw_only=True)
    host: bool = field(kw_only=True, default=False)

    def scaled(self, total: NDArray) -> NDArray:
        """Sums times 2^weight_exp, rounded down, integers, shape (M,)."""
        up, down = np.maximum(self.weight_exp, 0), np.maximum(-self.weight_exp, 0)
        if up.any():
            total = total << up
        return total >> down if down.any() else total


@dataclass(frozen=True)
class FixedNetwork(Network):
    """A network of :class:`FixedPopulation` and :class:`FixedProjection`.

    Attributes:
        message_scale: Input messages are round(message_scale x), by input.
    """

    message_scale: Mapping[str, float]

    def messages(self, name: str, x: NDArray) -> Ints:
        """An input as integer messages, any shape."""
        return np.round(self.message_scale[name] * x).astype(np.int32)

    def values(self, name: str, messages: NDArray) -> Floats:
        """What messages of a population stand for, in NIR's units, shape (..., M)."""
        population = self.population(name)
        if population.spikes:
            return messages.astype(np.float64)
        return messages * self.message_unit(population)

    @staticmethod
    def message_unit(population: Population) -> Floats:
        """NIR's unit per unit of the messages that a graded or sum population sends, shape (M,)."""
        assert isinstance(population, FixedPopulation)
        shift = population.message_shift if population.kind == GRADED else 0
        return 2.0**shift / population.scale

    def report(self) -> dict[str, dict[str, Any]]:
        """Per population how it was quantised, and the exponents of the weights of each projection into it."""
        return {name: dict(own) for name, own in self._report.items()}

    @cached_property
    def _report(self) -> dict[str, dict[str, Any]]:
        return {
            p.name: dict(p.report)
            | {
                f"weight_exp from {q.source}": synapse_exponents(q) if p.spikes else np.unique(q.weight_exp).tolist()
                for q in self.into(p.name)
                if isinstance(q, FixedProjection) and not self.is_direct(q)
            }
            for p in self.populations
            if isinstance(p, FixedPopulation)
        }


@dataclass(frozen=True)
class Ranges:
    """Values that were observed in runs of the float network, by population or input.

    Attributes:
        messages: Largest absolute value sent.
        current: Largest |u|.
        potential: Largest |w|.
        unsigned: Names of those that sent no message below 0.
        whole: Names of those whose messages were all whole numbers.
        steps: Length of the longest run.
    """

    messages: Mapping[str, float]
    current: Mapping[str, float]
    potential: Mapping[str, float]
    unsigned: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    steps: int = 0


def quantize(network: Network, ranges: Ranges, groups: int = MAX_GROUPS) -> FixedNetwork:
    """Choose a scale for each population with which currents, potentials and thresholds fit, and round all numbers.

    :func:`largest_scale` tells how much room is left, :func:`quantize_projection` how weights are rounded,
    :func:`bias_sent` how biases are. Decays are rounded to registers. ``lower(graph, horizon=T)`` corrects for that.

    Args:
        network: Float.
        ranges: Values that were observed in its runs.
        groups: Largest number of exponents in the synapses of a projection.
    """
    limits = reaches(network, ranges)
    scales: dict[str, Floats] = {}
    for p in network.populations:
        scales[p.name] = np.full(p.size, population_scale(network, p, limits[p.name], ranges, groups))
    message_scale = {name: input_scale(network, name, scales, ranges) for name in network.inputs}
    shifts = {p.name: message_shift(network, p, scales) for p in network.populations}
    direct = {q.target: q.source for q in network.projections if network.is_direct(q)}
    for name, source in direct.items():
        scales[name] = direct_scale(network, source, scales, message_scale, shifts)
    populations = {p.name: quantize_population(p, scales[p.name], shifts[p.name]) for p in network.populations}
    units: dict[str, Floats] = {name: np.array(1 / scale) for name, scale in message_scale.items()}
    for p in network.populations:
        units[p.name] = np.array(1.0) if p.spikes else FixedNetwork.message_unit(populations[p.name])
    errors: dict[str, list[float]] = {p.name: [0.0] for p in network.populations}
    projections = []
    for projection in network.projections:
        if projection.target in direct:
            size = network.size(projection.source)
            one = sparse.identity(size, dtype=np.int32, format="csr")
            none = np.zeros(size, np.int32)
            projections.append(FixedProjection(projection.source, projection.target, {0: one}, True, weight_exp=none))
            continue
        fixed, error = quantize_projection(
            projection,
            populations[projection.target].scale,
            units[projection.source],
            message_scale.get(projection.source) == 1.0 or source_spikes(network, projection.source),
            groups,
            host_message(network, projection, message_scale, ranges),
        )
        projections.append(fixed)
        errors[projection.target].append(error)
    for name, population in populations.items():
        populations[name] = replace(population, report={**population.report, "weight_error": max(errors[name])})
    return FixedNetwork(network.inputs, tuple(populations.values()), tuple(projections), network.dt, message_scale)


def host_message(
    network: Network, projection: Projection, message_scale: Mapping[str, float], ranges: Ranges
) -> float | None:
    """The largest message of a projection whose target the host computes; None for any other projection."""
    if network.population(projection.target).spikes:
        return None
    if source_spikes(network, projection.source):
        return 1.0
    if projection.source in network.inputs:
        return message_scale[projection.source] * ranges.messages[projection.source]
    return float(MESSAGE_LIMIT)


def direct_scale(
    network: Network,
    source: str,
    scales: Mapping[str, Floats],
    message_scale: Mapping[str, float],
    shifts: Mapping[str, int],
) -> Floats:
    """Scale of an output that copies a population or input, shape (M,)."""
    size = network.size(source)
    if source in network.inputs:
        return np.full(size, message_scale[source])
    graded = not network.population(source).spikes
    return scales[source] * 2.0 ** -shifts[source] if graded else np.ones(size)


def source_spikes(network: Network, name: str) -> bool:
    """Whether a projection's source sends spikes."""
    return name not in network.inputs and network.population(name).spikes


def largest_entry(weight: Operator) -> float:
    """Largest |entry| of an operator."""
    if isinstance(weight, Kron):
        return weight.largest()
    return float(np.abs(expanded(weight, 0).data).max(initial=0.0))


def largest_weight(projection: Projection) -> float:
    """Largest |weight| of a projection."""
    return max(largest_entry(weight) for weight in projection.taps.values())


def is_kron(projection: Projection) -> bool:
    """Whether a projection is a Kronecker product, whose weights share one exponent."""
    return any(isinstance(weight, Kron) for weight in projection.taps.values())


def least_row(projection: Projection) -> float:
    """The least of the neurons' largest |weight|, over neurons with weights.

    The weights of a Kronecker product share one exponent, so for these it is the largest |weight| of all.
    """
    if is_kron(projection):
        return largest_weight(projection)
    rows = largest_by_row([expanded(weight, 0) for weight in projection.taps.values()])
    return float(rows[rows > 0].min(initial=np.inf)) if rows.any() else 0.0


def largest_by_row(matrices: Iterable[sparse.csr_matrix]) -> Floats:
    """Largest |entry| of each row over several matrices, shape (M,)."""
    return np.max([np.asarray(abs(m).max(axis=1).todense()).reshape(-1) for m in matrices], axis=0)


@dataclass(frozen=True)
class Reach:
    """Bounds of a population's state for all steps and all inputs within their ranges; infinite if there is no bound.

    Attributes:
        current: Largest |u|.
        low, high: Least and largest w.
    """

    current: float
    low: float
    high: float

    @property
    def largest(self) -> float:
        """Largest |u| or |w|."""
        return max(self.current, -self.low, self.high)


def reaches(network: Network, ranges: Ranges) -> dict[str, Reach]:
    """Bounds of u and w by population.

    Let a+ and a- be the largest and least a + bias for messages within their ranges. Then a- / du <= u <= a+ / du, and

    graded:    u- / dv <= w <= u+ / dv
    lif:       the same, and w <= (1 - dv) threshold + u+, as v <= threshold
    subtract:  the same as graded, and w <= (1 - dv) max(threshold, (u+ - threshold) / dv) + u+

    Spikes are 0 or 1. A graded source without a bound, or in a loop with the population, is taken to send up to twice
    the observed value.
    """
    observed: dict[str, tuple[float, float]] = {}
    for name in (*network.inputs, *(p.name for p in network.populations)):
        largest = ranges.messages[name] * (1.0 if name in network.inputs else 2.0)
        observed[name] = (0.0 if name in ranges.unsigned else -largest, largest)
        if source_spikes(network, name):
            observed[name] = (0.0, 1.0)
    spans = dict(observed)
    out = {}
    loops = network.components(strong=True)
    for p in topological_order(network, loops):
        low = p.bias.values.min(axis=0, initial=0.0)
        high = p.bias.values.max(axis=0, initial=0.0)
        for projection in network.into(p.name):
            loop = loops[projection.source] == loops[p.name]
            least, most = (observed if loop else spans)[projection.source]
            for weight in projection.taps.values():
                assert not isinstance(weight, FixedKron)
                positive, negative = signed_row_sums(weight)
                low = low + positive * least + negative * most
                high = high + positive * most + negative * least
        if p.kind == SUM:
            out[p.name] = reach = Reach(0.0, float(low.min(initial=0.0)), float(high.max(initial=0.0)))
        else:
            out[p.name] = reach = reach_of(p, low / p.du, high / p.du)
        if not p.spikes and np.isfinite(reach.largest):
            spans[p.name] = (reach.low, reach.high)
    return out


def topological_order(network: Network, loops: Mapping[str, int]) -> list[Population]:
    """Order populations so that each follows its sources, except those in a loop with it. Delays do not count."""
    hears: dict[int, set[int]] = {number: set() for number in loops.values()}
    for q in network.projections:
        if loops[q.source] != loops[q.target]:
            hears[loops[q.target]].add(loops[q.source])
    place = {number: k for k, number in enumerate(TopologicalSorter(hears).static_order())}
    return sorted(network.populations, key=lambda p: place[loops[p.name]])


def reach_of(p: Population, low: Floats, high: Floats) -> Reach:
    """Bounds of a population whose current u stays between ``low`` <= 0 and ``high`` >= 0, shape (M,)."""

    def level(u: Floats) -> Floats:
        """The limit of a leaky potential under a constant u."""
        without = np.where(u > 0, np.inf, np.where(u < 0, -np.inf, 0.0))
        return np.divide(u, p.dv, out=without, where=p.dv > 0)

    top = level(high)
    if p.spikes:
        rest = p.threshold if p.kind == LIF else np.maximum(p.threshold, level(np.maximum(high - p.threshold, 0.0)))
        top = np.minimum(top, (1 - p.dv) * rest + high)
    current = np.maximum(-low, high).max(initial=0.0)
    return Reach(float(current), float(level(low).min(initial=0.0)), float(top.max(initial=0.0)))


def largest_scale(p: Population, reach: Reach, ranges: Ranges) -> float:
    """The largest scale with enough room in a population's registers, in units of a per unit of potential.

    - If thresholds keep :data:`FINE_THRESHOLD` units, the bounds of :func:`reaches` fit, so nothing ever overflows. If
      thresholds differ, the median counts. A graded population needs a range of 2^15 units instead.
    - Otherwise the observed values fit, with the factor :data:`HEADROOM`, or with more room as long as thresholds stay
      that fine.
    - Thresholds keep :data:`LEAST_THRESHOLD` units in any case. Potentials may then saturate, which each run counts.
    """
    seen = HEADROOM * max(ranges.current[p.name], ranges.potential[p.name])
    positive = p.threshold[p.threshold > 0]
    # A graded population has no threshold; a 64th of its range is used instead.
    threshold = float(np.median(positive)) if p.spikes and len(positive) else seen / 2.0**ALIGNMENT
    if p.spikes:
        seen = max(seen, float(p.threshold.max(initial=0.0)))
    fine = ACTIVATION_LIMIT / FINE_THRESHOLD * threshold
    most = max(reach.largest, float(p.threshold.max(initial=0.0)) if p.spikes else 0.0)
    fits = most <= max(fine, seen) or (seen == 0 and np.isfinite(most))
    limit = most if fits else max(seen, min(most, fine))
    if p.spikes and threshold > 0:
        limit = max(min(limit, ACTIVATION_LIMIT / LEAST_THRESHOLD * threshold), float(p.threshold.max()))
    # 2 % are left for rounding.
    return (
        0.98 * (ACTIVATION_LIMIT if p.spikes else STATE_LIMIT) / limit if np.isfinite(limit) and limit > 1e-30 else 1.0
    )


def population_scale(network: Network, p: Population, reach: Reach, ranges: Ranges, groups: int) -> float:
    """Choose a population's scale, in units of a per unit of potential.

    If there are messages of whole numbers, scales are tried with which thresholds and weights are exact: powers of two,
    and scales that make the least threshold a power of two, or the largest weight of a projection 254 units times one.
    If none is exact, the largest of the weights that share one exponent gets all of its bits. Failing that, a threshold
    that all neurons share becomes a whole number of units.
    """
    # Whole messages have the unit 1, so their weights have the unit of the scale.
    whole = [
        q
        for q in network.into(p.name)
        if source_spikes(network, q.source) or (q.source in ranges.whole and q.source in network.inputs)
    ]
    weights = [largest for q in whole if (largest := largest_weight(q)) > 0]
    scale = largest_scale(p, reach, ranges)
    if weights and p.spikes:
        scale = min(scale, WEIGHT_LIMIT * 2.0 ** (WEIGHT_EXPONENTS.stop - 1) / max(weights))
    thresholds = np.unique(p.threshold) if p.spikes else np.zeros(0)
    bases = [1.0, *thresholds[thresholds > 0][:1], *(weight / WEIGHT_LIMIT for weight in weights)]
    candidates = sorted({2.0 ** np.floor(np.log2(scale * base)) / base for base in bases}, reverse=True)
    for candidate in candidates if whole else ():
        if is_exact(candidate, thresholds, whole):
            return candidate
    shared = [largest_weight(q) for q in whole if groups == 1 or is_kron(q)]
    if p.spikes and (base := max(shared, default=0.0) / WEIGHT_LIMIT) > 0:
        return float(2.0 ** np.floor(np.log2(scale * base)) / base)
    if len(thresholds) == 1 and (least := scale * thresholds[0]) >= 1:
        return float(np.floor(least) / thresholds[0])
    return scale


def is_exact(scale: float, thresholds: Floats, projections: Iterable[Projection]) -> bool:
    """Whether a scale represents thresholds, and weights of projections with whole messages, exactly."""

    def exact(values: Floats, rounded: Floats) -> bool:
        return bool((np.abs(values - rounded) <= 1e-9 * np.abs(values)).all())

    if not exact(scale * thresholds, np.round(scale * thresholds)):
        return False
    for projection in projections:
        for weight in projection.taps.values():
            if isinstance(weight, Kron):
                data = np.unique(np.multiply.outer(np.unique(weight.left.data), np.unique(weight.right)))
            else:
                data = expanded(weight, 0).data
            # Most scales fail for the first few weights, before all are looked at.
            for part in (data[:64], data):
                units = scale * part
                if not exact(units, round_weights(units, np.maximum(exponents_of(units), EXACT))):
                    return False
    return True


def input_scale(network: Network, name: str, scales: Mapping[str, Floats], ranges: Ranges) -> float:
    """Scale of an input's messages.

    Whole numbers have a scale of 1. Other messages have 16 bits, or fewer, down to 10, if weights would otherwise need
    an exponent below -8 and lose bits.
    """
    largest = ranges.messages[name]
    if name in ranges.whole and largest <= MESSAGE_LIMIT:
        return 1.0
    most = scale = MESSAGE_LIMIT / largest
    for projection in network.projections:
        chip = network.population(projection.target).spikes
        if chip and projection.source == name and (weight := least_row(projection)) > 0:
            own = float(scales[projection.target].max(initial=0.0))
            # With this scale the weight is 254 2^-8; half of it, a quarter, ... leave it as exact.
            exact = own * weight / WEIGHT_LIMIT / 2.0**WEIGHT_EXPONENTS.start
            scale = min(scale, exact * 2.0 ** min(np.floor(np.log2(most / exact)), 0))
    scale = max(scale, LEAST_MESSAGE / largest)
    for projection in network.projections:
        if projection.source == name and (weight := largest_weight(projection)) > 0:
            rows = max(row_sums(w).max(initial=0.0) / weight for w in projection.taps.values())
            scale = min(scale, ACCUMULATOR_LIMIT / WEIGHT_LIMIT / rows / largest)
    return scale


def message_shift(network: Network, p: Population, scales: Mapping[str, Floats]) -> int:
    """Number of lowest bits that a graded population leaves out of its messages.

    It is the smallest number with which weights keep all of their bits. Their unit is the target's unit over that of
    the messages, and no exponent is below -8.
    """
    shift = MESSAGE_SHIFTS.start
    for projection in network.projections:
        if projection.source != p.name or p.kind != GRADED or network.is_direct(projection):
            continue
        if not network.population(projection.target).spikes:
            continue  # The exponents of the host suffice.
        own = scales[projection.target].max(initial=0.0) / scales[p.name].min(initial=np.inf)
        units = least_row(projection) * own * 2.0**-WEIGHT_EXPONENTS.start
        if units > 0:
            shift = max(shift, int(np.ceil(np.log2(WEIGHT_LIMIT / 2 / units))))
    return min(shift, MESSAGE_SHIFTS.stop - 1)


def row_sums(weight: Operator) -> Floats:
    """Sums of the absolute values in each row."""
    assert not isinstance(weight, FixedKron)
    positive, negative = signed_row_sums(weight)
    return positive - negative


def decay_registers(du: Floats, dv: Floats) -> tuple[Floats, Floats]:
    """du and dv in units of 1 / 4096, rounded and clipped to the registers' range; a leak is never rounded to 0."""
    least = np.where(dv > 0, 1, 0)
    return np.clip(np.round(DECAY_UNITY * du), 1, DECAY_UNITY), np.clip(
        np.round(DECAY_UNITY * dv), least, DECAY_UNITY - 1
    )


def bias_sent(level: NDArray, t: int) -> NDArray[np.int64]:
    """The whole units that a bias of ``level`` 64ths of a unit adds to a in step t.

    It is floor((t + 1) level / 64) - floor(t level / 64), because a chip adds whole units. The sum over any steps is
    within one unit of the exact sum. A bias rounded to a unit would deviate more with each step.
    """
    wide = level.astype(np.int64)
    return ((t + 1) * wide >> BIAS_FRACTION) - (t * wide >> BIAS_FRACTION)


def quantize_population(p: Population, scale: Floats, shift: int = MESSAGE_SHIFTS.start) -> FixedPopulation:
    """A population in integers."""
    exact_du, exact_dv = np.round(DECAY_UNITY * p.du), np.round(DECAY_UNITY * p.dv)
    du, dv = decay_registers(p.du, p.dv)
    threshold = np.round(scale * p.threshold) if p.spikes else np.zeros(p.size)
    drift = np.abs(threshold / scale - p.threshold).max(initial=0.0) if p.spikes else 0.0
    values = np.round(2.0**BIAS_FRACTION * scale * p.bias.values).astype(np.int32)
    report = {
        "scale": float(scale.max(initial=0.0)),
        "threshold": int(threshold.max(initial=0)),
        "threshold_error": float(drift),
        "decay_error": float(
            max(np.abs(du / DECAY_UNITY - p.du).max(initial=0), np.abs(dv / DECAY_UNITY - p.dv).max(initial=0))
        ),
        "decay_clipped": int((dv != exact_dv).sum() + (du != exact_du).sum()) if p.kind != SUM else 0,
        "bias_error": float(np.abs(values / (2.0**BIAS_FRACTION * scale) - p.bias.values).max(initial=0.0)),
    }
    return FixedPopulation(
        name=p.name,
        kind=p.kind,
        shape=p.shape,
        du=du.astype(np.int32),
        dv=dv.astype(np.int32),
        threshold=threshold.astype(np.int32),
        bias=Levels(p.bias.start, values),
        offset=p.offset,
        scale=scale,
        report=report,
        message_shift=shift,
    )


def exponents_of(units: Floats, limit: int = WEIGHT_LIMIT) -> NDArray[np.int64]:
    """For each weight the least exponent e with |weight| <= limit 2^e. For a weight of 0 it is far below all others."""
    size = np.maximum(np.abs(units), 1e-300) / limit
    return np.ceil(np.log2(size * (1 - 1e-12))).astype(np.int64)


def round_weights(units: Floats, exponents: NDArray, limit: int = WEIGHT_LIMIT) -> Floats:
    """Weights rounded to integers times 2^exponent, within +-limit; the integers are even for weights of 8 bits."""
    even = limit == WEIGHT_LIMIT
    step = 2.0 ** (exponents + even)
    largest = limit // 2 if even else limit
    return np.clip(np.round(units / step), -largest, largest) * step


def quantize_projection(
    projection: Projection,
    scale: Floats,
    unit: Floats,
    whole: bool,
    groups: int = MAX_GROUPS,
    host: float | None = None,
) -> tuple[FixedProjection, float]:
    """Quantise the weights of a projection.

    With 8 bits and one exponent, weights would have errors of 1 / 254 of the largest. A chip's synapses can have
    several exponents:

    - Whole messages (spikes): each weight has the exponent of its own size, from that of the largest down to -1. The
      number of exponents is the smallest with which the sum of errors is within 10 % of the best, at most ``groups``,
      and the axons fit in a core.
    - Graded messages: each neuron's weights have the exponent of its largest, since sums are rounded down once.
    - kron(A, W): one exponent.
    - Into populations that the host computes: 16 bits, or fewer if sums would exceed 32 bits.

    Args:
        projection: Projection of the float network.
        scale: Scale of the target, in units of a per unit of potential, shape (M,).
        unit: NIR's units per unit of the messages, shape () or (n,).
        whole: Whether messages are whole numbers.
        groups: Largest number of exponents.
        host: The largest message, if the host computes the target; else None.

    Returns:
        The projection, and the largest error of a weight as a fraction of the largest weight.
    """
    taps = {delay: to_units(weight, scale, unit) for delay, weight in projection.taps.items()}
    rows, sources = next(iter(taps.values())).shape
    largest = max((largest_entry(weight) for weight in taps.values()), default=0.0)
    top = min(max(int(exponents_of(np.array(largest))), WEIGHT_EXPONENTS.start), WEIGHT_EXPONENTS.stop - 1)
    top = top if largest > 0 else 0
    made: dict[int, Operator] = {}
    error = 0.0
    if any(isinstance(weight, Kron) for weight in taps.values()):
        made = {delay: one_exponent(weight, top) for delay, weight in taps.items()}
        weight_exp = np.full(rows, top)
        error = max(kron_error(taps[delay], made[delay], top) for delay in taps)
    else:
        matrices = {delay: expanded(weight, 0) for delay, weight in taps.items()}
        limit = WEIGHT_LIMIT
        if host is not None:
            limit = HOST_WEIGHT_LIMIT
            sums = np.sum([np.asarray(abs(m).sum(axis=1)).reshape(-1) for m in matrices.values()], axis=0)
            size = np.maximum(largest_by_row(matrices.values()), sums * host * limit / (ACCUMULATOR_LIMIT // 2))
            weight_exp = np.clip(exponents_of(size, limit), HOST_EXPONENTS.start, HOST_EXPONENTS.stop - 1)
            by_entry = {delay: np.repeat(weight_exp, np.diff(m.indptr)) for delay, m in matrices.items()}
        elif whole and largest >= COARSE_WEIGHT:
            top = max(top, EXACT)
            least = max(EXACT, top - fewest_groups(matrices.values(), top, min(groups, MAX_AXONS // sources)) + 1)
            by_entry = {delay: np.clip(exponents_of(m.data), least, top) for delay, m in matrices.items()}
            weight_exp = np.full(rows, least)
        else:
            size = largest_by_row(matrices.values())
            least = max(top - (1 if whole else groups) + 1, WEIGHT_EXPONENTS.start)
            weight_exp = np.clip(exponents_of(size), least, top)
            by_entry = {delay: np.repeat(weight_exp, np.diff(m.indptr)) for delay, m in matrices.items()}
        for delay, m in matrices.items():
            rounded = round_weights(m.data, by_entry[delay], limit)
            error = max(error, float(np.abs(rounded - m.data).max(initial=0.0)))
            data = np.round(rounded / 2.0 ** np.repeat(weight_exp, np.diff(m.indptr))).astype(np.int32)
            made[delay] = sparse.csr_matrix((data, m.indices, m.indptr), m.shape)
    relative = error / largest if largest > 0 else 0.0
    exponents = weight_exp.astype(np.int32)
    fixed = FixedProjection(
        projection.source, projection.target, made, projection.identity, weight_exp=exponents, host=host is not None
    )
    return fixed, relative


def fewest_groups(matrices: Iterable[sparse.csr_matrix], top: int, most: int) -> int:
    """Number of exponents, from ``top`` down, that weights of whole messages need; see :func:`quantize_projection`."""
    most = max(1, min(most, top - EXACT + 1))
    errors = np.zeros(most)
    for m in matrices:
        if m.shape[0] > 256:  # A sample of the neurons is enough.
            m = m[:: -(-m.shape[0] // 256)]
        own = exponents_of(m.data)
        for k in range(most):
            off = np.abs(round_weights(m.data, np.clip(own, top - k, top)) - m.data)
            sums = np.add.reduceat(np.append(off, 0.0), m.indptr[:-1]) * (np.diff(m.indptr) > 0)
            errors[k] += sums.sum()
    return int(np.argmax(errors <= 1.1 * errors[-1])) + 1


def to_units(weight: Operator, scale: Floats, unit: Floats) -> Operator:
    """Weights in units of a per unit of the messages: scale weight unit. A Kronecker product stays one if it can."""
    if isinstance(weight, Kron) and unit.size == 1:
        return weight.scale_rows(scale * unit.reshape(-1))
    matrix = expanded(weight, 0)
    rows = np.repeat(scale, np.diff(matrix.indptr))
    columns = np.broadcast_to(unit, matrix.shape[1])[matrix.indices]
    return sparse.csr_matrix((matrix.data * rows * columns, matrix.indices, matrix.indptr), matrix.shape)


def one_exponent(weight: Operator, exponent: int) -> Operator:
    """Weights as even integers with one exponent. A Kronecker product with few distinct factors stays one."""
    if isinstance(weight, Kron) and (fixed := quantize_kron(weight, 2.0**-exponent)) is not None:
        return fixed
    matrix = expanded(weight, 0)
    data = np.round(round_weights(matrix.data, np.full(len(matrix.data), exponent)) / 2.0**exponent)
    return sparse.csr_matrix((data.astype(np.int32), matrix.indices, matrix.indptr), matrix.shape)


def kron_error(exact: Operator, made: Operator, exponent: int) -> float:
    """Largest error of a weight of :func:`one_exponent`, in units."""
    if isinstance(exact, Kron) and isinstance(made, FixedKron):
        return rounding_error(exact, made, 2.0**-exponent) * 2.0**exponent
    difference = expanded(made, 0).data * 2.0**exponent - expanded(exact, 0).data
    return float(np.abs(difference).max(initial=0.0))


def group_of(weights: NDArray, weight_exp: NDArray | int) -> NDArray[np.int64]:
    """The exponent of each synapse of a :class:`FixedProjection`, given its weight and its neuron's ``weight_exp``."""
    return weight_exp + np.maximum(exponents_of(weights.astype(np.float64)), 0)


def synapse_exponents(projection: FixedProjection) -> list[int]:
    """The exponents of a projection's synapses, ascending: the keys of :func:`synapse_groups`.

    A Kronecker product is not expanded. That would take 12 bytes a synapse: 17 GB for the graphs of 100 photographs.
    """
    found: set[int] = set()
    for operator in projection.taps.values():
        inner = operator.operator if isinstance(operator, Repeated) else operator
        if isinstance(inner, FixedKron):
            weights = inner.weights[np.unique(inner.classes.data)]
            (shared,) = np.unique(projection.weight_exp)  # quantize_projection gives it one
            exponents = group_of(weights[weights != 0], shared)
        else:
            matrix = expanded(inner, 0)
            per_entry = np.repeat(projection.weight_exp[: matrix.shape[0]], np.diff(matrix.indptr))
            exponents = group_of(matrix.data, per_entry)[matrix.data != 0]
        found |= set(np.unique(exponents).tolist())
    return sorted(found)


def synapse_groups(projection: FixedProjection) -> dict[int, dict[int, sparse.csr_matrix]]:
    """A projection as chips hold it: even weights in +-254 by exponent and delay, int32, shape (M, sources)."""
    out: dict[int, dict[int, sparse.csr_matrix]] = {}
    for delay, operator in projection.taps.items():
        matrix = expanded(operator, 0).tocsr()
        per_entry = np.repeat(projection.weight_exp, np.diff(matrix.indptr))
        exponents = group_of(matrix.data, per_entry)
        for exponent in np.unique(exponents[matrix.data != 0]).tolist():
            chosen = (exponents == exponent) & (matrix.data != 0)
            data = np.where(chosen, matrix.data >> np.maximum(exponent - per_entry, 0), 0).astype(np.int32)
            group = sparse.csr_matrix((data, matrix.indices, matrix.indptr), matrix.shape, copy=True)
            group.eliminate_zeros()
            out.setdefault(exponent, {})[delay] = group
    return out
