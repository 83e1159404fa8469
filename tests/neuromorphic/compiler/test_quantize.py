"""Fixed-point networks: numbers fit their registers, and values come back within half a unit."""

from __future__ import annotations

import nir
import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import DT, SCENARIOS, Scenario, chain, impulse, lif, reference_spikes

from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.operators import expanded
from neuromorphic.compiler.quantize import (
    ACTIVATION_LIMIT,
    WEIGHT_EXPONENTS,
    FixedNetwork,
    FixedPopulation,
    FixedProjection,
    quantize,
)
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten


def quantized(graph: nir.NIRGraph, x: np.ndarray) -> tuple[Network, FixedNetwork]:
    network = lower(flatten(graph))
    return network, quantize(network, run(network, {"input": x}).ranges)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_numbers_fit_their_registers_whatever_comes(scenario: Scenario) -> None:
    _, fixed = quantized(scenario.graph, scenario.x)
    largest = {"input": int(np.abs(fixed.messages("input", scenario.x)).max(initial=0))}
    for population in fixed.populations:
        assert isinstance(population, FixedPopulation)
        total = np.abs(population.bias.values).max(axis=0, initial=0).astype(float)
        for projection in fixed.into(population.name):
            assert isinstance(projection, FixedProjection) and projection.weight_exp in WEIGHT_EXPONENTS
            for operator in projection.taps.values():
                weights = expanded(operator, 0)
                if not fixed.is_direct(projection):
                    assert np.abs(weights.data).max(initial=0) <= 254 and not (weights.data % 2).any()
                accumulated = np.asarray(abs(weights).sum(axis=1)).reshape(-1) * largest.get(projection.source, 1)
                assert accumulated.max(initial=0) < 2**31
                total = total + accumulated * 2.0**projection.weight_exp
        assert total.max(initial=0) <= ACTIVATION_LIMIT
        assert population.threshold.min() >= 0 and population.threshold.max() <= ACTIVATION_LIMIT
        assert population.du.min() >= 1 and population.du.max() <= 4096
        assert (population.dv.min() >= 0 and population.dv.max() <= 4095) or population.kind == "sum"


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_values_come_back(scenario: Scenario) -> None:
    network, fixed = quantized(scenario.graph, scenario.x)
    for ours, exact in zip(fixed.projections, network.projections, strict=True):
        assert isinstance(ours, FixedProjection)
        target = fixed.population(ours.target)
        assert isinstance(target, FixedPopulation)
        source_scale = fixed.message_scale.get(ours.source, 1.0)
        unit = (target.scale / source_scale / 2.0**ours.weight_exp)[:, None]
        back = expanded(ours.taps[0], 0).toarray() / unit
        np.testing.assert_allclose(back, expanded(exact.taps[0], 0).toarray(), atol=1.001 / unit.min())
    for ours, exact in zip(fixed.populations, network.populations, strict=True):
        assert isinstance(ours, FixedPopulation)
        if ours.kind == "sum":
            continue
        np.testing.assert_allclose(ours.threshold / ours.scale, exact.threshold, atol=0.501 / ours.scale.min())
        np.testing.assert_allclose(ours.bias.values / ours.scale, exact.bias.values, atol=0.501 / ours.scale.min())
        np.testing.assert_allclose(ours.dv / 4096, exact.dv, atol=1.001 / 4096)
        assert ours.report["weight_error"] <= 1.001 / 127


def test_weights_tiny_beside_the_threshold_keep_the_exponent_in_range() -> None:
    graph = chain(nir.Linear(weight=np.full((1, 1), 1e-7)), lif(1), nir.Linear(weight=np.full((1, 1), 1e-7)), lif(1))
    _, fixed = quantized(graph, impulse(0, 1.0))
    for projection in fixed.projections:
        assert isinstance(projection, FixedProjection) and projection.weight_exp in WEIGHT_EXPONENTS
    assert all(population.threshold.max() <= ACTIVATION_LIMIT for population in fixed.populations)


def test_reports_clipped_decays_and_counts_saturation() -> None:
    weight = np.array([[-4.0, -4.0], [1.0, 1.0]])
    graph = chain(nir.Linear(weight=weight), lif(2, tau=[DT, 1e5 * DT]))
    _, fixed = quantized(graph, np.ones((24, 2)))
    assert fixed.report()["lif_0"]["decay_clipped"] == 2
    integrators = nir.IF(np.ones(2), np.ones(2), np.zeros(2))
    _, fixed = quantized(chain(nir.Linear(weight=weight), integrators), np.ones((24, 2)))
    overflow = run(fixed, {"input": np.ones((24, 2))}).overflow["lif_0"]
    assert overflow.saturated > 0 and not overflow.wrapped  # -8 a step for ever fits no register.


def test_a_threshold_of_zero_with_reset_by_subtraction_is_refused() -> None:
    graph = chain(nir.Linear(weight=np.ones((1, 1))), lif(1, v_threshold=0.0))
    graph.nodes["lif_0"].metadata["reset"] = "subtract"
    with pytest.raises(UnsupportedGraphError, match=r"node 'lif_0'.*needs v_threshold above 0"):
        quantized(graph, impulse(0, 1.0))


def test_most_spikes_are_those_of_float() -> None:
    for name, scenario in SCENARIOS.items():
        if name.startswith("random"):
            _, fixed = quantized(scenario.graph, scenario.x)
            ours = run(fixed, {"input": scenario.x}).sent
            for layer, spikes in reference_spikes(scenario.graph, scenario.x).items():
                assert (ours[layer] == spikes).mean() > 0.95


def test_random_graphs_agree_with_float_on_average() -> None:
    agreement = []
    for seed in range(100):
        nir_graph, x = random_graph(seed)
        network, inputs = lower(flatten(nir_graph)), {name: values[0] for name, values in x.items()}
        exact = run(network, inputs)
        fixed = quantize(network, exact.ranges)
        ours = run(fixed, inputs)
        agreement += [(ours.sent[p.name] == exact.sent[p.name]).mean() for p in network.populations if p.spikes]
        for p in network.populations:
            if p.kind == "graded" and not ours.overflow[p.name].any:
                error = np.abs(fixed.values(p.name, ours.sent[p.name]) - exact.sent[p.name])[:3]
                assert error.max() < 0.05 * max(exact.ranges.messages[p.name], 1.0)
    assert np.mean(agreement) > 0.98


def test_input_weights_keep_their_bits_where_the_reset_is_by_subtraction() -> None:
    # A scale of 2^(n + 1) / threshold is far below what the registers leave room for.
    graph = chain(nir.Linear(weight=np.linspace(0.01, 0.02, 5)[None]), lif(1, tau=50 * DT))
    graph.nodes["lif_0"].metadata["reset"] = "subtract"
    _, fixed = quantized(graph, 1e-3 * np.random.default_rng(0).random((24, 5)))
    report = fixed.report()["lif_0"]
    assert report["weight_error"] <= 1.001 / 127
    (projection,) = fixed.into("lif_0")
    assert abs(expanded(projection.taps[0], 0)).max() > 127
