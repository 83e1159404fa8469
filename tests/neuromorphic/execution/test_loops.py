"""Loops: one meaning, whatever the order of nodes and edges, the names and the way through a file."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import nir
import numpy as np
import pytest
from numpy.typing import NDArray
from official import SHARED
from oracle import simulate_slowly
from random_graphs import loop_graph, random_graph, renamed, shuffled, unite
from scenarios import DT, lif

from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.quantize import quantize
from neuromorphic.execution import populations
from neuromorphic.execution.record import Record
from neuromorphic.execution.reference import simulate
from neuromorphic.execution.torch_simulator import simulate_torch
from neuromorphic.graph import Graph, flatten
from neuromorphic.lava.run import run_network
from neuromorphic.nir_file import read_nir, write_nir

Signals = dict[str, NDArray]
SEEDS = range(24)


def signals(record: Record) -> Signals:
    """What every neuron sends and every output gets."""
    return record.outputs | record.potentials | record.spikes


def in_integers(graph: Graph, x: Signals) -> Signals:
    """The integer simulator's spikes."""
    network, inputs = lower(graph), {name: values[0] for name, values in x.items()}
    sent = populations.run(quantize(network, populations.run(network, inputs).ranges), inputs).sent
    return {name: sent[name] for name in graph.spiking}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_reference_is_the_oracle_on_loops(seed: int) -> None:
    nir_graph, x = loop_graph(seed)
    graph = flatten(nir_graph)
    x = {name: np.concatenate([values, -values]) for name, values in x.items()}
    ours = signals(simulate(graph, x))
    for name, values in simulate_slowly(graph, x).items():
        np.testing.assert_allclose(ours[name].astype(float), values, rtol=1e-9, atol=1e-9, err_msg=name)


def test_loops_of_each_size_are_in_the_graphs() -> None:
    graphs = [flatten(loop_graph(seed)[0]) for seed in SEEDS]
    assert {max(map(len, graph.components)) for graph in graphs} == {1, 2, 3}
    records = [simulate(graph, loop_graph(seed)[1]) for seed, graph in zip(SEEDS, graphs, strict=True)]
    rates = [spikes.mean() for record in records for spikes in record.spikes.values()]
    assert np.mean([0.02 < rate < 0.98 for rate in rates]) > 0.8


@pytest.mark.parametrize("make", [loop_graph, random_graph])
def test_the_order_of_nodes_and_edges_and_a_file_change_not_one_bit(make: object, tmp_path: Path) -> None:
    for seed in SEEDS:
        nir_graph, x = make(seed)  # type: ignore[operator]
        graphs = [flatten(nir_graph), flatten(shuffled(nir_graph, 0)), flatten(shuffled(nir_graph, 1))]
        write_nir(tmp_path / "ours.nir", nir_graph)
        graphs.append(flatten(read_nir(tmp_path / "ours.nir")))
        nir.write(tmp_path / "nir.nir", shuffled(nir_graph, 2))
        graphs.append(flatten(nir.read(tmp_path / "nir.nir", type_check=False), DT))
        # The order of updates is one, so the spikes are; the graded outputs too, to the last bit.
        assert len({graph.components for graph in graphs}) == 1
        for run in (lambda *a: signals(simulate(*a)), lambda *a: signals(simulate_torch(*a)), in_integers):
            first, *others = (run(graph, x) for graph in graphs)
            for other in others:
                assert first.keys() == other.keys()
                for name, values in first.items():
                    np.testing.assert_array_equal(other[name], values, err_msg=f"{seed} {name}")


@pytest.mark.parametrize("make", [loop_graph, random_graph])
def test_names_change_no_spike(make: object) -> None:
    for seed in SEEDS:
        nir_graph, x = make(seed)  # type: ignore[operator]
        if any(isinstance(node, nir.NIRGraph) for node in nir_graph.nodes.values()):
            continue
        other, new = renamed(nir_graph, seed)
        graph, again = flatten(nir_graph), flatten(other)
        new_x = {new[name]: values for name, values in x.items()}
        assert {frozenset(new[n] for n in own) for own in graph.components} == set(map(frozenset, again.components))
        ours, theirs = signals(simulate(graph, x)), signals(simulate(again, new_x))
        for name, values in ours.items():  # in the reference to the last bit
            np.testing.assert_array_equal(theirs[new[name]], values, err_msg=f"{seed} {name}")
        for run in (lambda *a: simulate_torch(*a).spikes, in_integers):
            ours, theirs = run(graph, x), run(again, new_x)
            for name, values in ours.items():
                np.testing.assert_array_equal(theirs[new[name]], values, err_msg=f"{seed} {name}")


@pytest.mark.lava
def test_lava_runs_loops_as_the_reference_whatever_the_order_and_names() -> None:
    graphs: dict[str, Graph] = {}
    x: dict[str, Signals] = {}
    names: dict[str, dict[str, str]] = {}
    for seed in (1, 5, 8, 10):  # of two and three populations, without a Delay and with one of each kind
        nir_graph, own = loop_graph(seed)
        other, new = renamed(shuffled(nir_graph, seed), seed)
        graphs |= {f"{seed}": flatten(nir_graph), f"{seed} renamed": flatten(other)}
        x |= {f"{seed}": own, f"{seed} renamed": {new[name]: values for name, values in own.items()}}
        names[f"{seed}"] = new
    network = unite({key: lower(graph) for key, graph in graphs.items()})
    inputs = {f"{key}/{name}": values[0] for key, own in x.items() for name, values in own.items()}
    fixed = quantize(network, populations.run(network, inputs).ranges)
    exact, integers = run_network(network, inputs).sent, run_network(fixed, inputs).sent
    for key, new in names.items():
        record = simulate(graphs[key], x[key])
        for name, spikes in record.spikes.items():
            np.testing.assert_array_equal(exact[f"{key}/{name}"], spikes[0], err_msg=f"{key} {name}")
            for sent in (exact, integers):
                np.testing.assert_array_equal(sent[f"{key} renamed/{new[name]}"], sent[f"{key}/{name}"])


