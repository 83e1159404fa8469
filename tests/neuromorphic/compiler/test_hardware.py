"""Splitting populations by decays and folding thresholds keeps every spike."""

from __future__ import annotations

import nir
import numpy as np
import pytest
from random_graphs import random_graph, unite
from scenarios import DT, SCENARIOS, Scenario, chain, constant, lif, relay

from neuromorphic.compiler.hardware import SPREAD, for_hardware, join, parts_of
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.operators import expanded
from neuromorphic.compiler.quantize import FixedPopulation, FixedProjection, decay_registers, quantize
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten
from neuromorphic.lava.run import run_network


def check_uniform(network: Network) -> None:
    for p in network.populations:
        if p.kind != "sum":
            assert len(np.unique(p.du)) == len(np.unique(p.dv)) == 1
            assert len(np.unique(p.threshold)) == 1 or not p.spikes


def check_equal(network: Network, hardware: Network, x: dict[str, np.ndarray], name: str) -> None:
    membranes = [p.name for p in network.populations if p.kind != "sum"]
    parts = parts_of(network)
    expected = run(network, x, membranes)
    ours = run(hardware, x, [part.name for node in membranes for part in parts[node]])
    sent, potentials = join(parts, ours.sent), join(parts, ours.potentials, potentials=True)
    for p in network.populations:
        if p.spikes:
            np.testing.assert_array_equal(sent[p.name], expected.sent[p.name], err_msg=f"{name} {p.name}")
        else:
            np.testing.assert_allclose(sent[p.name], expected.sent[p.name], rtol=1e-9, atol=1e-9)
    for node in membranes:
        np.testing.assert_allclose(potentials[node], expected.potentials[node], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_scenarios_keep_their_spikes(scenario: Scenario) -> None:
    network = lower(flatten(scenario.graph))
    hardware = for_hardware(network)
    check_uniform(hardware)
    check_equal(network, hardware, {"input": scenario.x}, scenario.name)


def test_random_graphs_keep_spikes_outputs_and_potentials() -> None:
    for seed in range(100):
        nir_graph, x = random_graph(seed)
        network = lower(flatten(nir_graph))
        hardware = for_hardware(network)
        check_uniform(hardware)
        check_equal(network, hardware, {name: values[0] for name, values in x.items()}, f"seed {seed}")


def test_parts_are_named_and_hold_each_neuron_once() -> None:
    neurons = lif(5, tau=DT * np.array([2.0, 4, 2, 4, 2]), v_threshold=[1.0, 3, 1, 1.5, 0])
    network = lower(flatten(chain(nir.Linear(weight=np.ones((5, 1))), neurons)))
    hardware, parts = for_hardware(network), parts_of(network)
    assert [p.name for p in hardware.populations] == [
        "lif_0[0]", "lif_0[1]", "lif_0[2]", "output[0]", "output[1]", "output[2]"
    ]  # fmt: skip
    assert [part.neurons.tolist() for part in parts["lif_0"]] == [[0, 2], [1, 3], [4]]
    assert [part.threshold for part in parts["lif_0"]] == [1, 3, 0]
    assert all(hardware.is_direct(p) for p in hardware.projections if p.target.startswith("output"))
    np.testing.assert_array_equal(hardware.projections[1].taps[0].toarray(), [[0.25], [0.5]])


def test_thresholds_of_different_size_are_parts_of_their_own_which_keeps_weights_fine() -> None:
    neurons = lif(4, v_threshold=[1.0, 3.0, 20.0, 60.0])
    weight = np.random.default_rng(0).normal(size=(4, 9))
    network = lower(flatten(chain(nir.Linear(weight=weight), neurons)))
    assert [part.neurons.tolist() for part in parts_of(network)["lif_0"]] == [[0, 1], [2, 3]]
    hardware = for_hardware(network)
    fixed = quantize(hardware, run(hardware, {"input": np.ones((8, 9))}).ranges)
    for part, exact, ours in zip(
        parts_of(network)["lif_0"], hardware.projections[:2], fixed.projections[:2], strict=True
    ):
        population = fixed.population(part.name)
        assert isinstance(population, FixedPopulation) and isinstance(ours, FixedProjection)
        unit = (population.scale / fixed.message_scale["input"] / 2.0**ours.weight_exp)[:, None]
        error = np.abs(expanded(ours.taps[0], 0).toarray() / unit - expanded(exact.taps[0], 0).toarray())
        # A weight is at most half of an even step off, the largest is 127 steps and more; a gain gives some of it back.
        largest = np.abs(expanded(exact.taps[0], 0)).max()
        assert (error / part.gain[:, None]).max() < SPREAD * 1.01 / 127 * largest


def test_a_network_that_is_uniform_stays_as_it_is() -> None:
    network = lower(flatten(chain(*relay(3), *relay(3))))
    hardware = for_hardware(network)
    assert [p.name for p in hardware.populations] == [p.name for p in network.populations]
    assert all(a.taps[0] is b.taps[0] for a, b in zip(hardware.projections[:2], network.projections[:2], strict=True))


def test_by_registers_decays_that_round_to_one_are_one() -> None:
    tau = DT * np.array([3.0, 3.00001, 7.0])
    network = lower(flatten(chain(nir.Linear(weight=np.ones((3, 1))), lif(3, tau=tau))))
    assert len(parts_of(network)["lif_0"]) == 3
    assert [len(part.neurons) for part in parts_of(network, registers=True)["lif_0"]] == [2, 1]
    hardware = for_hardware(network, registers=True)
    assert all(
        (np.stack(decay_registers(p.du, p.dv)) == 4096 * np.stack([p.du, p.dv])).all()
        for p in hardware.populations
        if p.kind != "sum"
    )


def test_quantised_parts_have_one_register_each() -> None:
    for seed in range(20):
        nir_graph, x = random_graph(seed)
        inputs = {name: values[0] for name, values in x.items()}
        hardware = for_hardware(lower(flatten(nir_graph)), registers=True)
        fixed = quantize(hardware, run(hardware, inputs).ranges)
        check_uniform(fixed)
        run(fixed, inputs)


def test_names_that_would_stand_twice_and_integers_are_refused() -> None:
    graph = chain(nir.Linear(weight=np.ones((2, 1))), lif(2, tau=[DT, 2 * DT]), nir.Linear(weight=np.eye(2)), lif(2))
    nodes = {("lif_0[1]" if name == "lif_1" else name): node for name, node in graph.nodes.items()}
    edges = [tuple("lif_0[1]" if end == "lif_1" else end for end in edge) for edge in graph.edges]
    network = lower(flatten(nir.NIRGraph(nodes, edges, metadata=graph.metadata)))
    with pytest.raises(UnsupportedGraphError, match=r"'lif_0\[1\]'"):
        for_hardware(network)
    network = lower(flatten(chain(*relay(1))))
    with pytest.raises(UnsupportedGraphError, match="split first"):
        for_hardware(quantize(network, run(network, {"input": constant(1.0)}).ranges))


@pytest.mark.lava
def test_split_networks_run_on_lavas_own_synapses() -> None:
    networks = {name: lower(flatten(SCENARIOS[name].graph)) for name in ("per_neuron", "deep_bias", "random_1")}
    x = {f"{name}/input": SCENARIOS[name].x for name in networks}
    for seed in (3, 4, 7):
        nir_graph, own = random_graph(seed)
        networks[str(seed)] = lower(flatten(nir_graph))
        x |= {f"{seed}/{name}": values[0] for name, values in own.items()}
    network = unite(networks)
    sent = join(parts_of(network), run_network(for_hardware(network), x, stock=True).sent)
    expected = run(network, x).sent
    for p in network.populations:
        if p.spikes:
            np.testing.assert_array_equal(sent[p.name], expected[p.name], err_msg=p.name)
        else:
            np.testing.assert_allclose(sent[p.name], expected[p.name], rtol=1e-9, atol=1e-9, err_msg=p.name)
