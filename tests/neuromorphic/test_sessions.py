"""Sessions: in any split into calls, the steps of one run; a state comes back; what dies is named, nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from numpy.typing import NDArray
from random_graphs import loop_graph, random_graph, unite
from scenarios import DT, STEPS

import neuromorphic as nm
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import quantize
from neuromorphic.errors import ArgumentError, LavaRunError, SignalFileError, UnsupportedGraphError
from neuromorphic.execution import populations, reference
from neuromorphic.execution.c_compiler import compiler
from neuromorphic.graph import Graph, flatten
from neuromorphic.lava import session as lava_session
from neuromorphic.lava.progress import PID, Progress
from neuromorphic.session import Steps

CUTS = (0, 1, 2, 5, 6, STEPS - 2, STEPS)
"""Where a run is split into calls."""
Inputs = dict[str, NDArray[np.float64]]
needs_compiler = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")


def part(x: Inputs, first: int, last: int, axis: int = 0) -> Inputs:
    return {name: values.take(range(first, last), axis) for name, values in x.items()}


def joined(parts: list[Steps], axis: int = 0) -> Inputs:
    """All signals of several calls, one after the other."""
    signals = [p.outputs | p.potentials | p.spikes for p in parts]
    return {name: np.concatenate([own[name] for own in signals], axis) for name in signals[0]}


def signals_of(run: nm.Run) -> Inputs:
    return run.outputs | run.potentials | run.spikes


@pytest.mark.parametrize("make", [random_graph, loop_graph])
@pytest.mark.parametrize(
    ("backend", "precision", "graphs"),
    [
        ("numpy", "float", 24),
        ("numpy", "fixed", 24),
        ("torch", "float", 24),
        pytest.param("c", "float", 5, marks=needs_compiler),  # Compiling each takes most of the time.
        pytest.param("c", "fixed", 5, marks=needs_compiler),
        pytest.param("c", "float", 100, marks=[needs_compiler, pytest.mark.slow]),
        pytest.param("c", "fixed", 100, marks=[needs_compiler, pytest.mark.slow]),
    ],
)
def test_every_split_of_random_graphs_gives_the_run(
    make: Callable[[int], tuple[nir.NIRGraph, Inputs]], backend: str, precision: str, graphs: int, tmp_path: Path
) -> None:
    for seed in range(graphs):
        nir_graph, batched = make(seed)
        x = {name: values[0] for name, values in batched.items()}
        net = nm.load(nir_graph)
        run = net.run(x, backend, precision, potentials=True)  # type: ignore[arg-type]
        scales = x if precision == "fixed" else None
        with net.session(backend, precision, x=scales, potentials=True) as session:  # type: ignore[arg-type]
            one = session.step({name: values[0] for name, values in x.items()})
            parts = [
                Steps(*({n: v[None] for n, v in own.items()} for own in (one.outputs, one.spikes, one.potentials)))
            ]
            for first, last in pairwise(CUTS[1:]):
                session.save(tmp_path / "state.npz")
                state = session.state()
                session.run(part(x, last - 1, last))  # something else, which is then as if it had not been
                session.restore(tmp_path / "state.npz" if seed % 2 else state)
                parts.append(session.run(part(x, first, last)))
            assert session.steps == STEPS
            session.reset()
            again = session.run(x)
        for done in (joined(parts), joined([again])):
            for name, expected in signals_of(run).items():
                if expected.dtype == bool or backend in ("numpy", "c"):
                    np.testing.assert_array_equal(done[name], expected, err_msg=f"{seed} {name}")
                else:  # PyTorch's matrix products add in another order for another number of steps.
                    np.testing.assert_allclose(done[name], expected, 1e-9, 1e-9, err_msg=f"{seed} {name}")


def test_reference_and_torch_go_on_from_each_others_states() -> None:
    for seed in (3, 4, 5, 17):  # loops, delays of 0 to 3 steps, CubaLIF
        nir_graph, batched = loop_graph(seed)
        x, net = {name: values[0] for name, values in batched.items()}, nm.load(nir_graph)
        expected = joined([Steps((r := net.run(x)).outputs, r.spikes, r.potentials)])
        for a, b in (("numpy", "torch"), ("torch", "numpy")):
            with net.session(a) as first, net.session(b) as second:  # type: ignore[arg-type]
                parts = [first.run(part(x, 0, 7))]
                second.restore(first.state())
                parts.append(second.run(part(x, 7, STEPS)))
            for name, spikes in joined(parts).items():
                np.testing.assert_allclose(spikes, expected[name], 1e-9, 1e-9, err_msg=f"{seed} {a} {name}")


@needs_compiler
def test_integers_in_c_and_in_numpy_go_on_from_each_others_states(tmp_path: Path) -> None:
    """What one does from the other's state is the run, and the states after it are alike: in C, a current without
    memory, which nobody reads, is 0."""
    for make in (random_graph, loop_graph):
        for seed in range(5):
            nir_graph, x = make(seed)
            x = {name: np.concatenate([values, -values]) for name, values in x.items()}
            net = nm.load(nir_graph)
            expected = signals_of(net.run(x, "numpy", "fixed", potentials=True))
            first, second = (net.session(b, "fixed", batch=2, x=x, potentials=True) for b in ("c", "numpy"))
            with first, second:
                parts = []
                for k, (begin, end) in enumerate(pairwise((0, 1, 7, 13, STEPS))):
                    ours, theirs = (first, second) if k % 2 else (second, first)
                    theirs.save(tmp_path / "state.npz")
                    ours.restore(tmp_path / "state.npz")
                    parts.append(ours.run(part(x, begin, end, axis=1)))
                    theirs.run(part(x, begin, end, axis=1))
                    own, other = ours.state(), theirs.state()
                    assert own.keys() == other.keys() and own["step"] == end
                    for name, values in own.items():
                        if not name.startswith("u/") or (first.state()[name].any()):
                            np.testing.assert_array_equal(values, other[name], f"{make.__name__} {seed} {name}")
            for name, values in joined(parts, axis=1).items():
                np.testing.assert_array_equal(values, expected[name], f"{make.__name__} {seed} {name}")


@needs_compiler
def test_sessions_in_c_check_what_they_are_given() -> None:
    net, x = recurrent(3, 0)
    with net.session("c", "fixed", x=x) as session:
        session.run(x[:9])
        state = session.state()
        after = session.run(x[9:])
        with pytest.raises(ArgumentError, match=r"the state's 'v/a' holds what no int\d\d is; give one of"):
            session.restore(state | {"v/a": np.full((1, 9), 2**62) * 2 - 1})
        with pytest.raises(UnsupportedGraphError, match=r"reaches .* and the scales of fixed point were chosen for"):
            session.run(10 * x)
        session.restore(state)
        np.testing.assert_array_equal(session.run(x[9:]).spikes["b"], after.spikes["b"])
        other, y = recurrent(5, 1)
        session.load(other, y)
        np.testing.assert_array_equal(session.run(y).spikes["b"], other.run(y, "c", "fixed").spikes["b"])


def several(seeds: range) -> tuple[Network, Inputs, dict[str, Graph]]:
    """Random graphs and loops as one network, its inputs, and the graphs."""
    graphs, x = {}, {}
    for seed in seeds:
        for make in (random_graph, loop_graph):
            nir_graph, own = make(seed)
            key = f"{make.__name__}{seed}"
            graphs[key] = flatten(nir_graph)
            x |= {f"{key}/{name}": values[0].reshape(STEPS, -1) for name, values in own.items()}
    return unite({key: lower(graph) for key, graph in graphs.items()}), x, graphs


def check_on_lava(seeds: range) -> None:
    """All graphs in one network: float against the reference, fixed bit for bit against the integer simulator, states
    handed from one to the other."""
    network, x, graphs = several(seeds)
    cuts = (0, 1, 2, 6, STEPS)
    up = lava_session.LavaNetwork(network)
    try:
        sent = run_in_parts(up, x, cuts)
    finally:
        up.close()
    for key, graph in graphs.items():
        own = {name: x[f"{key}/{name}"].reshape(1, STEPS, *graph.nodes[name].shape) for name in graph.inputs}
        for name, spikes in reference.simulate(graph, own).spikes.items():
            ours = sent[f"{key}/{name}"].reshape(spikes.shape)
            np.testing.assert_array_equal(ours, spikes, err_msg=f"{key} {name}")
    fixed = quantize(network, populations.run(network, x).ranges)
    expected = populations.run(fixed, x)
    synapses = populations.Synapses(fixed, 1)
    _, middle = populations.run_from(populations.start(fixed, 1), synapses, part(x, 0, 6))
    up = lava_session.LavaNetwork(fixed)
    try:
        sent = run_in_parts(up, x, cuts)
        exact = [name for name, count in expected.overflow.items() if not count.accumulated]
        assert len(exact) > len(expected.overflow) // 2
        for name in exact:
            np.testing.assert_array_equal(sent[name], expected.sent[name], err_msg=name)
        if len(exact) == len(expected.overflow):
            up.restore(middle)
            ours = up.advance({name: values[None, 6:10] for name, values in x.items()})[0]
            for name, messages in ours.items():
                np.testing.assert_array_equal(messages[0], expected.sent[name][6:10], err_msg=name)
            state, (_, after) = up.state(), populations.run_from(middle, synapses, part(x, 6, 10))
            assert state.keys() == after.keys()
            for name, values in after.items():
                np.testing.assert_array_equal(state[name], values, err_msg=name)
    finally:
        up.close()


def run_in_parts(up: lava_session.LavaNetwork, x: Inputs, cuts: tuple[int, ...]) -> Inputs:
    parts = []
    for first, last in pairwise(cuts):
        before = up.state()
        up.advance({name: values[None, last - 1 : last] for name, values in x.items()})
        up.restore(before)
        parts.append(up.advance({name: values[None, first:last] for name, values in x.items()})[0])
    return {name: np.concatenate([own[name][0] for own in parts]) for name in parts[0]}


@pytest.mark.lava
def test_random_graphs_on_lava() -> None:
    check_on_lava(range(10))


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.parametrize("first", range(10, 250, 12))
def test_480_random_graphs_on_lava(first: int) -> None:
    check_on_lava(range(first, first + 12))


def recurrent(nodes: int, seed: int, channels: int = 3) -> tuple[nm.SpikingNetwork, NDArray[np.float64]]:
    """A scene graph's network, with a delay and a loop, and an input for it: sizes are those of its graph."""
    random = np.random.default_rng(seed)
    size, one = nodes * channels, np.ones(nodes * channels)
    adjacency = random.random((nodes, nodes)) * (random.random((nodes, nodes)) < 0.6)
    mixing = random.normal(0.3, 0.8, (channels, channels))

    def lif() -> nir.LIF:
        return nir.LIF(tau=3 * DT * one, r=2 * one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)

    def kron(left: NDArray[np.float64]) -> nir.Affine:
        return nir.Affine(np.kron(left, mixing), 0.1 * one, metadata={"kron_left": left, "kron_right": mixing})

    nodes_of = {"input": nir.Input(np.array([size])), "mix": kron(np.eye(nodes)), "a": lif(), "pass": kron(adjacency)}
    nodes_of |= {
        "wait": nir.Delay(2 * DT * one),
        "b": lif(),
        "back": kron(adjacency.T),
        "output": nir.Output(np.array([size])),
    }
    edges = [("input", "mix"), ("mix", "a"), ("a", "pass"), ("pass", "wait"), ("wait", "b"), ("b", "output")]
    graph = nir.NIRGraph(nodes_of, [*edges, ("b", "back"), ("back", "a")], metadata={"dt": DT}, type_check=False)
    return nm.load(graph), random.normal(0.5, 1.0, (STEPS, size))


