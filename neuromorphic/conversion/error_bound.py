"""A bound of the difference between fixed point and float."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neuromorphic.compiler.network import Network, Population, Projection
from neuromorphic.compiler.operators import expanded
from neuromorphic.compiler.quantize import (
    BIAS_FRACTION,
    DECAY_UNITY,
    EXACT,
    FixedNetwork,
    FixedPopulation,
    FixedProjection,
    Ranges,
)
from neuromorphic.graph import Floats


def spike_margins(network: Network, fixed: FixedNetwork, ranges: Ranges, steps: int) -> dict[str, Floats]:
    """How close to the threshold a float potential must be where the spikes of fixed point first differ.

    As long as a population and its sources spike as in float, and no register overflows, the two potentials w differ by
    at most e_w, and the thresholds by e_th. So in the step in which a neuron's spike first differs, the float run has
    |w - threshold| <= e_w + e_th. Let s be the scale, q = 1 / (64 s) the state's unit (1 / s on the host), and U and V
    the largest |u| and |w| of the float run. Hats mark values of fixed point. Then

    e_a = sum_j (|w^_ij - w_ij| M_j + |w^_ij| e_m) + |bias^ - bias| + n / s
    e_u <- (1 - du^) e_u + |du^ - du| U + e_a + q
    e_w <- (1 - dv^) e_w + |dv^ - dv| V + e_u + q

    from 0, for all steps of the run. M_j bounds the messages of source j, and e_m their error: 0 for spikes, half a
    unit for an input that is not whole, e_w plus one unit for a graded population. n is the number of taps whose sums
    are rounded down: those with exponents below -1, or below 0 for 16-bit weights. A bias that is not a whole number of
    units is sent as whole units, whose sum is within one unit of the exact sum. So e_w grows by 2 / (du^ s) at the end,
    twice the peak of w after one unit in a. After a reset the errors are smaller, so the bound still holds. Loops of
    graded populations have no bound.

    Args:
        network: The float network.
        fixed: The quantised network.
        ranges: Ranges of the float run.
        steps: Length of the run.

    Returns:
        e_w + e_th for each spiking population and e_w for each graded one, shape (M,), in units of the float network's
        potential.
    """
    errors: dict[str, Floats] = {}
    for population in network.populations:
        quantized = fixed.population(population.name)
        assert isinstance(quantized, FixedPopulation)
        scale = quantized.scale
        units = levels(quantized) / 2.0**BIAS_FRACTION
        e_a = np.abs(units / scale - levels(population)).max(axis=0, initial=0.0)
        uneven = (units != np.round(units)).any(axis=0)
        for exact, ours in zip(network.into(population.name), fixed.into(population.name), strict=True):
            if network.is_direct(exact):
                continue
            assert isinstance(ours, FixedProjection)
            e_a = e_a + projection_error(network, fixed, exact, ours, scale, ranges, errors)
        q = 1 / (2.0**quantized.alignment * scale)
        du, dv = quantized.du / DECAY_UNITY, quantized.dv / DECAY_UNITY
        u_drift = np.abs(du - population.du) * ranges.current[population.name]
        v_drift = np.abs(dv - population.dv) * ranges.potential[population.name]
        e_u, e_w = np.zeros(population.size), np.zeros(population.size)
        for _ in range(steps):
            e_u = decayed(du, e_u) + u_drift + e_a + q
            e_w = decayed(dv, e_w) + v_drift + e_u + q
        e_w = e_w + np.where(uneven, 2 / (du * scale), 0.0)
        e_th = np.abs(quantized.threshold / scale - population.threshold) if population.spikes else 0.0
        errors[population.name] = e_w + e_th
    return {p.name: errors[p.name] for p in network.populations if p.kind != "sum"}


def decayed(decay: Floats, error: Floats) -> Floats:
    """(1 - decay) error; 0 where the decay is 1, also for an infinite error."""
    return (1 - decay) * np.where(decay < 1, error, 0.0)


def levels(population: Population) -> Floats:
    """All values of a population's bias."""
    return np.asarray(population.bias.values, np.float64)


def projection_error(
    network: Network,
    fixed: FixedNetwork,
    exact: Projection,
    ours: FixedProjection,
    scale: Floats,
    ranges: Ranges,
    errors: Mapping[str, Floats],
) -> Floats:
    """e_a of one projection, see :func:`spike_margins`."""
    source = exact.source
    largest, unit, e_m = ranges.messages[source], np.array(1.0), np.array(0.0)
    if source in network.inputs:
        unit = np.array(1 / fixed.message_scale[source])
        whole = source in ranges.whole and fixed.message_scale[source] == 1
        e_m = 0.0 * unit if whole else 0.5 * unit
    elif not network.population(source).spikes:
        unit = fixed.message_unit(fixed.population(source))
        e_m = unit + errors.get(source, np.array(np.inf))
    else:
        largest = 1.0
    total = np.zeros(len(scale))
    for delay, operator in exact.taps.items():
        dense = expanded(operator, 0).toarray()
        back = expanded(ours.taps[delay], 0).toarray() * 2.0 ** ours.weight_exp[:, None] / (scale[:, None] * unit)
        carried = np.abs(back) * np.where(back == 0, 0.0, e_m)
        total = total + (np.abs(back - dense) * largest).sum(axis=1) + carried.sum(axis=1)
        total = total + np.where(ours.weight_exp < (0 if ours.host else EXACT), 1 / scale, 0.0)
    return total
