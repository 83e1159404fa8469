"""The C back end against the simulators in NumPy: bit for bit, and spike by spike against the reference."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from random_graphs import loop_graph, random_graph, unite
from scenarios import SCENARIOS

from neuromorphic import load
from neuromorphic.c import cache, library
from neuromorphic.c.plan import plan
from neuromorphic.compiler.lower import lower, pack
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.operators import Kron
from neuromorphic.compiler.quantize import FixedNetwork, quantize
from neuromorphic.errors import PackagesMissingError, UserError
from neuromorphic.execution import c_compiler, populations, reference
from neuromorphic.execution.populations import PopulationRun
from neuromorphic.graph import flatten

pytestmark = pytest.mark.skipif(c_compiler.compiler() is None, reason="there is no C compiler")
Make = Callable[[int], tuple[nir.NIRGraph, dict[str, np.ndarray]]]


def same(network: Network, x: dict[str, np.ndarray], batched: bool = False) -> tuple[PopulationRun, library.Library]:
    """C and NumPy give the same numbers, of all kinds."""
    neurons = [p.name for p in network.populations if p.kind != "sum"]
    expected = populations.run(network, x, neurons, batched)
    library.run(network, x, neurons, batched)  # Which leaves the network as it was.
    ours = library.run(network, x, neurons, batched, watch=True)
    for name, values in expected.sent.items():
        np.testing.assert_array_equal(ours.sent[name], values, name)
        assert ours.sent[name].dtype == values.dtype
    for name in neurons:
        np.testing.assert_array_equal(ours.potentials[name], expected.potentials[name], name)
    assert ours.ranges == expected.ranges and ours.overflow == expected.overflow
    return expected, library.Library(plan(network))


def check(make: Make, seeds: Iterable[int]) -> None:
    """Many graphs as one: float against the reference and bit for bit, and integers bit for bit."""
    graphs, x, networks = {}, {}, {}
    for seed in seeds:
        nir_graph, own = make(seed)
        graphs[str(seed)] = flatten(nir_graph)
        networks[str(seed)] = lower(graphs[str(seed)])
        x |= {f"{seed}/{name}": values[0] for name, values in own.items()}
    network = unite(networks)
    exact, _ = same(network, x)
    for number, graph in graphs.items():
        expected = reference.simulate(graph, {name: x[f"{number}/{name}"][None] for name in graph.inputs})
        for name, spikes in expected.spikes.items():
            record = exact.sent[f"{number}/{name}"].reshape(spikes[0].shape)
            np.testing.assert_array_equal(record, spikes[0], f"seed {number}, {name}")
    same(quantize(network, exact.ranges), x)


def test_random_graphs() -> None:
    check(random_graph, range(12))


def test_loops() -> None:
    check(loop_graph, range(12))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 500, 20))
def test_500_random_graphs(first: int) -> None:
    check(random_graph, range(first, first + 20))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 100, 20))
def test_100_loops(first: int) -> None:
    check(loop_graph, range(first, first + 20))


def test_scenarios_also_where_sums_land_on_the_threshold() -> None:
    network = pack([lower(flatten(s.graph)) for s in SCENARIOS.values()])
    same(network, {"input": np.concatenate([s.x for s in SCENARIOS.values()], axis=1)})


def test_dense_layers_in_tiles() -> None:
    """Whole tiles, a narrower one and a rest; spikes, integers and other numbers, not a multiple of eight; int8 and
    wider weights; many samples."""
    random = np.random.default_rng(0)
    one = np.ones(170)
    layer = nir.LIF(tau=5e-3 * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
    nodes = {
        "input": nir.Input(np.array([43])),
        "a": nir.Linear(random.normal(0, 1.5, (170, 43))),
        "lif": layer,
        "b": nir.Linear(random.choice([-1.0, 0.5, 1.0], (170, 170))),
        "last": layer,
        "output": nir.Output(np.array([170])),
    }
    graph = nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": 1e-3})
    network = lower(flatten(graph))
    whole = random.choice([-2, 0, 1, 3], (3, 12, 43))
    for x in (random.random((70, 12, 43)) < 0.4, random.normal(0, 1, (2, 12, 43)), whole):
        exact, _ = same(network, {"input": x.astype(float)}, batched=True)
        assert exact.sent["last"].mean() > 0.05
        same(quantize(network, exact.ranges), {"input": x.astype(float)}, batched=True)


def test_steps_together_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven at a time of 24, of two samples three: biases that begin late, and a potential of each step."""
    monkeypatch.setattr(library, "CACHE_BYTES", -1)
    monkeypatch.setattr(library, "TOGETHER", 7)
    late = 0
    for seed in (1, 9, 15, 24, 28):
        nir_graph, x = random_graph(seed)
        network = lower(flatten(nir_graph))
        late += any(p.bias.start and max(p.bias.start) for p in network.populations)
        one = {name: values[0] for name, values in x.items()}
        two = {name: np.concatenate([values, -values]) for name, values in x.items()}
        for own, batched in ((one, False), (two, True)):
            exact, made = same(network, own, batched)
            assert made.together
            same(quantize(network, exact.ranges), own, batched)
    assert late
    assert not library.Library(plan(lower(flatten(loop_graph(0)[0])))).together


