"""The PyTorch back end against the reference."""

import nir
import numpy as np
import pytest
import torch
from random_graphs import random_graph
from scenarios import DT, SCENARIOS, lif

from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.execution.reference import simulate
from neuromorphic.execution.torch_simulator import simulate_torch
from neuromorphic.graph import Graph, flatten


def same(graph: Graph, inputs: dict[str, np.ndarray]) -> None:
    expected, record = (f(graph, inputs, potentials=graph.spiking) for f in (simulate, simulate_torch))
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(record.spikes[name], spikes, name)
    for mine, theirs in ((record.outputs, expected.outputs), (record.potentials, expected.potentials)):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(mine[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios(name: str) -> None:
    x = SCENARIOS[name].x
    same(flatten(SCENARIOS[name].graph), {"input": np.stack([x, 0.5 * x])})


@pytest.mark.parametrize("seed", range(200))
def test_random_graphs(seed: int) -> None:
    graph, inputs = random_graph(seed)
    same(flatten(graph), inputs)


def test_two_calls_share_no_state_and_float32_is_an_option() -> None:
    nir_graph, x = random_graph(3)
    graph = flatten(nir_graph)
    first, second = (simulate_torch(graph, x) for _ in range(2))
    single = simulate_torch(graph, x, dtype=torch.float32)
    for name, spikes in first.spikes.items():
        np.testing.assert_array_equal(second.spikes[name], spikes)
        assert (single.spikes[name] == spikes).mean() > 0.98


@pytest.mark.parametrize("way", ["direct", "affine", "delay"])
def test_two_neurons_that_read_each_other(way: str) -> None:
    between = {
        "affine": nir.Affine(np.array([[0.5, -2.0], [1.5, 0.25]]), np.array([0.75, 0.5])),
        "delay": nir.Delay(DT * np.array([0.0, 3.0])),
    }
    nodes = {"input": nir.Input(np.array([2])), "a": lif(2), "b": lif(2), "output": nir.Output(np.array([2]))}
    edges = [("input", "a"), ("a", "b"), ("b", "output"), ("a", "a")]
    if way in between:
        nodes["way"] = between[way]
        edges += [("b", "way"), ("way", "a")]
    else:
        edges += [("b", "a")]
    graph = flatten(nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False))
    same(graph, {"input": np.random.default_rng(0).normal(1.5, 1.0, (3, 24, 2))})


def test_wrong_input_is_refused() -> None:
    with pytest.raises(UnsupportedGraphError, match="input"):
        simulate_torch(flatten(SCENARIOS["tie"].graph), {"other": np.zeros((1, 2, 2))})
