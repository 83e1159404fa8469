"""A batch is one network with its weights once, and every sample's records are what they are alone, bit for bit."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from numpy.typing import NDArray
from random_graphs import random_graph, unite
from scenarios import DT, chain, lif
from scipy import sparse

from neuromorphic.backends import simulate
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Levels, Network, Population, Projection, repeat
from neuromorphic.compiler.operators import LARGE, Kron, Repeated
from neuromorphic.compiler.quantize import FixedNetwork, FixedProjection, Ranges, quantize
from neuromorphic.execution import populations
from neuromorphic.graph import Graph, flatten
from neuromorphic.lava import run
from neuromorphic.lava.run import run_network

SAMPLES = 3


def wide(size: int = 400) -> Graph:
    """Two dense layers; by default large enough for products of dense matrices."""
    random = np.random.default_rng(0)
    layers = [(nir.Affine(random.normal(0.1, 1.0, (size, size)), random.normal(0, 0.1, size)), lif(size)) for _ in "ab"]
    return flatten(chain(*layers[0], *layers[1]))


def image() -> Graph:
    """A convolution whose matrix is large and sparse."""
    kernel = np.random.default_rng(0).normal(0.1, 1.0, (8, 3, 3, 3))
    shape = 8, 24, 24
    one = np.ones(shape)
    nodes = {
        "input": nir.Input({"input": np.array([3, 24, 24])}),
        "conv": nir.Conv2d((24, 24), kernel, 1, 1, 1, 1, np.zeros(8)),
        "lif_0": nir.LIF(tau=3 * DT * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one),
        "output": nir.Output({"output": np.array(shape)}),
    }
    return flatten(nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": DT, "reset": "zero"}))


def scene() -> Network:
    """A graph's kron(A, W) with A and W kept apart, as wide as BLAS blocks them."""
    random, nodes, channels = np.random.default_rng(0), 12, 64
    joined = (random.random((nodes, nodes)) < 0.5) * random.choice([0.5, 1.0], (nodes, nodes))
    operator = Kron(sparse.csr_matrix(joined), random.normal(0, 0.2, (channels, channels)))
    size = nodes * channels
    one, none = np.ones(size), np.zeros(size)
    quiet = Levels((), np.zeros((0, size)))
    neurons = tuple(Population(name, "lif", (size,), one, 0.3 * one, 0.3 * one, quiet, none) for name in "ab")
    projections = Projection("input", "a", {0: operator}), Projection("a", "b", {0: operator})
    return Network({"input": (size,)}, neurons, projections, DT)


def random_network(seeds: range) -> tuple[Network, dict[str, NDArray]]:
    """Random graphs as one network, and inputs of a batch, shape (B, T, *shape)."""
    networks, x = {}, {}
    for seed in seeds:
        nir_graph, own = random_graph(seed)
        networks[str(seed)] = lower(flatten(nir_graph))
        x |= {f"{seed}/{name}": np.concatenate([v, -0.7 * v, 1.3 * v]) for name, v in own.items()}
    return unite(networks), x


def case(name: str) -> tuple[Network, dict[str, NDArray]]:
    if name == "random":
        return random_network(range(12))
    network = {"wide": lambda: lower(wide()), "image": lambda: lower(image()), "scene": scene}[name]()
    random, shape = np.random.default_rng(1), (SAMPLES, 12, network.size("input"))
    spikes = (random.random(shape) < np.array([0.05, 0.2, 0.9])[:, None, None]).astype(float)
    return network, {"input": np.where(np.arange(12)[:, None] < 8, spikes, random.normal(0.2, 1, shape))}


def alone(x: dict[str, NDArray], b: int) -> dict[str, NDArray]:
    return {name: values[b] for name, values in x.items()}


def overflowing(fixed: FixedNetwork) -> FixedNetwork:
    """The same with far larger weights."""
    projections = [
        replace(q, weight_exp=np.full_like(q.weight_exp, 7)) if isinstance(q, FixedProjection) else q
        for q in fixed.projections
    ]
    return replace(fixed, projections=tuple(projections))


def largest(runs: list[populations.PopulationRun], key: str) -> dict[str, float]:
    own = [getattr(each.ranges, key) for each in runs]
    return {name: max(values[name] for values in own) for name in own[0]}