def processes(folder: Path) -> list[int]:
    """Of a session whose temporary files are in a folder."""
    found = [Progress(own) for own in folder.glob("neuromorphic-lava-*")]
    return [row[PID] for progress in found for row in np.array(progress.rows)]


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.lava
@pytest.mark.parametrize("precision", ["float", "fixed"])
def test_a_lava_session_takes_other_graphs_as_data(
    precision: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lava_session, "WINDOW", 7)  # Calls are split into windows, too.
    made = [recurrent(nodes, seed) for nodes, seed in ((4, 0), (6, 1), (2, 2), (6, 3))]
    batches = [np.stack([x, x[::-1]]) for _, x in made]
    fixed = precision == "fixed"
    with made[0][0].session(
        "lava", precision, batch=2, x=batches[0] if fixed else None, potentials=True, room=1.5
    ) as session:  # type: ignore[arg-type]
        pids: list[int] = []
        for number, ((net, _), x) in enumerate(zip(made, batches, strict=True)):
            if number:
                session.load(net, x if fixed else None)
            expected = net.run(x, "numpy", precision, potentials=True)  # type: ignore[arg-type]
            assert expected.spikes["b"].any()
            done = joined([session.run(x[:, :1]), session.run(x[:, 1:])], axis=1)
            pids = pids or processes(folder)
            for name, values in signals_of(expected).items():
                if fixed or values.dtype == bool:
                    np.testing.assert_array_equal(done[name], values, err_msg=f"{number} {name}")
                else:
                    np.testing.assert_allclose(done[name], values, 1e-9, 1e-9, err_msg=f"{number} {name}")
        assert processes(folder) == pids
        session.reset()
        np.testing.assert_array_equal(session.run(x).spikes["b"], expected.spikes["b"])
        with pytest.raises(
            ArgumentError, match=r"'input' has 21 elements, the session has room for 18 \(room=\); open"
        ):
            session.load(*(recurrent(7, 0) if fixed else recurrent(7, 0)[:1]))
        other = nm.load(random_graph(1)[0])
        with pytest.raises(ArgumentError, match="nodes, connections or delays are others than those"):
            session.load(other, {n: v[0] for n, v in random_graph(1)[1].items()} if fixed else None)
        np.testing.assert_array_equal(session.run(x[:, :1]).output.shape, (2, 1, 18))  # None of them hurt.
    assert gone(pids)
    assert not list(folder.iterdir())