def test_registers_that_overflow_and_sums_beyond_32_bits() -> None:
    """Scales that are far too large: currents wrap, potentials saturate, and C counts it as the simulator does."""
    found = set()
    for seed in range(8):
        nir_graph, x = random_graph(seed)
        network = lower(flatten(nir_graph))
        inputs = {name: values[0] for name, values in x.items()}
        exact = populations.run(network, inputs)
        small = {name: value / 300 for name, value in exact.ranges.potential.items()}
        fixed = quantize(network, replace(exact.ranges, potential=small, current=small))
        # Weights that no quantisation gives, for sums beyond 32 bits.
        grown = tuple(
            replace(q, weight_exp=q.weight_exp + 9) if seed % 2 and not network.is_direct(q) else q
            for q in fixed.projections
        )
        loud = {name: 1000 * values for name, values in inputs.items()}
        ran, _ = same(replace(fixed, projections=grown), loud)
        found |= {what for count in ran.overflow.values() for what, n in vars(count).items() if n}
    assert {"wrapped", "saturated"} <= found


def test_sums_beyond_32_bits_are_counted() -> None:
    nir_graph, x = random_graph(1)
    network = lower(flatten(nir_graph))
    inputs = {name: values[0] for name, values in x.items()}
    fixed = quantize(network, populations.run(network, inputs).ranges)
    taps = [{d: w * 2**20 if w.dtype == np.int32 else w for d, w in q.taps.items()} for q in fixed.projections]
    grown = tuple(
        q if fixed.is_direct(q) else replace(q, taps=own, weight_exp=q.weight_exp - 8)
        for q, own in zip(fixed.projections, taps, strict=True)
    )
    ran, _ = same(replace(fixed, projections=grown), inputs)
    assert any(count.accumulated for count in ran.overflow.values())


def test_one_library_serves_networks_of_the_same_shapes() -> None:
    """Weights are no part of what is compiled, and two networks that share a library do not meet."""
    nir_graph, x = random_graph(3)
    network = lower(flatten(nir_graph))
    inputs = {name: values[0] for name, values in x.items()}
    other = replace(
        network,
        projections=tuple(
            q if q.identity else replace(q, taps={d: 0.5 * w for d, w in q.taps.items()}) for q in network.projections
        ),
    )
    before = library.compiled.cache_info().misses
    first, second = (same(n, inputs)[0] for n in (network, other))
    assert any((first.sent[n] != second.sent[n]).any() for n in first.sent)
    assert library.compiled.cache_info().misses <= before + 2  # watched, and not
    same(network, inputs)


