"""Graphs as Lava processes: in networks of the user's own, under Lava's own run, and by ``run`` with inputs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from numpy.typing import NDArray
from random_graphs import random_graph
from scenarios import DT, SCENARIOS, lif, reference_spikes

import neuromorphic.lava
from neuromorphic.backends import simulate
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.quantize import quantize
from neuromorphic.errors import ArgumentError, LavaMissingError, UnsupportedGraphError
from neuromorphic.execution import populations, reference
from neuromorphic.graph import flatten
from neuromorphic.lava import compat
from neuromorphic.nir_file import write_nir

pytestmark = pytest.mark.lava
ONE = SCENARIOS["random_0"]


def run_in_a_network(
    process: Any, inputs: dict[str, NDArray], config: Any = None, extra: int = 0
) -> dict[str, NDArray]:
    """Run a process between sources and sinks of Lava's; gives all that each output sent, shape (steps, n)."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    steps = len(next(iter(inputs.values()))) + max(process.lags.values()) + extra
    for name, x in inputs.items():
        messages = process.encode(name, x.reshape(len(x), -1))
        source = Source(data=np.pad(messages, ((0, steps - len(x)), (0, 0))).T)
        source.s_out.connect(process.ports[name])
    sinks = {name: Sink(shape=process.ports[name].shape, buffer=steps) for name in process.lags}
    for name, sink in sinks.items():
        process.ports[name].connect(sink.a_in)
    try:
        process.run(RunSteps(steps), config or process.run_config())
        return {name: process.decode(name, sink.data.get().T) for name, sink in sinks.items()}
    finally:
        process.stop()


def several() -> tuple[nir.NIRGraph, dict[str, NDArray]]:
    """Parts that have nothing to do with each other, two of them with loops; awkward names; an input straight to an
    output, and one that nothing reads."""
    random = np.random.default_rng(3)

    def port(kind: type, size: int) -> nir.NIRNode:
        return kind(np.array([size]))

    nodes = {
        "in 1": port(nir.Input, 3),
        "run": port(nir.Input, 2),
        "idle": port(nir.Input, 4),
        "a": nir.Affine(random.normal(0.5, 1, (4, 3)), random.normal(0.3, 0.2, 4)),
        "lif a": lif(4, tau=3 * DT, v_reset=-0.2),
        "back a": nir.Linear(random.normal(0, 0.8, (4, 4))),
        "b": nir.Linear(random.normal(0.8, 1, (2, 2))),
        "lif b": lif(2),
        "back b": nir.Linear(random.normal(0, 0.8, (2, 2))),
        "out": port(nir.Output, 4),
        "class": port(nir.Output, 2),
        "echo": port(nir.Output, 2),
        "1": port(nir.Output, 4),
    }
    edges = [("in 1", "a"), ("a", "lif a"), ("lif a", "back a"), ("back a", "lif a"), ("lif a", "out"), ("lif a", "1")]
    edges += [("run", "b"), ("b", "lif b"), ("lif b", "back b"), ("back b", "lif b"), ("lif b", "class")]
    edges += [("run", "echo")]
    sizes = {"in 1": 3, "run": 2, "idle": 4}
    x = {name: random.normal(0.5, 1, (1, 20, size)) for name, size in sizes.items()}
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False), x


def check(outputs: dict[str, NDArray], process: Any, expected: dict[str, NDArray]) -> None:
    for name, values in expected.items():
        lag, steps = process.lags[name], values.shape[1]
        assert not outputs[name][:lag].any(), name
        own = outputs[name][lag : lag + steps].reshape(values.shape[1:])
        np.testing.assert_allclose(own, values[0], rtol=1e-9, atol=1e-9, err_msg=name)


def test_the_example_gives_the_spikes_of_the_reference_after_the_lag(tmp_path: Path) -> None:
    """The docstring's example."""
    write_nir(tmp_path / "encoder.nir", ONE.graph)
    x, T = ONE.x[None], len(ONE.x)
    namespace: dict[str, Any] = {"neuromorphic": neuromorphic, "Path": lambda name: tmp_path / name, "x": x, "T": T}
    setup = (
        "from lava.magma.core.run_conditions import RunSteps\n"
        "from lava.proc.io.source import RingBuffer\n"
        "from lava.proc.io.sink import RingBuffer as SinkRingBuffer\n"
    )
    compile = neuromorphic.lava.compile
    lines = [line.strip()[4:] for line in compile.__doc__.splitlines() if line.strip().startswith(">>>")]
    assert len(lines) == 9
    exec(setup + "\n".join(lines), namespace)
    expected = reference_spikes(ONE.graph, ONE.x)["lif_2"]
    assert expected.any() and namespace["process"].lags["output"] > 0
    np.testing.assert_array_equal(namespace["outputs"], expected)
    np.testing.assert_array_equal(namespace["record"].outputs["output"][0], expected)


@pytest.mark.parametrize("config", ["ours", "lava's"])
def test_parts_that_are_not_connected(config: str) -> None:
    graph, x = several()
    process = neuromorphic.lava.compile(graph)
    assert (process.in_1, process.in_ports.run_) == (process.ports["in 1"], process.ports["run"])
    assert process.out_ports.member_names == ["class_", "echo", "out", "port_1"]
    from lava.magma.core.run_configs import Loihi2SimCfg

    own = Loihi2SimCfg(select_tag="floating_pt") if config == "lava's" else None
    outputs = run_in_a_network(process, {name: values[0] for name, values in x.items()}, own)
    check(outputs, process, reference.simulate(flatten(graph), x).outputs)


