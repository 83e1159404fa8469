"""Bad input, by kind, on the command line and through Python: one line that says what is wrong, or taken for what it is
where its meaning is clear; nothing is left half-written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from scenarios import DT, chain, lif, relay

from neuromorphic import backends, check, run, spiking_network, verify
from neuromorphic.backends import run_side_by_side, simulate
from neuromorphic.cli import run_command
from neuromorphic.compiler.lower import lower
from neuromorphic.conversion.report import conversion_report
from neuromorphic.errors import ArgumentError, SignalFileError, UnsupportedGraphError, UserError, UserNotice
from neuromorphic.execution import reference
from neuromorphic.execution.spikes import save_arrays
from neuromorphic.execution.torch_simulator import simulate_torch
from neuromorphic.files import check_destination
from neuromorphic.graph import flatten
from neuromorphic.graph.times import DEFAULT_DT
from neuromorphic.lava.run import run_network
from neuromorphic.nir_file import read_nir, write_nir
from neuromorphic.signals import load_inputs, output_arrays

X = np.tile([1.0, 0.25], (6, 1))
GRAPH = chain(*relay(2))
FLAT = flatten(GRAPH)


def graph_of(nodes: dict[str, nir.NIRNode], *edges: tuple[str, str], dt: float | None = DT) -> nir.NIRGraph:
    ends = list(edges) or list(zip(nodes, list(nodes)[1:], strict=False))
    return nir.NIRGraph(nodes, ends, metadata={} if dt is None else {"dt": dt}, type_check=False)


def around(**nodes: nir.NIRNode) -> dict[str, nir.NIRNode]:
    return {"input": nir.Input(np.array([2])), **nodes, "output": nir.Output(None)}


def one_if(size: int = 2) -> nir.IF:
    return nir.IF(r=np.ones(size), v_threshold=np.full(size, 0.5))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_nir(tmp_path / "model.nir", GRAPH)
    np.savez(tmp_path / "in.npz", input=X)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Command = Callable[..., int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    def call(module: Any, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        try:
            run_command(module.main)
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return call


RUN = ("--nir", "model.nir", "--input", "in.npz", "--out", "o.npz")


# Files of inputs.


def test_an_npy_file_does_for_one_input(folder: Path) -> None:
    np.save("in.npy", X)
    np.testing.assert_array_equal(load_inputs(Path("in.npy"), FLAT).inputs["input"], X[None])
    inputs = {name: nir.Input(np.array([2])) for name in "ab"}
    two = graph_of({**inputs, "if": one_if(), "out": nir.Output(None)}, ("a", "if"), ("b", "if"), ("if", "out"))
    with pytest.raises(SignalFileError, match=r"in\.npy holds one array, the graph has the Input nodes a, b; write"):
        load_inputs("in.npy", flatten(two))


def test_extra_arrays_are_left_out_unread_with_one_line(
    folder: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("in.npz", input=X, label=np.array([{}]), comment=np.array("text"))
    assert command(run, *RUN) == 0
    err = capsys.readouterr().err.splitlines()
    assert err == ["note: in.npz: label, comment are not Input nodes of the graph and left out"]
    with pytest.warns(UserNotice, match="left out"):
        load_inputs("in.npz", FLAT)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"input": X * np.nan}, r"'input' is NaN at \[0, 0\]; give finite numbers"),
        ({"input": np.where(np.arange(12).reshape(6, 2) == 5, np.inf, X)}, r"'input' is infinite at \[2, 1\]"),
        ({"input": X[:0]}, "'input' has no step to run"),
        ({"input": X[None][:0]}, "'input' has no sample to run"),
        ({"input": X.astype(complex)}, "must hold real numbers, got complex128"),
        ({"input": X[:, 0]}, r"must have shape \(T, 2\) or \(B, T, 2\), got \(6,\)"),
    ],
)
def test_what_an_array_may_not_be_is_said_of_files_and_in_python(
    folder: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez("in.npz", **arrays)
    with pytest.raises(SignalFileError, match=message):
        load_inputs("in.npz", FLAT)
    x = arrays["input"]
    same = r"input 'input' (is NaN|is infinite|has no (step|sample)|holds complex|must have)"
    with pytest.raises(UserError, match=same):
        simulate(FLAT, {"input": x if x.ndim == 3 else x[None]})


def test_what_is_no_npz_is_said(folder: Path) -> None:
    Path("text.npz").write_text("x")
    cases = {"folder": "is a folder", "none.npz": "does not exist", "text.npz": "neither an .npz nor a .npy file"}
    cases["model.nir"] = "is HDF5, but no data file of NIR; write it with"
    Path("folder").mkdir()
    for name, message in cases.items():
        with pytest.raises(SignalFileError, match=message):
            load_inputs(name, FLAT)


def test_steps_that_no_memory_holds_are_refused_at_once(
    folder: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, arguments in ((run, RUN), (verify, ("--nir", "model.nir", "--against", "torch"))):
        assert command(module, *arguments, "--steps", 10**13) == 2
        assert "run fewer steps" in capsys.readouterr().err
    with pytest.raises(UnsupportedGraphError, match="run fewer steps"):
        load_inputs("in.npz", FLAT, 10**13)


# Names.


NAMES = ["file", "arr_0", "a/b", "x", "x.npy", "", "é b", "allow_pickle", "args"]


def test_any_name_is_written_as_it_is(tmp_path: Path) -> None:
    arrays = {name: np.full(k + 1, k) for k, name in enumerate(NAMES)}
    save_arrays(tmp_path / "o.npz", arrays)
    with np.load(tmp_path / "o.npz") as file:
        assert sorted(file.files) == sorted(NAMES)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array)
    with pytest.raises(ArgumentError, match=r"no \.npz file can hold"):
        save_arrays(tmp_path / "o.npz", {"\udcff": X})


def test_nodes_with_names_that_numpy_swallows(folder: Path, command: Command) -> None:
    nodes = {"input": nir.Input(np.array([2])), "file": one_if(), "file.potential": one_if(), "self": nir.Output(None)}
    nodes["args"] = nir.Output(None)
    graph = graph_of(nodes, ("input", "file"), ("file", "file.potential"), ("file.potential", "self"), ("file", "args"))
    write_nir(Path("model.nir"), graph)
    assert command(run, *RUN, "--trace", "file", "file.potential") == 0
    with np.load("o.npz") as out:
        potentials = ["file.potential.potential", "file.potential_"]
        assert sorted(out.files) == ["args", "file", "file.potential", *potentials, "self"]
        record = simulate(flatten(graph), {"input": X[None]}, potentials=["file"]).record
        np.testing.assert_array_equal(out["file"], record.spikes["file"][0])
        np.testing.assert_array_equal(out["file.potential"], record.spikes["file.potential"][0])
        np.testing.assert_array_equal(out["file.potential_"], record.potentials["file"][0])
    with pytest.warns(UserNotice, match=r"written as 'file\.potential_'"):
        output_arrays(flatten(graph), record, ["file"], True)


@pytest.mark.parametrize("name", ["[x]", "[red]", ":smile:", "a b", "[bold]x"])
def test_names_are_printed_as_they_are(
    folder: Path, command: Command, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_nir(Path("model.nir"), graph_of(around(**{name: one_if()})))
    for module, arguments in ((run, RUN), (check, ("--nir", "model.nir")), (verify, ("--nir", "model.nir"))):
        extra = ("--against", "numpy", "--precision", "fixed") if module is verify else ()
        assert command(module, *arguments, *extra) in (0, 1)
        assert module is verify or name in capsys.readouterr().out


def test_numbers_of_numpy_are_printed_as_numbers() -> None:
    with pytest.raises(ArgumentError, match=r"back end 0\.5 is unknown"):
        simulate(FLAT, {"input": X[None]}, np.float64(0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\0", "\udcff", 3])
def test_names_that_cannot_be_printed_are_refused(name: Any) -> None:
    with pytest.raises(UnsupportedGraphError, match="give it a name that can be printed") as caught:
        flatten(graph_of(around(**{"if": one_if()}) | {name: nir.Output(None)}))
    assert "\n" not in str(caught.value)


# Graphs.


@pytest.mark.parametrize("kind", ["linear", "if", "conv"])
def test_layers_of_no_neurons_are_named(kind: str) -> None:
    nodes = {
        "linear": {"x": nir.Linear(np.zeros((0, 2))), "if": one_if(0)},
        "if": {"x": one_if(0)},
        "conv": {"x": nir.Conv2d((2, 2), np.zeros((0, 1, 1, 1)), 1, 0, 1, 1, np.zeros(0))},
    }[kind]
    before = {"input": nir.Input(np.array([1, 2, 2]))} if kind == "conv" else {"input": nir.Input(np.array([2]))}
    with pytest.raises(UnsupportedGraphError, match=r"'x' has no (elements|weights)|'x': r has shape"):
        flatten(graph_of(before | nodes | {"output": nir.Output(None)}))


def test_no_number_is_called_what_it_is() -> None:
    for value, words in ((np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")):
        with pytest.raises(UnsupportedGraphError, match=rf"node 'x': r is {words} at \[1\]"):
            flatten(graph_of(around(x=nir.I(np.array([1.0, value])))))
        with pytest.raises(UnsupportedGraphError, match=rf"node 'x': weight is {words} at \[0, 1\]"):
            flatten(graph_of(around(x=nir.Linear(np.array([[1.0, value], [0.0, 0.0]])), y=one_if())))


def test_dt_is_not_asked_for_where_it_changes_nothing(folder: Path, command: Command) -> None:
    still = {"if": one_if(), "delay": nir.Delay(np.zeros(2)), "i": nir.I(np.ones(2)), "t": nir.Threshold(np.ones(2))}
    graph = graph_of(around(**still), dt=None)
    assert flatten(graph).dt == DEFAULT_DT and flatten(graph, 1e-4).dt == 1e-4
    records = [reference.simulate(flatten(graph, dt), {"input": X[None]}) for dt in (None, 1e-5, 10.0)]
    for record in records[1:]:
        np.testing.assert_array_equal(record.outputs["output"], records[0].outputs["output"])
    for timed in (nir.Delay(np.array([0.0, DT])), nir.LI(np.full(2, DT), np.ones(2), np.zeros(2))):
        with pytest.raises(UnsupportedGraphError, match="give --dt"):
            flatten(graph_of(around(**{"if": one_if(), "timed": timed}), dt=None))
    write_nir(Path("model.nir"), graph)
    assert command(run, *RUN) == 0 and json.loads(Path("o.json").read_text())["dt"] == DEFAULT_DT


def test_graphs_and_metadata_without_end_are_refused(tmp_path: Path) -> None:
    endless = graph_of({"input": nir.Input(np.array([2])), "output": nir.Output(None)})
    endless.nodes["itself"] = endless
    deep = graph_of(around(**{"if": one_if()}))
    for _ in range(400):
        deep = graph_of(around(deep=deep))
    for graph in (endless, deep):
        for function in (flatten, lambda graph: write_nir(tmp_path / "x.nir", graph)):
            with pytest.raises(UnsupportedGraphError, match="nested more than 32 graphs deep"):
                function(graph)
    metadata: dict[str, Any] = {}
    metadata["again"] = metadata
    with pytest.raises(UnsupportedGraphError, match="cannot be written"):
        write_nir(tmp_path / "x.nir", graph_of(around(x=nir.Threshold(np.ones(2), metadata=metadata))))
    assert not list(tmp_path.iterdir())


def test_signals_that_leave_float64_are_named(
    folder: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    grows = graph_of(around(s=nir.Scale(np.full(2, 1e300)), i=nir.I(np.full(2, 1e20))))
    write_nir(Path("model.nir"), grows)
    for backend in ("numpy", "torch"):
        with pytest.raises(UnsupportedGraphError, match=r"node 'i' becomes infinite at \[0, 0, 0\]"):
            simulate(flatten(grows), {"input": X[None]}, backend)
        assert command(verify, "--nir", "model.nir", "--against", backend) == 2  # not "equal", of NaN and NaN
    assert capsys.readouterr().err.count("\n") == 2


# Arguments of Python's functions.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int8"}, "precision 'int8' is unknown; choose one of float, fixed"),
        ({"backend": "loihi"}, "back end 'loihi' is unknown; choose one of numpy, torch, lava"),
        ({"target": "auto"}, "target 'auto' is unknown; choose one of simulator, loihi2"),
        ({"target": "loihi2"}, "target 'loihi2' needs the back end lava"),
        ({"potentials": ["lif_1"]}, "potentials: 'lif_1' is unknown; choose from lif_0"),
        ({"potentials": "lif_0"}, "potentials is the text 'lif_0'; give a list of names"),
        ({"deadline": float("nan")}, "deadline is nan; give a positive, finite number of seconds"),
        ({"deadline": -1}, "deadline is -1"),
        ({"ranges": {}}, "ranges is a dict"),
        ({"graph": GRAPH}, r"the graph is a nir.*NIRGraph; give a neuromorphic.graph.Graph: flatten"),
        ({"graph": "model.nir"}, "the graph is the text 'model.nir'"),
        ({"inputs": X[None]}, r"inputs is a numpy\.ndarray; give the arrays by Input node: {'input': x}"),
        ({"inputs": {"input": X[None].tolist()}}, "input 'input' is a list; give a NumPy array"),
        ({"inputs": {"input": X[None][:, :0]}}, "input 'input' has no step"),
        ({"inputs": {"input": X[None][:0]}}, "input 'input' has no sample"),
        ({"inputs": {"input": X[None] * np.nan}}, r"input 'input' is NaN at \[0, 0, 0\]"),
    ],
)
def test_simulate_refuses_what_it_does_not_know(arguments: dict[str, Any], message: str) -> None:
    message = message.replace("numpy\\.ndarray", "(numpy.)?ndarray")
    with pytest.raises(UserError, match=message):
        simulate(**{"graph": FLAT, "inputs": {"input": X[None]}, **arguments})


def test_a_state_is_of_the_same_run() -> None:
    _, state = reference.simulate_from(reference.State(), FLAT, {"input": X[None]})
    reference.simulate_from(state, FLAT, {"input": X[None]})
    with pytest.raises(ArgumentError, match=r"'lif_0' of shape \(1, 2\), the run \(2, 2\)"):
        reference.simulate_from(state, FLAT, {"input": np.stack([X, X])})
    other = flatten(graph_of(around(**{"if": one_if()})))
    with pytest.raises(ArgumentError, match=r"'lif_0' of shape .* the run no such neuron"):
        reference.simulate_from(state, other, {"input": X[None]})


def test_other_functions_refuse_it_too() -> None:
    network = lower(FLAT)
    with pytest.raises(ArgumentError, match="precision 'int8'"):
        run_side_by_side([network], [{"input": X}], "numpy", "int8")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="potentials: 'lif_9'"):
        run_side_by_side([network], [{"input": X}], "numpy", potentials=["lif_9"])
    with pytest.raises(ArgumentError, match="there are 1 networks and inputs for 2"):
        run_side_by_side([network], [{"input": X}] * 2, "numpy")
    with pytest.raises(ArgumentError, match="target 'loihi3' is unknown; choose one of loihi2, loihi1"):
        conversion_report(FLAT, "loihi3")
    with pytest.raises(ArgumentError, match="reset rule 'hold' is unknown"):
        flatten(GRAPH, reset="hold")
    with pytest.raises(ArgumentError, match="the NIR graph is"):
        flatten(FLAT)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="potentials: 'lif_9'"):
        reference.simulate(FLAT, {"input": X[None]}, ["lif_9"])
    with pytest.raises(ArgumentError, match="the network is"):
        run_network(FLAT, {"input": X})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="device 'toaster' cannot be used"):
        simulate_torch(FLAT, {"input": X[None]}, device="toaster")
    tiny = graph_of(around(x=nir.IF(np.full(2, 5e-324), np.ones(2))))
    with pytest.raises(UnsupportedGraphError, match=r"node 'x': r has values beyond 1e-300 to 1e\+300"):
        flatten(tiny)


# Arguments of commands.


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "soon"])
def test_a_deadline_is_a_time(folder: Path, command: Command, capsys: pytest.CaptureFixture[str], value: str) -> None:
    assert command(run, *RUN, "--deadline", value) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--deadline" in err and "positive, finite number of seconds" in err


def test_files_that_cannot_be_written_are_found_before_the_work(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    monkeypatch.setattr(spiking_network, "simulate", work)
    monkeypatch.setattr("neuromorphic.conversion.report.conversion_report", work)
    Path("folder.npz").mkdir()
    Path("o.json").mkdir()
    Path("text").write_text("")
    np.savez("x.npz", input=X)
    before = sorted(folder.rglob("*"))
    outs = {"folder.npz": "is a folder", "o.npz": "o.json is a folder", "text/o.npz": "text", "in.npz": "is read"}
    for out, message in outs.items():
        assert command(run, *RUN[:4], "--out", out) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
    for module, extra in ((verify, ("--against", "numpy")), (check, ())):
        for json_, message in (("o.json", "is a folder"), ("text/x.json", "text"), ("model.nir", "is read")):
            assert command(module, "--nir", "model.nir", *extra, "--json", json_) == 2
            assert message in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_a_refused_graph_makes_no_folder(folder: Path, command: Command) -> None:
    write_nir(Path("fast.nir"), chain(nir.Linear(np.eye(2)), lif(2, tau=DT / 2)))
    arguments = ("--input", "in.npz", "--out", "new/deep/o.npz")
    assert command(run, "--nir", "fast.nir", *arguments, "--precision", "fixed") == 2
    assert not Path("new").exists()
    assert command(run, "--nir", "model.nir", *arguments) == 0
    check_destination(Path("new/deep/er/o.npz"))
    assert sorted(path.name for path in Path("new").rglob("*")) == ["deep", "o.json", "o.npz"]


def test_the_reference_runs_beside_another_back_end_only_where_it_is_asked_for(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[object] = []
    original = backends.reference.simulate
    monkeypatch.setattr(backends.reference, "simulate", lambda *given: runs.append(given) or original(*given))
    for other in (("--backend", "torch"), ("--precision", "fixed")):
        assert command(run, *RUN, *other) == 0 and not runs
        report = json.loads(Path("o.json").read_text())
        assert report["agreement"] is None and report["first_difference"] is None
        assert "--compare" in capsys.readouterr().out
        assert command(run, *RUN, *other, "--compare") == 0 and len(runs) == 1
        assert json.loads(Path("o.json").read_text())["agreement"] == 1.0
        assert "100.0000 % of cells (neuron, step)" in capsys.readouterr().out
        runs.clear()
    assert command(run, *RUN) == 0 and len(runs) == 1
    assert json.loads(Path("o.json").read_text())["agreement"] == 1.0


def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        np.zeros(2**50)

    def long() -> None:
        Path("a" * 300).stat()

    for main, message in ((full, "there is not memory enough"), (long, "File name too long")):
        with pytest.raises(SystemExit) as end:
            run_command(main)
        err = capsys.readouterr().err
        assert end.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_whole_numbers(folder: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value in (("--seed", "-1"), ("--steps", "0"), ("--steps", "1.5"), ("--seed", "x")):
        assert command(verify, "--nir", "model.nir", "--against", "numpy", option, value) == 2
        assert f"{option}: must be a whole number of at least" in capsys.readouterr().err


def test_a_path_may_be_text(folder: Path) -> None:
    graph = read_nir("model.nir")  # type: ignore[arg-type]
    write_nir("again.nir", graph)  # type: ignore[arg-type]
    assert flatten(read_nir(Path("again.nir"))).neurons == FLAT.neurons