def test_kronecker_products() -> None:
    random = np.random.default_rng(2)
    left, right = random.random((3, 3)) * (random.random((3, 3)) < 0.7), random.normal(0, 1, (4, 4))
    weight = np.kron(left, right)
    one = np.ones(12)
    nodes = {
        "input": nir.Input(np.array([12])),
        "way": nir.Linear(weight),
        "lif": nir.LIF(tau=2e-3 * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one),
        "output": nir.Output(np.array([12])),
    }
    nodes["way"].metadata = {"kron_left": left, "kron_right": right}
    graph = flatten(nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": 1e-3}))
    network = lower(graph)
    assert any(isinstance(w, Kron) for q in network.projections for w in q.taps.values())
    x = {"input": random.normal(1, 1, (20, 12))}
    expected = reference.simulate(graph, {"input": x["input"][None]})
    np.testing.assert_array_equal(library.run(network, x).sent["lif"], expected.spikes["lif"][0])
    same(quantize(network, populations.run(network, x).ranges), x)


def test_runs_verify_and_batches_of_the_back_end() -> None:
    nir_graph, x = random_graph(4)
    net = load(nir_graph)
    two = {name: np.concatenate([values, -values]) for name, values in x.items()}
    for precision in ("float", "fixed"):
        ours = net.run(two, backend="c", precision=precision, potentials=True)
        theirs = net.run(two, precision=precision, potentials=True)
        assert ours.shape == (2, 24) and ours.counts == theirs.counts and ours.overflow == theirs.overflow
        for name, spikes in theirs.spikes.items():
            np.testing.assert_array_equal(ours.spikes[name], spikes)
        for name, values in (theirs.outputs | theirs.potentials).items():
            own = (ours.outputs | ours.potentials)[name]
            np.testing.assert_allclose(own, values, rtol=0, atol=1e-12 if precision == "float" else 0)
    assert net.verify(x, against="c") and net.verify(x, "c", "fixed", backend_precision="fixed")


def test_a_second_run_plans_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    nir_graph, x = random_graph(4)
    net = load(nir_graph)
    louder = {name: 2 * values for name, values in x.items()}
    expected = {p: [net.run(own, precision=p) for own in (x, louder)] for p in ("float", "fixed")}
    made = []
    original = library.plan
    monkeypatch.setattr(library, "plan", lambda *a, **o: made.append(a) or original(*a, **o))
    for precision, runs in expected.items():
        for k, own in enumerate((x, x, louder)):
            planned = len(made)
            ours = net.run(own, backend="c", precision=precision)  # type: ignore[arg-type]
            assert (len(made) > planned) == (k == 0 or (k == 2 and precision == "fixed"))
            for name, spikes in runs[k // 2].spikes.items():
                np.testing.assert_array_equal(ours.spikes[name], spikes)
    # Numbers of a graph can be written to: then nothing of it is taken from before.
    weights = [n.parameters["weight"] for n in net.graph.nodes.values() if "weight" in n.parameters]
    weights[0][:] *= -0.5
    for precision in expected:
        ours, theirs = (net.run(x, backend=b, precision=precision) for b in ("c", "numpy"))  # type: ignore[arg-type]
        for name, spikes in theirs.spikes.items():
            np.testing.assert_array_equal(ours.spikes[name], spikes)
    held = len(cache._cached)
    del net, expected, runs, ours, theirs
    gc.collect()
    assert len(cache._cached) < held


def test_a_run_can_be_cut_in_two() -> None:
    nir_graph, x = random_graph(7)
    network = lower(flatten(nir_graph))
    whole = library.run(network, {name: values[0] for name, values in x.items()})
    lib = library.Library(plan(network))
    sent = {c.population.name: np.zeros((1, 24, c.population.size), c.sent) for c in lib.plan.cells}
    messages = {name: np.ascontiguousarray(values.reshape(1, 24, -1)) for name, values in x.items()}
    states = lib.states(1)
    lib.advance(states, messages, sent, {}, 0, 10)
    states = states.copy()  # A state is its bytes.
    lib.advance(states, messages, sent, {}, 10, 24)
    for name, values in whole.sent.items():
        np.testing.assert_array_equal(sent[name][0], values, name)


def test_without_a_compiler_and_with_a_broken_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.compiled.cache_clear()
    net, x = load(random_graph(3)[0]), random_graph(3)[1]
    monkeypatch.setattr(c_compiler.shutil, "which", lambda name: None)
    with pytest.raises(PackagesMissingError, match="needs a C compiler: install gcc or clang"):
        net.run(x, backend="c")
    monkeypatch.setattr(c_compiler.shutil, "which", lambda name: "/bin/false")
    with pytest.raises(UserError, match="/bin/false failed"):
        net.run(x, backend="c")
    assert not list(tmp_path.rglob("*.so"))


def test_the_integers_are_a_fixed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """One spike more in C is found: the comparison of these tests sees it."""
    nir_graph, x = random_graph(0)
    network = lower(flatten(nir_graph))
    inputs = {name: values[0] for name, values in x.items()}
    fixed = quantize(network, populations.run(network, inputs).ranges)
    assert isinstance(fixed, FixedNetwork)
    original = library.run

    def spoilt(*arguments: object, **options: object) -> PopulationRun:
        run = original(*arguments, **options)  # type: ignore[arg-type]
        name = next(p.name for p in fixed.populations if p.spikes)
        run.sent[name][3, 0] ^= True
        return run

    monkeypatch.setattr(library, "run", spoilt)
    with pytest.raises(AssertionError):
        same(fixed, inputs)
