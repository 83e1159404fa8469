"""What conversion does to a graph: parameters before and after, neurons that never or always fire, a chip's limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neuromorphic.compiler.limits import Limits
from neuromorphic.compiler.network import GRADED, LIF, SUM, Network, Population
from neuromorphic.compiler.operators import expanded, signed_row_sums
from neuromorphic.compiler.quantize import (
    ALIGNMENT,
    DECAY_UNITY,
    STATE_LIMIT,
    FixedNetwork,
    FixedPopulation,
    FixedProjection,
)
from neuromorphic.compiler.schedule import schedule
from neuromorphic.graph import Floats, Graph

Bounds = Mapping[str, tuple[float, float]]
"""Smallest and largest value that an input or graded population sends, by name; one that is not named is unbounded."""


def span(values: Floats) -> list[float]:
    """Smallest and largest of values; empty where there are none."""
    return [float(values.min()), float(values.max())] if np.size(values) else []


FOLDED = ("r", "v_leak", "v_reset", "w_in")
"""NIR's parameters that only weights, biases and thresholds are left of."""


def parameters(graph: Graph, network: Network, fixed: FixedNetwork) -> dict[str, dict[str, Any]]:
    """Per population and parameter: ``before`` (float), ``integers``, ``after`` (what the integers stand for), each as
    smallest and largest, and ``error``, the largest difference of the two. NIR's own parameters first, then weights and
    bias as they are once gains are folded in; of :data:`FOLDED` only ``before`` is there."""
    out: dict[str, dict[str, Any]] = {}
    for p in network.populations:
        q = fixed.population(p.name)
        assert isinstance(q, FixedPopulation)
        if p.kind == SUM and all(network.is_direct(projection) for projection in network.into(p.name)):
            continue
        own = {name: x.reshape(-1) for name, x in graph.nodes[p.name].parameters.items() if np.size(x) == p.size}
        pairs: dict[str, tuple[Floats, Any, Floats]] = {}
        for name in ("tau", "tau_mem", "tau_syn"):
            if name in own:
                integers = q.du if name == "tau_syn" else q.dv
                pairs[name] = own[name], integers, graph.dt * DECAY_UNITY / integers
        for name in ("v_threshold", "threshold"):
            if name in own:
                pairs[name] = own[name], q.threshold, q.threshold / q.scale + p.offset
        if len(p.bias.values):
            pairs["bias"] = (p.bias.values, q.bias.values, q.bias.values / q.scale)
        rows = {
            name: {
                "before": span(a),
                "integers": span(i),
                "after": span(b),
                "error": float(np.abs(a - b).max(initial=0)),
            }
            for name, (a, i, b) in pairs.items()
        }
        rows |= {name: {"before": span(own[name]), "integers": [], "after": []} for name in FOLDED if name in own}
        for exact, ours in zip(network.into(p.name), fixed.into(p.name), strict=True):
            assert isinstance(ours, FixedProjection)
            rows[f"weight from {exact.source}"] = weights(network, fixed, exact, ours, q)
        out[p.name] = rows
    return out


def weights(
    network: Network, fixed: FixedNetwork, exact: Any, ours: FixedProjection, q: FixedPopulation
) -> dict[str, Any]:
    """The row of one projection's weights, and their exponent."""
    unit = np.array(1.0)
    if exact.source in network.inputs:
        unit = np.array(1 / fixed.message_scale[exact.source])
    elif not network.population(exact.source).spikes:
        unit = fixed.message_unit(fixed.population(exact.source))
    before, integers, after, error = [], [], [], 0.0
    for delay, operator in exact.taps.items():
        a, i = expanded(operator, 0), expanded(ours.taps[delay], 0)
        rows = np.repeat(q.scale, np.diff(i.indptr)) * np.broadcast_to(unit, i.shape[1])[i.indices]
        back = type(i)((i.data * 2.0**ours.weight_exp / rows, i.indices, i.indptr), shape=i.shape)
        before.append(a.data)
        integers.append(i.data)
        after.append(back.data)
        error = max(error, float(abs(back - a).max()) if a.shape[1] else 0.0)
    spans = {key: span(np.concatenate(v)) for key, v in (("before", before), ("integers", integers), ("after", after))}
    return {**spans, "error": error, "weight_exp": ours.weight_exp}


def drive(network: Network, population: Population, bounds: Bounds) -> tuple[Floats, Floats]:
    """Bounds of what a population gets in a step, shape (M,) each; infinite where a source is not bounded."""
    levels = population.bias.values
    if not population.bias.start or population.bias.start[0] > 0:
        levels = np.concatenate([np.zeros((1, population.size)), levels])
    low, high = levels.min(axis=0), levels.max(axis=0)
    for projection in network.into(population.name):
        known = projection.source not in network.inputs and network.population(projection.source).spikes
        least, most = (0.0, 1.0) if known else bounds.get(projection.source, (-np.inf, np.inf))
        # Before a message can arrive there is none.
        least, most = min(least, 0.0), max(most, 0.0)
        for operator in projection.taps.values():
            positive, negative = signed_row_sums(operator)
            with np.errstate(invalid="ignore"):
                low = low + np.nan_to_num(positive * least, nan=0.0, neginf=-np.inf)
                low = low + np.nan_to_num(negative * most, nan=0.0, neginf=-np.inf)
                high = high + np.nan_to_num(positive * most, nan=0.0, posinf=np.inf)
                high = high + np.nan_to_num(negative * least, nan=0.0, posinf=np.inf)
    return low, high


