"""The NumPy interpreter against traces worked by hand; all other back ends are tested against it."""

from __future__ import annotations

import nir
import numpy as np
import pytest
from scenarios import DT, SCENARIOS, STEPS, Scenario, chain, constant, impulse, lif, reference_spikes, relay

from neuromorphic.errors import UnsupportedGraphError


def spike_steps(scenario: Scenario, layer: str = "lif_0") -> list[list[int]]:
    """Steps of the spikes of every neuron of a layer."""
    spikes = reference_spikes(scenario.graph, scenario.x)[layer]
    return [np.flatnonzero(train).tolist() for train in spikes.T]


def test_constant_drive_fires_at_the_steps_of_the_closed_form() -> None:
    # tau = 2 dt: w(n) = x (1 - 2^-n) after n steps; above 1 first for n = 4 at x = 1.125, n = 1 at x = 3.
    assert spike_steps(SCENARIOS["constant_drive"]) == [list(range(3, STEPS, 4)), list(range(STEPS))]


def test_impulse_fires_once_if_it_is_large_enough() -> None:
    assert spike_steps(SCENARIOS["impulse"]) == [[], [5]]


def test_a_tie_with_the_threshold_is_no_spike() -> None:
    assert spike_steps(SCENARIOS["tie"]) == [[], [3]]


def test_the_membrane_becomes_v_reset_in_the_step_of_the_spike() -> None:
    # v_reset = -1, x = 1.25: from v = 0, w = 0.625, 0.9375, 1.09375 (spike); then from -1, w = 0.125, 0.6875, 0.96875,
    # 1.109375 (spike).
    assert spike_steps(SCENARIOS["v_reset"])[0] == list(range(2, STEPS, 4))


def test_v_leak_alone_drives_a_neuron() -> None:
    # w = 1.5 (1 - 2^-n): 0.75, 1.125 (spike).
    assert spike_steps(SCENARIOS["v_leak"])[0] == list(range(1, STEPS, 2))


def test_deep_biases_count_from_step_0() -> None:
    # tau = 8 dt: w = 1.5 (1 - (7/8)^n) is above 1 first for n = 9; 1.25 (1 - (7/8)^n) for n = 13.
    assert spike_steps(SCENARIOS["deep_bias"], "lif_1") == [[8, 17], []]
    assert spike_steps(SCENARIOS["deep_bias"], "lif_2")[1] == [12]


def test_r_scales_the_current() -> None:
    scenario = Scenario("r", chain(nir.Linear(weight=np.eye(1)), lif(1, r=2.0)), impulse(0, 1.25))
    assert spike_steps(scenario) == [[0]]


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "silence"])
def test_every_scenario_has_spikes_in_its_last_layer_and_pauses(name: str) -> None:
    spikes = reference_spikes(SCENARIOS[name].graph, SCENARIOS[name].x)
    assert spikes["lif_2"].any() and not all(layer.all() for layer in spikes.values())


def test_edges_into_a_node_are_summed() -> None:
    graph = chain(nir.Linear(weight=np.eye(1)), lif(1))
    graph.nodes["second"] = nir.Affine(weight=np.full((1, 1), 0.5), bias=np.ones(1))
    graph.edges += [("input", "second"), ("second", "lif_0")]
    assert reference_spikes(graph, impulse(0, 0.5))["lif_0"][0, 0] == (0.5 * (0.5 + 0.25 + 1.0) > 1.0)
    assert reference_spikes(graph, impulse(0, 1.0))["lif_0"][0, 0] == (0.5 * (1.0 + 0.5 + 1.0) > 1.0)


def test_an_input_of_another_size_is_refused() -> None:
    with pytest.raises(UnsupportedGraphError, match="input 'input' must have shape"):
        reference_spikes(chain(*relay(1)), constant(1.0, 2.0))


def test_needs_a_time_step() -> None:
    graph = chain(*relay(1))
    graph.metadata = {}
    graph.nodes["lif_0"].metadata.clear()
    with pytest.raises(UnsupportedGraphError, match="metadata 'dt'"):
        reference_spikes(graph, constant(1.0))
    graph.metadata = {"dt": -DT}
    with pytest.raises(UnsupportedGraphError, match="positive"):
        reference_spikes(graph, constant(1.0))