@pytest.mark.lava
def test_a_session_that_died_says_which_process_and_can_be_closed(folder: Path) -> None:
    net, x = recurrent(3, 0)
    session = net.session("lava")
    session.run(x[:4])
    (run_folder,) = folder.glob("neuromorphic-lava-*")
    progress, pids = Progress(run_folder), processes(folder)
    os.kill(pids[progress.names.index("b")], signal.SIGKILL)
    with pytest.raises(LavaRunError, match=r"^Lava failed: the process of 'b' died by signal 9"):
        session.run(x[4:])
    for call in (session.state, session.reset, lambda: session.run(x), lambda: session.step(x[0])):
        with pytest.raises(
            LavaRunError, match=r"^the session has ended \(Lava failed: the process of 'b' died .*; open"
        ):
            call()
    assert gone(pids)
    session.close()
    session.close()
    assert not list(folder.iterdir())
    with pytest.raises(ArgumentError, match=r"^the session is closed; open another with net.session"):
        session.run(x)


@pytest.mark.lava
def test_a_session_that_hangs_is_stopped_at_the_deadline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = recurrent(3, 0)
    monkeypatch.setattr("neuromorphic.lava.progress.HANG_SECONDS", 0.1)
    with net.session("lava") as session:
        session.run(x[:4])
        (run_folder,) = folder.glob("neuromorphic-lava-*")
        pids = processes(folder)
        os.kill(pids[Progress(run_folder).names.index("a")], signal.SIGSTOP)
        session._machine.up.deadline = 0.1  # type: ignore[union-attr]
        with pytest.raises(
            LavaRunError, match=r"did not answer within 0.1 s and was stopped: the process of 'a' is stop"
        ):
            session.run(x[4:])
        assert gone(pids)


