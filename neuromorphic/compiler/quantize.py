"""Folded networks in Loihi's fixed-point numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.network import GRADED, SUBTRACT, SUM, Levels, Network, Population, Projection
from neuromorphic.compiler.operators import (
    FixedKron,
    Floats,
    Kron,
    Operator,
    even_integers,
    expanded,
    quantize_kron,
    rounding_error,
    signed_row_sums,
)
from neuromorphic.errors import UnsupportedGraphError

Ints = NDArray[np.int32]

WEIGHT_LIMIT = 254
"""Largest 8-bit weight of mixed sign: the sign takes the lowest bit, so weights are even."""
WEIGHT_EXPONENTS = range(-8, 8)
"""Shared exponent of a projection's weights: 3 bits and sign."""
MESSAGE_LIMIT = 2**15 - 1
"""Largest graded message, 16 bits and sign included."""
ALIGNMENT = 6
"""Synaptic sums and thresholds are shifted left by so many bits to meet the 24-bit current and potential."""
STATE_LIMIT = 2**23
"""Current and potential are below it: the current wraps around there, the potential stays."""
ACTIVATION_LIMIT = 2**17 - 1
"""Largest synaptic sum, and threshold: what the alignment leaves of the state's range."""
DECAY_UNITY = 2**12
"""Decay constants are 12-bit fractions; the current's register is taken plus one, the potential's as it is."""
ACCUMULATOR_LIMIT = 2**31 - 1
"""Largest synaptic sum before the weight exponent is applied (32 bits in Lava's model)."""
GRADED_SHIFT = 8
"""Graded populations send their potential without its lowest bits: 16 of 24 remain."""
THETA_EXPONENTS = range(6, 12)
"""Exponents of the threshold of a population that resets by subtraction, which is a power of two: see
:func:`quantize_population`."""
FINE_THRESHOLD = 2**10
"""With a threshold of so many units a scale is taken as fine enough; see :func:`drive_limit`."""


@dataclass(frozen=True)
class FixedPopulation(Population):
    """A population in integers; :mod:`neuromorphic.execution.populations` runs it.

    du and dv are in units of 1 / 4096 (du 1 to 4096, dv 0 to 4095), thresholds and biases in those of the synaptic sum
    a, int32. A threshold of kind ``subtract`` is 2 theta.

    Attributes:
        scale: Units of a per unit of the float network's potential, shape (M,).
        report: The numbers that describe the quantisation, by name.
    """

    scale: Floats
    report: Mapping[str, float | int]


@dataclass(frozen=True)
class FixedProjection(Projection):
    """Synapses with even integer weights in +-254, int32: a = sum over taps of (weight m) 2^weight_exp, rounded down.

    Attributes:
        weight_exp: In :data:`WEIGHT_EXPONENTS`.
    """

    weight_exp: int = 0


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
        shift = GRADED_SHIFT - ALIGNMENT if population.kind == GRADED else 0
        return 2.0**shift / population.scale

    def report(self) -> dict[str, dict[str, Any]]:
        """Per population how it was quantised, and the weight exponent of each projection into it."""
        return {
            p.name: dict(p.report)
            | {f"weight_exp from {q.source}": q.weight_exp for q in self.into(p.name) if isinstance(q, FixedProjection)}
            for p in self.populations
            if isinstance(p, FixedPopulation)
        }


@dataclass(frozen=True)
class Ranges:
    """What was observed in a run of the float network, by population or input.

    Attributes:
        messages: Largest absolute value sent.
        current: Largest |u|.
        potential: Largest |w|.
    """

    messages: Mapping[str, float]
    current: Mapping[str, float]
    potential: Mapping[str, float]


def quantize(network: Network, ranges: Ranges) -> FixedNetwork:
    """Choose each population's scale from its weights and thresholds, and from what was observed.

    Raises:
        UnsupportedGraphError: a population that resets by subtraction has a threshold of 0.
    """
    limits = {p.name: drive_limit(network, p, ranges) for p in network.populations}
    message_scale = {name: input_scale(network, name, limits, ranges) for name in network.inputs}
    populations: dict[str, FixedPopulation] = {}
    units: dict[str, Floats] = {name: np.array(1 / scale) for name, scale in message_scale.items()}
    # Scales first: recurrent projections need those of populations that come later.
    scales = {p.name: population_scale(network, p, limits[p.name], message_scale) for p in network.populations}
    direct = {q.target: q.source for q in network.projections if network.is_direct(q)}
    for name, source in direct.items():
        scales[name] = direct_scale(network, source, scales, message_scale)
    for p in network.populations:
        populations[p.name] = quantize_population(p, scales[p.name])
        units[p.name] = np.array(1.0) if p.spikes else FixedNetwork.message_unit(populations[p.name])
    errors: dict[str, list[float]] = {p.name: [0.0] for p in network.populations}
    projections = []
    for projection in network.projections:
        if projection.target in direct:
            one = sparse.identity(network.size(projection.source), dtype=np.int32, format="csr")
            projections.append(FixedProjection(projection.source, projection.target, {0: one}, True))
            continue
        fixed, error = quantize_projection(projection, populations[projection.target].scale, units[projection.source])
        projections.append(fixed)
        errors[projection.target].append(error)
    for name, population in populations.items():
        report = {**population.report, "weight_error": max(errors[name])}
        populations[name] = FixedPopulation(**{**vars(population), "report": report})
    return FixedNetwork(network.inputs, tuple(populations.values()), tuple(projections), network.dt, message_scale)