@pytest.mark.parametrize("stock", [False, True], ids=["ours", "stock"])
def test_fixed_point_is_that_of_the_integer_simulator(stock: bool) -> None:
    graph, x = several()
    calibration = {name: np.concatenate([values, 0.5 * values]) for name, values in x.items()}
    process = neuromorphic.lava.compile(graph, "fixed", calibration=calibration, stock=stock)
    network = lower(flatten(graph))
    flat = {name: values[0] for name, values in x.items()}
    fixed = quantize(network, populations.run(network, flat).ranges)
    expected = {name: fixed.values(name, populations.run(fixed, flat).sent[name])[None] for name in process.lags}
    check(run_in_a_network(process, flat), process, expected)
    record = process.run(x)
    for name, values in expected.items():
        np.testing.assert_array_equal(record.outputs[name], values)
    # Scales are those of the calibration, whatever is run.
    quiet = process.run({name: 0.1 * values for name, values in x.items()})
    own = populations.run(fixed, {name: 0.1 * values for name, values in flat.items()})
    np.testing.assert_array_equal(quiet.spikes["lif a"][0], own.sent["lif a"])
    with pytest.raises(UnsupportedGraphError, match=r"input 'in 1' reaches .*calibrate with larger inputs"):
        process.run({name: 3 * values for name, values in x.items()})


@pytest.mark.parametrize("seed", range(100, 106))
def test_random_graphs(seed: int) -> None:
    graph, x = random_graph(seed)
    process = neuromorphic.lava.compile(graph)
    outputs = run_in_a_network(process, {name: values[0] for name, values in x.items()}, extra=2)
    check(outputs, process, reference.simulate(flatten(graph), x).outputs)


def test_run_with_inputs_keeps_no_state_and_takes_batches() -> None:
    process = neuromorphic.lava.compile(ONE.graph)
    x = np.stack([ONE.x, ONE.x[::-1]])
    first, second = process.run({"input": x}), process.run({"input": x}, potentials=["lif_1"])
    expected = simulate(flatten(ONE.graph), {"input": x}).record
    for record in (first, second):
        np.testing.assert_array_equal(record.outputs["output"], expected.outputs["output"])
    assert set(second.potentials) == {"lif_1"}
    # It is a description still: connected and run by Lava after that, it starts from rest.
    outputs = run_in_a_network(process, {"input": ONE.x})
    check(outputs, process, {"output": expected.outputs["output"][:1]})


def test_two_processes_in_one_network_and_one_of_the_users_processes_between() -> None:
    from lava.magma.core.run_conditions import RunSteps
    from lava.proc.dense.process import Dense
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    n_in, n_out = ONE.x.shape[1], reference_spikes(ONE.graph, ONE.x)["lif_2"].shape[1]
    weights = np.random.default_rng(0).normal(0.5, 1.0, (n_in, n_out))
    a, b = neuromorphic.lava.compile(ONE.graph), neuromorphic.lava.compile(ONE.graph)
    between = Dense(weights=weights, num_message_bits=24)
    lag = a.lags["output"] + 1 + b.lags["output"]
    source = Source(data=np.pad(ONE.x, ((0, lag), (0, 0))).T)
    sink = Sink(shape=(n_out,), buffer=len(ONE.x) + lag)
    source.s_out.connect(a.input)
    a.output.connect(between.s_in)
    between.a_out.connect(b.input)
    b.output.connect(sink.a_in)
    sink.run(RunSteps(len(ONE.x) + lag), a.run_config())
    got = sink.data.get().T
    sink.stop()
    middle = reference_spikes(ONE.graph, ONE.x)["lif_2"] @ weights.T
    # The second runs from the first step on, for which nothing comes before the first has an output.
    shifted = np.concatenate([np.zeros((a.lags["output"] + 1, n_in)), middle])
    expected = reference_spikes(ONE.graph, shifted)["lif_2"]
    np.testing.assert_array_equal(got[b.lags["output"] :], expected)


def test_the_wrong_tag_is_refused() -> None:
    from lava.magma.core.run_configs import Loihi2SimCfg

    process = neuromorphic.lava.compile(ONE.graph)
    with pytest.raises(AssertionError, match="No ProcessModels found with tag 'fixed_pt'"):
        run_in_a_network(process, {"input": ONE.x}, Loihi2SimCfg(select_tag="fixed_pt"))


def test_what_cannot_be_compiled_is_one_error() -> None:
    with pytest.raises(UnsupportedGraphError, match="calibration inputs"):
        neuromorphic.lava.compile(ONE.graph, "fixed")
    with pytest.raises(ArgumentError, match="choose one of float, fixed"):
        neuromorphic.lava.compile(ONE.graph, "double")
    with pytest.raises(UnsupportedGraphError, match="input 'input' must have shape"):
        neuromorphic.lava.compile(ONE.graph).run({"input": ONE.x})


def test_the_package_imports_without_lava(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "find_spec", lambda name: None)
    with pytest.raises(LavaMissingError, match="doctor --install lava"):
        _ = neuromorphic.lava.compile
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        _ = neuromorphic.lava.other
    monkeypatch.undo()
    script = "import sys, neuromorphic.lava; assert not any(m.split('.')[0] == 'lava' for m in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert find_spec("lava") is not None


def test_lava_can_be_imported_after_multiprocessing_was_used() -> None:
    script = "import multiprocessing, neuromorphic.lava; multiprocessing.Queue(); neuromorphic.lava.compile"
    subprocess.run([sys.executable, "-c", script], check=True)
