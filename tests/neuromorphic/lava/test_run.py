"""Lava against the NumPy simulators, spike by spike."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from random_graphs import random_graph, unite
from scenarios import SCENARIOS, reference_spikes

from neuromorphic.compiler.lower import lower, pack
from neuromorphic.compiler.quantize import quantize
from neuromorphic.errors import LavaMissingError
from neuromorphic.execution import populations, reference
from neuromorphic.graph import flatten
from neuromorphic.lava import compat, run
from neuromorphic.lava.run import run_network

pytestmark = pytest.mark.lava
NETWORK = pack([lower(flatten(scenario.graph)) for scenario in SCENARIOS.values()])
X = {"input": np.concatenate([scenario.x for scenario in SCENARIOS.values()], axis=1)}
ONE = SCENARIOS["random_0"]
SMALL = lower(flatten(ONE.graph))


@pytest.mark.parametrize("stock", [False, True], ids=["ours", "stock"])
def test_float_gives_the_spikes_of_the_nir_graphs(stock: bool) -> None:
    sent = run_network(NETWORK, X, stock=stock).sent
    for layer in ("lif_0", "lif_1", "lif_2"):
        expected = [reference_spikes(s.graph, s.x)[layer] for s in SCENARIOS.values()]
        np.testing.assert_array_equal(sent[layer], np.concatenate(expected, axis=1))


@pytest.mark.parametrize("stock", [False, True], ids=["ours", "stock"])
def test_fixed_point_gives_the_spikes_and_potentials_of_the_integer_simulator(stock: bool) -> None:
    fixed = quantize(NETWORK, populations.run(NETWORK, X).ranges)
    layers = ("lif_0", "lif_1", "lif_2")
    ours, expected = run_network(fixed, X, layers, stock=stock), populations.run(fixed, X, layers)
    for name in expected.sent:
        np.testing.assert_array_equal(ours.sent[name], expected.sent[name])
    for name in layers:
        np.testing.assert_array_equal(ours.potentials[name], expected.potentials[name])


def check_random_graphs(seeds: range, stock: bool = False) -> None:
    """All graphs in one run: float against the reference, fixed against the integer simulator."""
    graphs, x, networks = {}, {}, {}
    for seed in seeds:
        nir_graph, own = random_graph(seed)
        graphs[str(seed)] = flatten(nir_graph)
        networks[str(seed)] = lower(graphs[str(seed)])
        x |= {f"{seed}/{name}": values[0] for name, values in own.items()}
    network = unite(networks)
    exact = populations.run(network, x)
    ours = run_network(network, x, stock=stock).sent
    for number, graph in graphs.items():
        own = {name: x[f"{number}/{name}"][None] for name in graph.inputs}
        expected = reference.simulate(graph, own)
        for name, spikes in expected.spikes.items():
            record = ours[f"{number}/{name}"].reshape(spikes[0].shape)
            np.testing.assert_array_equal(record, spikes[0], err_msg=f"seed {number}, {name}")
        for name, values in (expected.outputs | expected.potentials).items():
            record = ours[f"{number}/{name}"].reshape(values[0].shape)
            np.testing.assert_allclose(record, values[0], rtol=1e-9, atol=1e-9, err_msg=f"seed {number}, {name}")
    fixed = quantize(network, exact.ranges)
    integers = populations.run(fixed, x)
    on_lava = run_network(fixed, x, stock=stock).sent
    for name in integers.sent:
        if not integers.overflow[name].accumulated:
            np.testing.assert_array_equal(on_lava[name], integers.sent[name], err_msg=name)


def test_random_graphs() -> None:
    check_random_graphs(range(20))


def test_random_graphs_on_stock_synapses() -> None:
    check_random_graphs(range(20, 26), stock=True)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1500, 20))
def test_500_random_graphs(first: int) -> None:
    check_random_graphs(range(first, first + 20))


def test_without_lava_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "find_spec", lambda name: None)
    with pytest.raises(LavaMissingError, match=r"lava and psutil missing.*doctor --install lava"):
        run.run_network(SMALL, {"input": ONE.x})


def test_the_mend_for_python_3_11_is_undone() -> None:
    script = (
        "import dataclasses; before = dataclasses.dataclass\n"
        "from neuromorphic.lava.compat import mend_lava; mend_lava()\n"
        "assert dataclasses.dataclass is before\n"
        "import lava.magma.compiler.compiler"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