def test_two_neurons_that_are_alike_stay_alike() -> None:
    """a <-> b: nothing says which is first, and neither is."""
    w = np.array([[0.5]])
    nodes = {name: lif(1, tau=4 * DT, v_threshold=0.5) for name in "ab"} | {n: nir.Linear(w) for n in ("ab", "ba")}
    nodes |= {"x": nir.Input(np.array([1])), "y": nir.Output(np.array([1]))}
    edges = [("x", "a"), ("x", "b"), ("a", "ab"), ("ab", "b"), ("b", "ba"), ("ba", "a"), ("a", "y"), ("b", "y")]
    graph = flatten(nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False))
    assert ("a", "b") in graph.components
    x = {"x": np.random.default_rng(0).normal(0.6, 1.0, (1, 100, 1))}
    for run in (simulate, simulate_torch):
        spikes = run(graph, x).spikes
        np.testing.assert_array_equal(spikes["a"], spikes["b"])
        assert 0.05 < spikes["a"].mean() < 0.95
    assert np.array_equal(*in_integers(graph, x).values())


def excitation_and_inhibition() -> tuple[nir.NIRGraph, Signals]:
    """E excites itself and I, I inhibits E; both get the input."""
    random = np.random.default_rng(0)
    sizes = {"e": 8, "i": 3}
    nodes: dict[str, nir.NIRNode] = {"x": nir.Input(np.array([4])), "y": nir.Output(np.array([8]))}
    nodes |= {name: lif(size, tau=5 * DT, v_threshold=0.4) for name, size in sizes.items()}
    edges = [("e", "y")]
    for source, target, sign in (("x", "e", 1), ("x", "i", 1), ("e", "e", 1), ("e", "i", 1), ("i", "e", -1)):
        weight = sign * np.abs(random.normal(0.3, 0.4, (sizes[target], sizes.get(source, 4))))
        nodes[f"{source}{target}"] = nir.Affine(weight, random.normal(0.1, 0.05, sizes[target]))
        edges += [(source, f"{source}{target}"), (f"{source}{target}", target)]
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False), {"x": random.normal(0.5, 1, (2, 60, 4))}


def test_excitation_and_inhibition_by_hand() -> None:
    nir_graph, x = excitation_and_inhibition()
    weight = {name: node.weight for name, node in nir_graph.nodes.items() if isinstance(node, nir.Affine)}
    bias = {name: node.bias for name, node in nir_graph.nodes.items() if isinstance(node, nir.Affine)}
    spikes = {"e": np.zeros((2, 8)), "i": np.zeros((2, 3))}
    v = {"e": np.zeros((2, 8)), "i": np.zeros((2, 3))}
    ours = simulate(flatten(nir_graph), x).spikes
    for t in range(60):
        # Both from the step before: e's new spikes are not i's input of this step, nor the other way round.
        drive = {
            "e": x["x"][:, t] @ weight["xe"].T + bias["xe"]
            + spikes["e"] @ weight["ee"].T + bias["ee"]
            + spikes["i"] @ weight["ie"].T + bias["ie"],
            "i": x["x"][:, t] @ weight["xi"].T + bias["xi"] + spikes["e"] @ weight["ei"].T + bias["ei"],
        }  # fmt: skip
        for name in "ei":
            w = v[name] + (drive[name] - v[name]) / 5
            spikes[name] = (w > 0.4).astype(float)
            v[name] = np.where(w > 0.4, 0.0, w)
            np.testing.assert_array_equal(ours[name][:, t], spikes[name], err_msg=f"{name} {t}")
    assert all(0.05 < own.mean() < 0.95 for own in ours.values())


@pytest.fixture
def refsim() -> ModuleType:
    """The hold-out set's own simulator."""
    path = SHARED / "nir_cases" / "refsim.py"
    if not path.is_file():
        pytest.skip("../shared/data/nir_cases is not at hand")
    spec = importlib.util.spec_from_file_location("refsim", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(12))
def test_loops_without_delay_are_those_of_the_hold_out_sets_simulator(refsim: ModuleType, seed: int) -> None:
    if seed:
        random = np.random.default_rng(seed)
        names = [f"p{k}" for k in range(int(random.integers(2, 5)))]
        nodes: dict[str, nir.NIRNode] = {"x": nir.Input(np.array([3])), "y": nir.Output(np.array([3]))}
        nodes |= {name: lif(3, tau=DT * random.uniform(1, 6, 3), v_threshold=0.3) for name in names}
        edges = [("p0", "y")]
        for k, (source, target) in enumerate([("x", "p0"), *pairwise(names), *((n, "p0") for n in names)]):
            nodes[f"w{k}"] = nir.Affine(random.normal(0.3, 0.8, (3, 3)), random.normal(0.1, 0.1, 3))
            edges += [(source, f"w{k}"), (f"w{k}", target)]
        nir_graph = nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False)
        x = {"x": random.normal(0.5, 1.0, (2, 60, 3))}
    else:
        nir_graph, x = excitation_and_inhibition()
    graph = flatten(nir_graph)
    expected = refsim.Sim(nir_graph, dt=DT).run(x["x"], graph.spiking)
    for name, spikes in simulate(graph, x).spikes.items():
        np.testing.assert_array_equal(spikes, expected[name] > 0, err_msg=name)
