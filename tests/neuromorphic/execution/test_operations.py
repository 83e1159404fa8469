"""Counts of operations against counts by hand, and against a count synapse by synapse."""

from __future__ import annotations

import itertools

import nir
import numpy as np
import pytest
from edge_counts import count_by_hand
from numpy.typing import NDArray
from random_graphs import loop_graph, random_graph
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
        simulate(three_neurons(), {"input": x}, backend=name).counts for name in ("numpy", "torch", "lava")
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
        for step in range(7):
            expected += sum(sample[step, j] != 0 and matrix[i, j] != 0 for i in range(15) for j in range(8))
    counted = count_synapses({delay: operator}, sent)
    assert counted.effective_acs == expected > 0
    assert counted.dense_operations == 2 * 7 * np.count_nonzero(matrix)
    assert counted.possible_synapses == 2 * matrix.size
    assert counted.delayed_messages == 2 * delay * np.count_nonzero(matrix.any(axis=0))
    np.testing.assert_array_equal(fan_out(operator), np.count_nonzero(matrix, axis=0))


def test_counts_add_up() -> None:
    one = LayerCount(neurons=2, spikes=1, cells=8, effective_acs=3, synapses=4, possible_synapses=8)
    both = one + LayerCount(neurons=1, spikes=3, cells=8, effective_macs=5, synapses=1, possible_synapses=2)
    assert (both.neurons, both.spikes, both.synaptic_operations) == (3, 4, 8)
    assert both.activation_sparsity == 1 - 4 / 16
    assert both.connection_sparsity == 1 - 5 / 10


COUNTED = ("synapses", "dense_operations", "effective_acs", "effective_macs", "neuron_updates", "bias_additions",
           "delayed_messages")  # fmt: skip


def compare_by_hand(nir_graph: nir.NIRGraph, x: dict[str, NDArray]) -> dict[str, LayerCount]:
    """Compare every count of every neuron node and output with the count edge by edge."""
    graph = flatten(nir_graph)
    run = simulate(graph, x)
    sent = {**x, **run.record.outputs, **run.record.potentials, **run.record.spikes}
    by_hand = count_by_hand(nir_graph, graph, sent)
    assert set(by_hand) == set(run.counts)
    for name, hand in by_hand.items():
        ours = run.counts[name]
        for key in COUNTED:
            assert getattr(ours, key) == hand.get(key, 0), f"{name}: {key}"
        missing = hand.get("pairs", 0) - hand.get("connected", 0)
        assert ours.possible_synapses - ours.synapses == missing, name
    return run.counts


@pytest.mark.parametrize("seeds", [range(k, k + 20) for k in (0, 20, 40, 60)], ids=lambda seeds: f"{seeds[0]}")
def test_random_graphs_edge_by_edge(seeds: range) -> None:
    for seed in seeds:
        nir_graph, x = random_graph(seed)
        x = {name: np.concatenate([values, np.sign(np.round(values))]) for name, values in x.items()}
        compare_by_hand(nir_graph, x)


def test_loops_edge_by_edge() -> None:
    for seed in range(24):
        compare_by_hand(*loop_graph(seed))


IMAGE = (4, 5, 7)
RANDOM = np.random.default_rng(3)


