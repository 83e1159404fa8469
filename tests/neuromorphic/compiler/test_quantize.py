"""Fixed-point layers: registers are never exceeded, and values come back within half a unit."""

from __future__ import annotations

import nir
import numpy as np
import pytest
from scenarios import DT, SCENARIOS, Scenario, chain, lif, reference_spikes

from neuromorphic.compiler.lower import lower, pack
from neuromorphic.compiler.quantize import ACTIVATION_LIMIT, WEIGHT_EXPONENTS, quantize
from neuromorphic.execution.fixed_point import simulate_fixed


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_numbers_fit_their_registers(scenario: Scenario) -> None:
    limit = float(np.abs(scenario.x).max())
    fixed = quantize(lower(scenario.graph), limit)
    highest = np.abs(fixed.messages(np.array(limit)))
    for layer in fixed.layers:
        assert np.abs(layer.weight.data).max(initial=0) <= 254 and not (layer.weight.data % 2).any()
        assert layer.weight_exp in WEIGHT_EXPONENTS
        accumulated = np.abs(layer.weight).sum(axis=1).max() * int(highest)
        assert accumulated < 2**31
        largest = accumulated * 2.0**layer.weight_exp + np.abs(layer.bias).max() + np.abs(layer.onset).max()
        assert largest <= ACTIVATION_LIMIT
        assert layer.threshold.min() >= 0 and layer.threshold.max() <= ACTIVATION_LIMIT
        assert layer.decay.min() >= 1 and layer.decay.max() <= 4095
        highest = np.array(1)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_values_come_back(scenario: Scenario) -> None:
    lowered = lower(scenario.graph)
    fixed = quantize(lowered, float(np.abs(scenario.x).max()))
    message_scale = fixed.message_scale
    for layer, exact in zip(fixed.layers, lowered.layers, strict=True):
        unit = layer.scale / message_scale / 2.0**layer.weight_exp
        np.testing.assert_allclose(layer.weight.toarray() / unit, exact.weight.toarray(), atol=1.001 / unit)
        for name in ("bias", "onset", "threshold"):
            np.testing.assert_allclose(
                getattr(layer, name) / layer.scale, getattr(exact, name), atol=0.501 / layer.scale
            )
        np.testing.assert_allclose(layer.decay / 4096, exact.decay, atol=1.001 / 4096)
        assert layer.weight_error <= 1.001 / 254
        message_scale = 1.0


def test_weights_tiny_beside_the_threshold_keep_the_exponent_in_range() -> None:
    graph = chain(nir.Linear(weight=np.full((1, 1), 1e-7)), lif(1), nir.Linear(weight=np.full((1, 1), 1e-7)), lif(1))
    fixed = quantize(lower(graph), 1.0)
    assert all(layer.weight_exp == WEIGHT_EXPONENTS.start for layer in fixed.layers)
    assert all(layer.threshold[0] <= ACTIVATION_LIMIT for layer in fixed.layers)


def test_reports_clipped_decays_and_possible_saturation() -> None:
    weight = np.array([[-4.0, -4.0], [1.0, 1.0]])
    neurons = lif(2, tau=[DT, 1e4 * DT])
    layer = quantize(lower(chain(nir.Linear(weight=weight), neurons)), 1.0).layers[0]
    assert layer.decay_clipped == 2
    slow = quantize(lower(chain(nir.Linear(weight=weight), lif(2, tau=100 * DT))), 1.0).layers[0]
    assert slow.decay_clipped == 0 and slow.may_saturate == 2  # 100 times the largest drive fits no register.


def test_most_spikes_are_those_of_float() -> None:
    chosen = [scenario for name, scenario in SCENARIOS.items() if name.startswith("random")]
    for scenario in chosen:
        fixed = quantize(pack([lower(scenario.graph)]), float(np.abs(scenario.x).max()))
        ours = simulate_fixed(fixed, scenario.x)
        for name, spikes in reference_spikes(scenario.graph, scenario.x).items():
            assert (ours[name] == spikes).mean() > 0.95