@pytest.mark.parametrize("precision", ["float", "fixed", "overflowing"])
@pytest.mark.parametrize("name", ["random", "wide", "image", "scene"])
def test_numpy_gives_every_sample_what_it_gets_alone(name: str, precision: str) -> None:
    network, x = case(name)
    names = [p.name for p in network.populations]
    if precision != "float":
        network = quantize(network, populations.run(network, x, batched=True).ranges)
    if precision == "overflowing":
        network = overflowing(network)
    ours = populations.run(network, x, names, batched=True)
    each = [populations.run(network, alone(x, b), names) for b in range(SAMPLES)]
    assert any(values.any() for values in ours.sent.values())
    for key in ("sent", "potentials", "peaks"):
        for node, values in getattr(ours, key).items():
            np.testing.assert_array_equal(values, np.stack([getattr(own, key)[node] for own in each]), err_msg=node)
    assert ours.peaks
    for key in ("messages", "current", "potential"):
        assert getattr(ours.ranges, key) == largest(each, key)
    for node, count in ours.overflow.items():
        assert vars(count) == {key: sum(getattr(own.overflow[node], key) for own in each) for key in vars(count)}
    if precision == "overflowing":
        assert any(count.any for count in ours.overflow.values())


@pytest.mark.lava
@pytest.mark.parametrize("stock", [False, True], ids=["ours", "stock"])
@pytest.mark.parametrize("precision", ["float", "fixed"])
def test_lava_gives_every_sample_what_it_gets_alone(precision: str, stock: bool) -> None:
    network, x = random_network(range(4))
    names = [p.name for p in network.populations if p.kind != "sum"]
    if precision == "fixed":
        network = quantize(network, populations.run(network, x, batched=True).ranges)
    ours = run_network(network, x, names, stock=stock, batched=True)
    each = [run_network(network, alone(x, b), names, stock=stock) for b in range(SAMPLES)]
    for key in ("sent", "potentials"):
        for node, values in getattr(ours, key).items():
            np.testing.assert_array_equal(values, np.stack([getattr(own, key)[node] for own in each]), err_msg=node)
    if not stock:
        # Lava adds up what a population gets in the order that NumPy does, in every run.
        expected = populations.run(network, x, names, batched=True)
        for p in network.populations:
            np.testing.assert_array_equal(ours.sent[p.name], expected.sent[p.name], err_msg=p.name)
            if p.name in names and p.kind != "subtract":
                np.testing.assert_array_equal(ours.potentials[p.name], expected.potentials[p.name], err_msg=p.name)


@pytest.mark.lava
@pytest.mark.parametrize("precision", ["float", "fixed"])
def test_lava_gives_large_layers_what_numpy_gives_each_sample(precision: str) -> None:
    network, x = case("wide")
    if precision == "fixed":
        network = quantize(network, populations.run(network, x, batched=True).ranges)
    ours = run_network(network, x, batched=True)
    for b in range(SAMPLES):
        for node, values in populations.run(network, alone(x, b)).sent.items():
            np.testing.assert_array_equal(ours.sent[node][b], values, err_msg=node)


def test_a_batch_has_its_weights_once() -> None:
    network = lower(wide(64))
    many = repeat(network, 5)
    for ours, exact in zip(many.projections, network.projections, strict=True):
        for delay, operator in ours.taps.items():
            assert isinstance(operator, Repeated) and operator.operator is exact.taps[delay]
            expected = np.kron(np.eye(5), exact.taps[delay].toarray())
            np.testing.assert_array_equal(operator.expand().toarray(), expected)
    assert repeat(network, 1) is network


def test_memory_of_weights_does_not_grow_with_the_batch() -> None:
    size, batch = 600, 32
    graph = wide(size)
    weights = 2 * size * size * 8
    assert size * size > LARGE
    x = {"input": np.random.default_rng(1).normal(0.2, 1, (batch, 3, size))}
    tracemalloc.start()
    try:
        simulate(graph, x, "numpy", "fixed")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * weights  # Float and fixed, and what prepares them; with 32 of each it was 60 times.


@pytest.mark.lava
@pytest.mark.parametrize("precision", ["float", "fixed"])
def test_lava_is_handed_the_weights_once(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = lower(wide(300))
    sizes = []

    def measure(folder: Path, *_: object) -> None:
        sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
        raise InterruptedError

    monkeypatch.setattr(run, "run_child", measure)
    for batch in (1, 16):
        x = {"input": np.random.default_rng(1).normal(0.2, 1, (batch, 2, 300))}
        own = network
        if precision == "fixed":
            own = quantize(network, populations.run(network, x, batched=True).ranges)
        with pytest.raises(InterruptedError):
            run_network(own, x, batched=True)
    assert sizes[1] < 1.5 * sizes[0]


def test_fixed_point_scales_are_those_of_all_samples() -> None:
    network, x = case("wide")
    each = [populations.run(network, alone(x, b)) for b in range(SAMPLES)]
    merged = Ranges(*(largest(each, key) for key in ("messages", "current", "potential")))
    ours = simulate(wide(), x, "numpy", "fixed")
    assert ours.quantization == quantize(network, merged).report()