def direct_scale(
    network: Network, source: str, scales: Mapping[str, Floats], message_scale: Mapping[str, float]
) -> Floats:
    """Scale of an output that is just what a population or input sends."""
    size = network.size(source)
    if source in network.inputs:
        return np.full(size, message_scale[source])
    graded = not network.population(source).spikes
    return scales[source] * 2.0 ** (ALIGNMENT - GRADED_SHIFT) if graded else np.ones(size)


def largest_weight(projection: Projection) -> float:
    """Largest |weight| of a projection."""
    return max(largest_entry(weight) for weight in projection.taps.values())


def largest_entry(weight: Operator) -> float:
    """Largest |entry| of an operator."""
    if isinstance(weight, Kron):
        return weight.largest()
    return float(np.abs(expanded(weight, 0).data).max(initial=0.0))


def row_sums(weight: Operator) -> Floats:
    """Sums of the absolute values in each row."""
    assert not isinstance(weight, FixedKron)
    positive, negative = signed_row_sums(weight)
    return positive - negative


def drive_limit(network: Network, population: Population, ranges: Ranges) -> Floats:
    """What the current u of each neuron stays below, shape (M,).

    What it could reach, were all messages at their worst for ever. Where that would leave a coarse threshold and is
    far from what was observed, four times what was observed; an overflow is then possible, and is counted in each run.
    """
    a = np.abs(population.bias.values).max(axis=0, initial=0.0)
    for projection in network.into(population.name):
        largest = 1.0 if source_spikes(network, projection.source) else 2 * ranges.messages[projection.source]
        if projection.source in network.inputs:
            largest = ranges.messages[projection.source]
        for weight in projection.taps.values():
            a = a + largest * row_sums(weight)
    worst = a / population.du if population.size else a
    observed = np.full(population.size, 4 * ranges.current[population.name])
    threshold = population.threshold.max(initial=0.0) if population.spikes else ranges.potential[population.name]
    coarse = ACTIVATION_LIMIT * threshold < FINE_THRESHOLD * worst.max(initial=0.0)
    return np.minimum(worst, observed) if coarse and observed.any() else worst


def source_spikes(network: Network, name: str) -> bool:
    """Whether a projection's source sends spikes."""
    return name not in network.inputs and network.population(name).spikes


def room(population: Population, limit: Floats) -> float:
    """Largest scale with which a population's currents, thresholds and potentials fit; 2 % are left for rounding."""
    largest = max(limit.max(initial=0.0), 1e-30)
    if population.spikes:
        largest = max(largest, population.threshold.max(initial=0.0))
    return 0.98 * ACTIVATION_LIMIT / largest


def input_scale(network: Network, name: str, limits: Mapping[str, Floats], ranges: Ranges) -> float:
    """Scale of an input's messages: all of their bits, unless a weight exponent would have to be below its range."""
    largest = ranges.messages[name]
    scale = MESSAGE_LIMIT / largest if largest > 0 else 1.0
    for projection in network.projections:
        weight = largest_weight(projection)
        if projection.source == name and weight > 0:
            target = network.population(projection.target)
            rows = max(row_sums(w).max(initial=0.0) / weight for w in projection.taps.values())
            largest_scale = room(target, limits[target.name])
            if target.kind == SUBTRACT:  # Its thresholds are given, and with them its scale, which may be far smaller.
                own = population_scale(network, target, limits[target.name], {})
                largest_scale = min(largest_scale, float(own.min(initial=largest_scale)))
            scale = min(scale, largest_scale * weight / WEIGHT_LIMIT / 2.0**WEIGHT_EXPONENTS.start)
            scale = min(scale, ACCUMULATOR_LIMIT / WEIGHT_LIMIT / rows / max(largest, 1e-30))
    return scale