def conv2d(kernel: tuple[int, int], groups: int = 1, **options: object) -> nir.Conv2d:
    weight = RANDOM.normal(0.3, 0.5, (6, 4 // groups, *kernel)) * (RANDOM.random((6, 4 // groups, *kernel)) < 0.8)
    values = {"stride": 1, "padding": 0, "dilation": 1} | options
    return nir.Conv2d(IMAGE[1:], weight, *values.values(), groups, RANDOM.normal(0.2, 0.2, 6) * (np.arange(6) % 2))


def pool(kind: type, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> nir.NIRNode:
    return kind(np.array(kernel), np.array(stride), np.array(padding))


def conv1d(**options: object) -> nir.Conv1d:
    values = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | options
    weight = RANDOM.normal(0.2, 0.5, (6, 4 // int(values["groups"]), 3))
    return nir.Conv1d(9, weight, *values.values(), np.full(6, 0.1))


CASES = {
    "plain": (IMAGE, conv2d((3, 2))),
    "grouped": (IMAGE, conv2d((3, 2), groups=2)),
    "strided": (IMAGE, conv2d((3, 2), stride=(2, 3))),
    "dilated": (IMAGE, conv2d((2, 3), dilation=(3, 2))),
    "padded": (IMAGE, conv2d((3, 3), padding=(2, 1))),
    "same": (IMAGE, conv2d((2, 3), padding="same", dilation=(2, 1))),
    "valid": (IMAGE, conv2d((2, 3), padding="valid")),
    "all": (IMAGE, conv2d((3, 2), groups=2, stride=(2, 1), dilation=(1, 3), padding=(1, 2))),
    "one axis": ((4, 9), conv1d()),
    "one axis, all": ((4, 9), conv1d(stride=2, padding=2, dilation=2, groups=2)),
    "one axis, same": ((4, 9), conv1d(padding="same", dilation=3)),
    "sum": (IMAGE, pool(nir.SumPool2d, (2, 3), (2, 2), (0, 0))),
    "sum, padded": (IMAGE, pool(nir.SumPool2d, (3, 2), (1, 2), (1, 1))),
    "average": (IMAGE, pool(nir.AvgPool2d, (2, 2), (3, 1), (1, 0))),
    "scale": (IMAGE, nir.Scale(RANDOM.normal(size=IMAGE) * (RANDOM.random(IMAGE) < 0.7))),
    "stack": ((3, 4), nir.Affine(RANDOM.normal(0.5, 1, (3, 2, 4)), RANDOM.normal(size=(3, 2)))),
    "delay": ((6,), nir.Delay(DT * np.array([0.0, 1, 1, 2, 5, 30]))),
}


def around(shape: tuple[int, ...], *middle: nir.NIRNode) -> nir.NIRGraph:
    """input -> Threshold -> the nodes -> Threshold -> output, and the nodes' output alone."""
    nodes = {"input": nir.Input(np.array(shape)), "first": nir.Threshold(np.full(shape, 0.5))}
    nodes |= {f"node_{k}": node for k, node in enumerate(middle)}
    nodes |= {"last": nir.Threshold(np.array([0.3])), "output": nir.Output(None)}
    edges = [*itertools.pairwise(nodes), (f"node_{len(middle) - 1}", "sum")]
    nodes["sum"] = nir.Output(None)
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False)


@pytest.mark.parametrize("case", CASES)
def test_linear_nodes_edge_by_edge(case: str) -> None:
    shape, node = CASES[case]
    x = {"input": np.random.default_rng(4).uniform(-0.5, 1.5, (2, 6, *shape))}
    counts = compare_by_hand(around(shape, node), x)
    assert counts["last"].effective_acs == counts["sum"].effective_acs > 0
    assert counts["first"].effective_macs == x["input"].size and counts["last"].effective_macs == 0


def test_linear_nodes_in_a_row_are_one_synapse() -> None:
    """A convolution over pooling over a convolution, then a delay of each element: what the neurons of a chip have."""
    first = nir.Conv2d((5, 7), RANDOM.normal(size=(3, 4, 2, 2)), 1, 0, 1, 1, np.full(3, 0.1))
    second = nir.Conv2d((2, 3), RANDOM.normal(size=(2, 3, 2, 2)), 1, 1, 1, 1, np.zeros(2))
    last = nir.Delay(DT * RANDOM.integers(0, 3, (2, 3, 4)).astype(float))
    middle = (first, pool(nir.AvgPool2d, (2, 2), (2, 2), (0, 0)), second, last)
    x = {"input": np.random.default_rng(5).uniform(0, 1, (1, 8, *IMAGE))}
    counts = compare_by_hand(around(IMAGE, *middle), x)
    assert counts["last"].delayed_messages > 0 and 0 < counts["last"].connection_sparsity < 1


def biased(delay: int) -> nir.NIRGraph:
    """Three neurons, of which two get a bias, after a delay; and an output that adds it without a neuron."""
    nodes = {
        "input": nir.Input(np.array([2])),
        "affine": nir.Affine(np.ones((3, 2)), np.array([0.5, 0.0, -1.0])),
        "delay": nir.Delay(np.full(3, delay * DT)),
        "lif": lif(3),
        "output": nir.Output(np.array([3])),
        "sum": nir.Output(np.array([3])),
    }
    edges = [("input", "affine"), ("affine", "delay"), ("delay", "lif"), ("lif", "output"), ("delay", "sum")]
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False)


@pytest.mark.parametrize("delay", [0, 1, 3, 10])
def test_biases_by_hand(delay: int) -> None:
    x = {"input": np.ones((2, 7, 2))}
    counts = compare_by_hand(biased(delay), x)
    for name in ("lif", "sum"):
        assert counts[name].bias_additions == 2 * 2 * max(7 - delay, 0)
        assert counts[name].effective_acs == 2 * 7 * 6
        assert counts[name].delayed_messages == 2 * delay * 2
    assert counts["output"].bias_additions == counts["output"].synaptic_operations == 0


def test_a_delay_splits_no_connection() -> None:
    """All pairs are connected, whatever their delays; what a source sends is kept as long as its longest delay says."""
    nodes = {
        "input": nir.Input(np.array([2])),
        "linear": nir.Linear(np.ones((4, 2))),
        "delay": nir.Delay(DT * np.arange(4.0)),
        "lif": lif(4),
        "output": nir.Output(np.array([4])),
    }
    graph = nir.NIRGraph(nodes, list(itertools.pairwise(nodes)), metadata={"dt": DT}, type_check=False)
    count = compare_by_hand(graph, {"input": np.ones((1, 5, 2))})["lif"]
    assert (count.synapses, count.connection_sparsity, count.delayed_messages) == (8, 0.0, 2 * 3)


def graphs_and_inputs() -> list[tuple[nir.NIRGraph, dict[str, NDArray]]]:
    return [random_graph(seed) for seed in range(25)] + [loop_graph(seed) for seed in range(12)]


def test_three_samples_cost_what_three_runs_cost() -> None:
    """Also where one sample is spikes and another is numbers."""
    mixed = 0
    for nir_graph, x in graphs_and_inputs():
        graph = flatten(nir_graph)
        samples = {n: np.concatenate([v, np.sign(np.round(v)), 0.5 * v[:, ::-1]]) for n, v in x.items()}
        together = simulate(graph, samples).counts
        alone = [simulate(graph, {n: v[k : k + 1] for n, v in samples.items()}).counts for k in range(3)]
        for name, count in together.items():
            assert count == sum((own[name] for own in alone), LayerCount()), name
            mixed += count.effective_acs > 0 and count.effective_macs > 0
    assert mixed > 10


def test_half_the_steps_cost_half() -> None:
    """Exactly, of what is the same in every step; of what spikes do, what those of the first half do."""
    for nir_graph, x in graphs_and_inputs():
        graph = flatten(nir_graph)
        steps = next(iter(x.values())).shape[1]
        whole = simulate(graph, x)
        half = simulate(graph, {n: v[:, : steps // 2] for n, v in x.items()})
        record = whole.record
        sent = {**x, **record.outputs, **record.potentials, **record.spikes}
        first, both = (count_by_hand(nir_graph, graph, sent, until) for until in (steps // 2, steps))
        for name, count in half.counts.items():
            full = whole.counts[name]
            for key in ("neuron_updates", "dense_operations", "cells"):
                assert 2 * getattr(count, key) == getattr(full, key), f"{name}: {key}"
            for key in ("neurons", "synapses", "possible_synapses", "state_values", "delayed_messages"):
                assert getattr(count, key) == getattr(full, key), f"{name}: {key}"
            for key in ("effective_acs", "effective_macs", "bias_additions"):
                assert getattr(count, key) == first[name].get(key, 0), f"{name}: {key}"
                assert getattr(full, key) == both[name].get(key, 0), f"{name}: {key}"


def test_half_of_a_constant_run_costs_half() -> None:
    nir_graph = around((6,), nir.Linear(np.ones((5, 6))), nir.Delay(DT * np.array([0.0, 1, 2, 3, 30])))
    short, long = (simulate(flatten(nir_graph), {"input": np.ones((1, t, 6))}).counts for t in (10, 20))
    for name in ("first", "last", "sum"):
        assert long[name].synaptic_operations == 2 * short[name].synaptic_operations > 0
        assert long[name].dense_operations == 2 * short[name].dense_operations > 0