def firing(network: Network, bounds: Bounds) -> dict[str, dict[str, list[int]]]:
    """Neurons that can never fire and such that fire in every step, by population, whatever comes within the bounds.

    With a the most that a neuron gets in a step, u <= a / du and w <= u / dv, from rest (0 where a < 0, no bound for
    dv = 0): it never fires where that does not exceed the threshold. With a the least, w >= a after any spike: it
    always fires where a exceeds the threshold.
    """
    out: dict[str, dict[str, list[int]]] = {}
    for p in network.populations:
        if not p.spikes:
            continue
        low, high = drive(network, p, bounds)
        with np.errstate(divide="ignore", invalid="ignore"):
            top = np.where(high > 0, high / p.du / p.dv, 0.0)
        never, always = np.flatnonzero(top <= p.threshold), np.flatnonzero(low > p.threshold)
        if len(never) or len(always):
            out[p.name] = {"never": never.tolist(), "always": always.tolist()}
    return out


def saturation(fixed: FixedNetwork, network: Network, bounds: Bounds) -> dict[str, dict[str, int]]:
    """Neurons whose current could wrap around, and whose potential could reach its lower limit, were all messages at
    their worst for ever; by population. Unbounded sources are left out."""
    out: dict[str, dict[str, int]] = {}
    for p in network.populations:
        q = fixed.population(p.name)
        assert isinstance(q, FixedPopulation)
        if p.kind == SUM:
            continue
        low, high = (np.nan_to_num(bound * q.scale, posinf=0.0, neginf=0.0) for bound in drive(network, p, bounds))
        largest = np.maximum(np.abs(low), np.abs(high)) * DECAY_UNITY / q.du * 2**ALIGNMENT
        with np.errstate(divide="ignore"):
            deepest = np.where(low < 0, -low * DECAY_UNITY / q.du * DECAY_UNITY / q.dv * 2**ALIGNMENT, 0.0)
        counts = {"may_wrap": int((largest > STATE_LIMIT).sum()), "may_saturate": int((deepest >= STATE_LIMIT).sum())}
        if any(counts.values()):
            out[p.name] = counts
    return out


def fit(network: Network, limits: Limits) -> dict[str, Any]:
    """Whether a chip holds a network: ``broken`` and ``notes``, one line each that names the node, and the cores that
    each population takes at least: as many as its neurons, and its synapses of one byte, fill."""
    plan = schedule(network)
    broken: list[str] = []
    notes: list[str] = []
    cores: dict[str, int] = {}
    for p in network.populations:
        if p.kind == SUM:
            continue
        into = network.into(p.name)
        synapses = sum(operator.nnz for projection in into for operator in projection.taps.values())
        cores[p.name] = max(-(-p.size // limits.neurons), -(-synapses // limits.synapse_bytes), 1)
        fan_in = sum(
            np.diff(expanded(operator, 0).indptr) for projection in into for operator in projection.taps.values()
        )
        if into and int(np.max(fan_in)) > limits.axons:
            broken.append(
                f"node '{p.name}': a neuron with {int(np.max(fan_in)):,} synapses, {limits.axons:,} axons reach a core"
            )
        if p.kind == GRADED:
            broken.append(f"node '{p.name}' sends its potential; no process of Lava's does on the chip: end in spikes")
        kinds = len({*zip(p.du.tolist(), p.dv.tolist(), strict=True)})
        if kinds > 1:
            notes.append(f"node '{p.name}' has {kinds} pairs of decays; the chip takes one: it is split into {kinds}")
        if p.kind == LIF and len(np.unique(p.threshold)) > 1:
            notes.append(f"node '{p.name}' has several thresholds; they are folded into weights")
        if p.bias.start and plan.lags[p.name] > 0:
            notes.append(
                f"node '{p.name}': its bias has to come from the host, {plan.lags[p.name]} steps after the start"
            )
    for source, target in sorted(plan.instant):
        broken.append(
            f"nodes '{source}' and '{target}' read each other, one in the same step: put a Delay into the loop"
        )
    for (source, target), waits in plan.waits.items():
        if max(waits.values()) > limits.delay:
            broken.append(
                f"from '{source}' to '{target}': {max(waits.values())} steps of delay, at most {limits.delay}"
            )
    total = sum(cores.values())
    if total > limits.cores:
        broken.append(
            f"{total:,} cores are needed at least, a chip has {limits.cores}: {-(-total // limits.cores)} chips"
        )
    return {"chip": limits.name, "source": limits.source, "cores": cores, "broken": broken, "notes": notes}