def population_scale(
    network: Network, population: Population, limit: Floats, message_scale: Mapping[str, float]
) -> Floats:
    """Units of a per unit of potential, shape (M,).

    The largest for which all fits and the largest weight of the projection that can bring most is just 254, times a
    power of two. Where the reset is by subtraction, the threshold is to be 2^(n + 1), for every neuron by a scale of
    its own, see :func:`quantize_population`.
    """
    largest = room(population, limit)
    if population.kind == SUBTRACT:
        if not (population.threshold > 0).all():
            raise UnsupportedGraphError(
                f"node '{population.name}': in fixed point a reset by subtraction needs v_threshold above 0"
            )
        relative = (np.maximum(limit, population.threshold) / population.threshold).max(initial=1.0)
        exponent = int(np.floor(np.log2(0.98 * ACTIVATION_LIMIT / relative))) - 1
        exponent = min(max(exponent, THETA_EXPONENTS.start), THETA_EXPONENTS.stop - 1)
        return 2.0 ** (exponent + 1) / population.threshold
    units = [
        WEIGHT_LIMIT / largest_weight(p) * message_scale.get(p.source, 1.0)
        for p in network.into(population.name)
        if largest_weight(p) > 0 and (p.source in network.inputs or source_spikes(network, p.source))
    ]
    scale = largest
    if units:
        exponent = np.floor(np.log2(largest / min(units)))
        # Weights that are tiny beside the threshold keep fewer of their bits.
        scale = min(units) * 2.0 ** min(exponent, WEIGHT_EXPONENTS.stop - 1)
    return np.full(population.size, scale)


def decay_registers(p: Population) -> tuple[Floats, Floats]:
    """du and dv in units of 1 / 4096, rounded and clipped to what registers hold; a leak never becomes none."""
    du = np.clip(np.round(DECAY_UNITY * p.du), 1, DECAY_UNITY)
    dv = np.clip(np.round(DECAY_UNITY * p.dv), np.where(p.dv > 0, 1, 0), DECAY_UNITY - 1)
    return du, dv


def quantize_population(p: Population, scale: Floats) -> FixedPopulation:
    """A population in integers.

    Reset by subtraction is ``lava.proc.atrlif.ATRLIF`` with v measured from -theta, so that v rests at -theta and the
    neuron fires when v - r >= theta. The bias that holds v there, dv theta / 4096 in the state's units, must be exact:
    with theta = 2^n, n >= 6, it is dv 2^(n - 6).
    """
    exact_du, exact_dv = np.round(DECAY_UNITY * p.du), np.round(DECAY_UNITY * p.dv)
    du, dv = decay_registers(p)
    threshold = np.round(scale * p.threshold) if p.spikes else np.zeros(p.size)
    drift = np.abs(threshold / scale - p.threshold).max(initial=0.0) if p.spikes else 0.0
    report = {
        "scale": float(scale.max(initial=0.0)),
        "threshold": int(threshold.max(initial=0)),
        "threshold_error": float(drift),
        "decay_error": float(
            max(np.abs(du / DECAY_UNITY - p.du).max(initial=0), np.abs(dv / DECAY_UNITY - p.dv).max(initial=0))
        ),
        "decay_clipped": int((dv != exact_dv).sum() + (du != exact_du).sum()) if p.kind != SUM else 0,
    }
    values = np.round(scale * p.bias.values).astype(np.int32)
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
    )


def quantize_projection(projection: Projection, scale: Floats, unit: Floats) -> tuple[FixedProjection, float]:
    """Weights in integers, for a target of ``scale`` and messages of ``unit`` (NIR's units per message unit).

    Returns:
        The projection, and the largest error of a weight as a fraction of the largest weight.
    """
    taps = {delay: to_units(weight, scale, unit) for delay, weight in projection.taps.items()}
    largest = max((largest_entry(weight) for weight in taps.values()), default=0.0)
    exponent = int(np.ceil(np.log2(largest / WEIGHT_LIMIT * (1 - 1e-12)))) if largest > 0 else 0
    exponent = min(max(exponent, WEIGHT_EXPONENTS.start), WEIGHT_EXPONENTS.stop - 1)
    integers: dict[int, Operator] = {}
    error = 0.0
    for delay, weight in taps.items():
        integers[delay], own = rounded(weight, 2.0**-exponent)
        error = max(error, own)
    relative = error / (largest / 2.0**exponent) if largest > 0 else 0.0
    return FixedProjection(projection.source, projection.target, integers, projection.identity, exponent), relative


def to_units(weight: Operator, scale: Floats, unit: Floats) -> Operator:
    """Weights that give units of a for messages: scale weight unit; a Kronecker product stays one if it can."""
    if isinstance(weight, Kron) and unit.size == 1:
        return weight.scale_rows(scale * unit.reshape(-1))
    matrix = expanded(weight, 0)
    rows = np.repeat(scale, np.diff(matrix.indptr))
    columns = np.broadcast_to(unit, matrix.shape[1])[matrix.indices]
    return sparse.csr_matrix((matrix.data * rows * columns, matrix.indices, matrix.indptr), matrix.shape)


def rounded(weight: Operator, unit: float) -> tuple[Operator, float]:
    """``unit`` times weights, rounded to even integers in range, and the largest error."""
    if isinstance(weight, Kron) and (fixed := quantize_kron(weight, unit)) is not None:
        return fixed, rounding_error(weight, fixed, unit)
    matrix = expanded(weight, 0)
    values = np.clip(even_integers(matrix.data, unit), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    error = float(np.abs(values - unit * matrix.data).max(initial=0.0))
    return sparse.csr_matrix((values, matrix.indices, matrix.indptr), matrix.shape), error
