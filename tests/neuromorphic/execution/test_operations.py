"""Counts of operations against counts by hand, and against a count synapse by synapse."""

from __future__ import annotations

import itertools

import nir
import numpy as np
import pytest
from scipy import sparse

from neuromorphic.backends import simulate
from neuromorphic.compiler.operators import Kron
from neuromorphic.execution.operations import LayerCount, count_synapses, fan_out
from neuromorphic.graph import flatten

DT = 1e-4


def lif(size: int, threshold: float = 1.0) -> nir.LIF:
    full = np.full(size, 1.0)
    # tau = dt: the potential is what comes in this step.
    return nir.LIF(tau=DT * full, r=full, v_leak=0 * full, v_threshold=threshold * full,
                   metadata={"dt": DT, "reset": "zero"})  # fmt: skip


def three_neurons(threshold: float = 1.0):
    """Two neurons that pass their input on, and a third that both excite; neuron 1's weight to it is 0."""
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "first": nir.Linear(np.array([[2.0, 0.0], [0.5, 2.0]])),
        "pair": lif(2, threshold),
        "second": nir.Linear(np.array([[2.0, 0.0]])),
        "last": lif(1),
        "output": nir.Output({"output": np.array([1])}),
    }
    names = list(nodes)
    graph = nir.NIRGraph(nodes, list(itertools.pairwise(names)), metadata={"dt": DT, "reset": "zero"})
    return flatten(graph)


def test_three_neurons_by_hand() -> None:
    # Step 0: input 0 alone, so neuron 0 (2 > 1) fires and neuron 1 (0.5) does not. Step 1: both inputs; both fire.
    # Step 2: nothing. The input is 0 or 1, so that its operations are accumulates.
    x = np.array([[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]])
    counts = simulate(three_neurons(), {"input": x}).counts
    pair, last = counts["pair"], counts["last"]
    assert pair.spikes == 1 + 2
    # Input 0 has two synapses, input 1 one: 2 + (2 + 1).
    assert (pair.synapses, pair.effective_acs, pair.effective_macs) == (3, 5, 0)
    assert (pair.dense_operations, pair.neuron_updates, pair.state_values) == (3 * 3, 2 * 3, 2)
    # Neuron 0 fired twice; neuron 1's weight is 0 and no synapse.
    assert (last.synapses, last.effective_acs, last.spikes, last.dense_operations) == (1, 2, 2, 3)
    assert (last.connection_sparsity, pair.connection_sparsity) == (0.5, 0.25)
    assert pair.activation_sparsity == pytest.approx(1 - 3 / 6)
    assert counts["output"].synapses == counts["output"].neuron_updates == 0


def test_numbers_make_multiplications() -> None:
    counts = simulate(three_neurons(), {"input": np.array([[[0.6, 0.0], [0.6, 0.7]]])}).counts
    assert (counts["pair"].effective_macs, counts["pair"].effective_acs) == (2 + 3, 0)
    assert counts["last"].effective_macs == 0


def test_a_silent_layer_makes_no_operations_downstream() -> None:
    x = np.ones((2, 5, 2))
    loud, silent = (simulate(three_neurons(threshold), {"input": x}).counts for threshold in (1.0, 100.0))
    assert loud["last"].synaptic_operations > 0
    assert silent["pair"].spikes == silent["last"].synaptic_operations == silent["last"].spikes == 0
    assert silent["last"].neuron_updates == loud["last"].neuron_updates  # which silence does not save


def test_twice_the_steps_are_twice_the_updates() -> None:
    random = np.random.default_rng(0)
    short, long = (simulate(three_neurons(), {"input": random.random((2, t, 2))}).counts for t in (4, 8))
    for name in ("pair", "last"):
        assert long[name].neuron_updates == 2 * short[name].neuron_updates > 0
        assert long[name].dense_operations == 2 * short[name].dense_operations > 0


@pytest.mark.lava
def test_back_ends_count_alike() -> None:
    x = (np.random.default_rng(1).random((2, 6, 2)) > 0.4).astype(float)
    reference, torch, lava = (
        simulate(three_neurons(), {"input": x}, backend=name).counts for name in ("reference", "torch", "lava")
    )
    assert reference["last"].spikes > 0
    assert reference == torch == lava


@pytest.mark.parametrize("delay", [0, 2])
@pytest.mark.parametrize("kron", [False, True])
def test_operations_equal_a_count_synapse_by_synapse(delay: int, kron: bool) -> None:
    random = np.random.default_rng(2)
    left = random.random((3, 4)) * (random.random((3, 4)) > 0.5)
    right = random.normal(size=(5, 2)) * (random.random((5, 2)) > 0.3)
    matrix = np.kron(left, right)
    operator = Kron(sparse.csr_matrix(left), right) if kron else sparse.csr_matrix(matrix)
    sent = (random.random((2, 7, 8)) > 0.6).astype(float)
    expected = 0
    for sample in sent:
        for step in range(7 - delay):
            expected += sum(sample[step, j] != 0 and matrix[i, j] != 0 for i in range(15) for j in range(8))
    counted = count_synapses(operator, sent, delay)
    assert counted.effective_acs == expected > 0
    assert counted.dense_operations == 2 * (7 - delay) * np.count_nonzero(matrix)
    assert counted.possible_synapses == 2 * matrix.size
    np.testing.assert_array_equal(fan_out(operator), np.count_nonzero(matrix, axis=0))


def test_counts_add_up() -> None:
    one = LayerCount(neurons=2, spikes=1, cells=8, effective_acs=3, synapses=4, possible_synapses=8)
    both = one + LayerCount(neurons=1, spikes=3, cells=8, effective_macs=5, synapses=1, possible_synapses=2)
    assert (both.neurons, both.spikes, both.synaptic_operations) == (3, 4, 8)
    assert both.activation_sparsity == 1 - 4 / 16
    assert both.connection_sparsity == 1 - 5 / 10