@pytest.mark.lava
def test_a_session_that_nobody_closed_leaves_nothing(folder: Path) -> None:
    net, x = recurrent(3, 0)
    session = net.session("lava")
    session.run(x)
    pids = processes(folder)
    del session
    assert gone(pids)
    assert not list(folder.iterdir())


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    no_time = 0  # not a constant of a call: tests/test_clock.py reads those as limits
    net, x = recurrent(2, 0)
    with net.session() as session, net.session(batch=2) as pair:
        for call, message in (
            (lambda: session.step(x[0, :2]), r"input 'input' of a step must have shape \(6,\), got \(2,\)"),
            (lambda: session.step(x[:1]), r"input 'input' of a step must have shape \(6,\), got \(1, 6\)"),
            (lambda: session.run(x[None]), r"the inputs have 1 samples, the session was opened with batch=None; give"),
            (lambda: pair.run(x), r"the inputs have no axis B, the session was opened with batch=2; give"),
            (lambda: session.run(x[:, :3]), r"must have shape \(T, 6\)"),
            (lambda: session.step(np.full(6, np.nan)), r"input 'input' is NaN at \[0, 0, 0\]|NaN at \[0, 0\]"),
            (
                lambda: session.restore(pair.state()),
                r"the state's 'v/[ab]' is float64 of shape \(2, 6\), not float64 of \(1, 6\)",
            ),
            (lambda: session.restore({}), r"the state has no '\w.*'; give one of a session of this network"),
            (lambda: session.restore(session.state() | {"v/x": x}), r"the state's 'v/x' is unknown here; give"),
            (lambda: session.restore(session.state() | {"v/a": np.full((1, 6), np.nan)}), r"'v/a' holds what no "),
            (lambda: session.restore(session.state() | {"step": np.array(-1)}), r"'step' is -1; give"),
            (lambda: session.restore(3), r"the state is an int; give what"),
            (lambda: session.load(x), r"the network is a numpy.ndarray|the network is an? ndarray"),
            (lambda: net.session(batch=0), r"batch is 0; give a whole number"),
            (lambda: net.session("brian"), r"back end 'brian' is unknown; choose"),
            (lambda: net.session("numpy", "fixed"), r"fixed point chooses scales .* give the session x="),
            (lambda: net.session(room=0.5), r"room is 0.5; give a number of at least 1"),
            (lambda: net.session(deadline=no_time), r"deadline is 0; give"),
            (lambda: net.session(potentials=["c"]), r"potentials: 'c' is unknown"),
        ):  # fmt: skip
            with pytest.raises(ArgumentError, match=message):
                call()
        assert session.steps == 0
        (tmp_path / "state.npz").write_text("no")
        with pytest.raises(SignalFileError, match=r"state.npz is not a state \(.*; write one with session.save"):
            session.restore(tmp_path / "state.npz")
        with pytest.raises(SignalFileError, match=r"^there is no file .*none.npz; write one with session.save"):
            session.restore(tmp_path / "none.npz")
    with pytest.raises(UnsupportedGraphError, match="torch back end has no fixed point"):
        net.session("torch", "fixed", x=x)
    with net.session("numpy", "fixed", x=x) as session:
        with pytest.raises(
            UnsupportedGraphError, match=r"input 'input' reaches .* chosen for .* at most; open the session"
        ):
            session.run(10 * x)
        other, y = recurrent(2, 1)
        with (
            other.session("numpy", "fixed", x=y) as second,
            pytest.raises(ArgumentError, match="is another network's"),
        ):
            second.restore(session.state())


def test_check_says_what_another_adjacency_is_on_a_chip() -> None:
    net, x = recurrent(4, 0)
    notes = [note for note in net.check(x=x).notes if "kron(A, W)" in note["what"]]
    assert [note["node"] for note in notes] == ["b", "a"]
    left = net.graph.nodes["pass"].metadata["kron_left"]
    synapses = np.count_nonzero(left) * 9
    assert f"from 'a' are kron(A, W), which is {synapses} synapses of this graph" in notes[0]["what"]
    assert "all 4 x 4 pairs of nodes have synapses, 144 of them on 1 cores at least" in notes[0]["mend"]
    same = nir.NIRGraph(
        net.nir_graph.nodes | {"pass": nir.Linear(np.eye(12))}, net.nir_graph.edges, metadata={"dt": DT}
    )
    assert len([note for note in nm.load(same).check(x=x).notes if "kron(A, W)" in note["what"]]) == 1  # "back" alone
