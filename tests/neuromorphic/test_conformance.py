"""Golden graphs: what they are expected to give, our back ends on them, and simulators that err."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import validate
from numpy.testing import assert_allclose, assert_array_equal
from oracle import simulate_slowly

from neuromorphic import conformance
from neuromorphic.backends import BACKENDS
from neuromorphic.errors import UserError
from neuromorphic.golden import simulators
from neuromorphic.golden.cases import FAMILIES, MARGIN, Case, cases
from neuromorphic.golden.exact import GRADED_NEURONS, SPIKING
from neuromorphic.golden.files import digest_of, expected_arrays, write_set
from neuromorphic.graph import flatten
from neuromorphic.graph.model import LINEAR, PARAMETERS
from neuromorphic.nir_file import write_nir
from neuromorphic.results.conformance import AGREES, DIFFERS, FAILS, ask, judged

CASES = {case.name: case for case in cases()}
FAST = [backend for backend in BACKENDS if backend != "lava"]
SOME = (
    "lif_all",
    "cubalif_subtract_strong",
    "if_tie",
    "two_populations_delay_1",
    "convolutional",
    "two_inputs",
    "batch",
)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["neuromorphic", *map(str, arguments)])
    try:
        conformance.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_set_is_what_it_says() -> None:
    assert len(CASES) == len(cases()) >= 200
    assert {case.family for case in CASES.values()} == set(FAMILIES)
    kinds = {type(node).__name__ for case in CASES.values() for node in case.graph.nodes.values()}
    assert kinds >= {kind.__name__ for kind in (*LINEAR, *PARAMETERS)} | {"Delay", "NIRGraph", "Input", "Output"}
    for case in CASES.values():
        x, run = case.solved
        assert run.margin >= MARGIN and bool(run.ties) == case.ties, case.name
        # Nothing is lost in float32, so that a simulator in float32 gets the same network.
        assert all((values == values.astype(np.float32)).all() for values in x.values())


@pytest.mark.parametrize("name", CASES)
def test_exact_values_are_those_of_the_oracle_in_floats(name: str) -> None:
    case = CASES[name]
    x, run = case.solved
    graph = flatten(case.graph, case.dt)
    slow = simulate_slowly(graph, x)
    for node, values in (run.outputs | {k: v for k, v in run.potentials.items() if k not in run.spikes}).items():
        assert_allclose(slow[node], values, rtol=0, atol=1e-12 * max(1, np.abs(values).max()), err_msg=node)
    if not case.ties:
        for node, spikes in run.spikes.items():
            assert_array_equal(slow[node] > 0, spikes, err_msg=node)


def test_exact_values_are_those_of_closed_forms() -> None:
    def of(name: str) -> tuple[np.ndarray, dict[str, Any]]:
        (x,), arrays = CASES[name].solved[0].values(), expected_arrays(CASES[name])
        return x[0], {key: values[0] for key, values in arrays.items()}

    t = np.arange(24)
    x, got = of("i")
    assert_allclose(got["output"], np.cumsum(x, axis=0), rtol=1e-15)
    x, got = of("li")  # v(t) = sum over s of x(s) (dt / tau) (1 - dt / tau)^(t - s)
    decay = np.where(t[:, None] >= t, 0.25 * 0.75 ** np.maximum(t[:, None] - t, 0), 0.0)
    assert_allclose(got["output"], decay @ x, atol=1e-15)
    x, got = of("cubali")  # the same twice over, with dt / tau_syn = 1 / 2
    current = np.where(t[:, None] >= t, 0.5 * 0.5 ** np.maximum(t[:, None] - t, 0), 0.0)
    assert_allclose(got["output"], decay @ (current @ x), atol=1e-15)
    x, got = of("delay")
    expected = np.zeros_like(x)
    for neuron, steps in enumerate((1, 2, 3)):
        expected[steps:, neuron] = x[:-steps, neuron]
    assert_array_equal(got["output"], expected)
    x, got = of("threshold")
    assert_array_equal(got["output"], x > 0.53125 + 2.0**-10)
    # Reset by subtraction loses nothing: what came in is what is left, and a threshold a spike.
    x, got = of("if_subtract")
    assert_allclose(x.sum(axis=0) - (1.03125 + 2.0**-10) * got["output"].sum(axis=0), got["node.potential"][-1])
    x, got = of("avgpool2d")
    assert_array_equal(got["output"], x[:, :, :4].reshape(24, 2, 2, 2, 2, 2).mean(axis=(3, 5)))
    # On the way to 2 by halves: 1, 1.5, 1.75, ..., and a spike in the step after the one at the threshold.
    _, got = of("lif_tie_later")
    assert got["output"].argmax(axis=0).tolist() == [1, 2, 3]


@pytest.mark.parametrize("backend", FAST)
def test_our_back_ends_agree_in_all(backend: str) -> None:
    result = ask(backend, simulators.find_simulator(backend), CASES.values())
    assert [f"{v.case.name}: {v}" for v in result.verdicts if v.verdict != AGREES] == []


def test_spikes_and_potentials_of_all_neurons_are_compared(tmp_path: Path) -> None:
    case = CASES["cubalif_back"]
    write_nir(tmp_path / "graph.nir", case.graph)
    given = simulators.find_simulator("numpy")(tmp_path / "graph.nir", case.solved[0], case.dt)
    assert set(given) == set(expected_arrays(case)) == {"output", "lif", "lif.potential"}


@pytest.mark.lava
@pytest.mark.parametrize("name", SOME)
def test_lava_agrees_in_some(name: str) -> None:
    assert ask("lava", simulators.find_simulator("lava"), [CASES[name]]).agrees


@pytest.mark.lava
@pytest.mark.slow
def test_lava_agrees_in_all() -> None:
    result = ask("lava", simulators.find_simulator("lava"), CASES.values())
    assert {v.case.name: str(v) for v in result.verdicts if v.verdict != AGREES} == {}


@pytest.mark.parametrize("backend", ["numpy", "c"])
def test_integers_agree_where_there_is_neither_a_tie_nor_a_loop(backend: str) -> None:
    families = ("parameters", "delays", "time")
    own = [case for case in CASES.values() if case.family in families]
    result = ask("fixed", simulators.find_simulator(backend, "fixed"), own, tolerance=0.02)
    assert [v.case.name for v in result.verdicts if v.verdict != AGREES] == []


def test_a_difference_is_the_first() -> None:
    case = CASES["batch"]
    expected = expected_arrays(case)
    given = {name: values.copy() for name, values in expected.items()}
    assert judged(case, given, 1e-5).verdict == AGREES
    given["lif_0"][2, 5, 3] ^= True
    given["output"][1, 7, 2] += 1.0
    given["output"][0, 9, 0] += 1.0
    verdict = judged(case, given, 1e-5)
    first = verdict.difference
    assert verdict.verdict == DIFFERS and first is not None
    assert (first.node, first.sample, first.step, first.neuron) == ("lif_0", 2, 5, 3)
    assert first.cells[0] == 3 and first.expected + first.got == 1
    given = {"output": expected["output"] + np.where(expected["output"] > 0, 1e-6, 0)}
    assert judged(case, given, 1e-5).verdict == AGREES and judged(case, given, 1e-7).verdict == DIFFERS
    given["output"][0, 0, 0] = np.nan
    assert judged(case, given, 1e-5).verdict == DIFFERS
    assert judged(case, expected["output"].reshape(3, 24, 4, 1), 1e-5).verdict == AGREES
    assert "not (3, 24, 4)" in judged(case, expected["output"][:, :-1], 1e-5).message
    assert judged(CASES["two_outputs"], expected["output"], 1e-5).message == "gives no 'spikes'"
    assert "a str" in judged(case, "words", 1e-5).message


SIMULATOR = """
import numpy as np
from helper import threshold

def run(path, inputs, dt):
    (x,) = inputs.values()
    if x.ndim > 3:
        raise ValueError("no images\\nat all")
    v = np.cumsum(x, axis=1)
    return (v > threshold).astype(float)

number = 3
"""


def test_anybodys_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(SIMULATOR)
    (tmp_path / "helper.py").write_text("threshold = 1.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    assert (
        call(monkeypatch, "--simulator", "mine.py:run", "--graphs", "if_tie", "conv2d", "lif", "--json", "r.json") == 1
    )
    report = json.loads(Path("r.json").read_text())
    assert (report["agree"], report["cases"], report["simulator"]) == (0, 3, "mine.py:run")
    rows = {row["name"]: row for row in report["verdicts"]}
    assert rows["conv2d"]["verdict"] == FAILS and rows["conv2d"]["message"] == "ValueError: no images"
    assert rows["if_tie"]["first_difference"] | {"cells": 0} == {
        "node": "output", "sample": 0, "step": 1, "neuron": 1, "expected": 0.0, "got": 1.0, "cells": 0,
    }  # fmt: skip
    assert report["digest"] == digest_of(CASES[name] for name in ("conv2d", "lif", "if_tie"))
    printed = capsys.readouterr().out
    assert "mine.py:run on 3 golden graphs" in printed and "the first difference of each graph" in printed
    assert "fails: ValueError: no images: conv2d" in printed


def test_a_file_finds_its_neighbours_where_the_process_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}_neighbour.py").write_text("def run(path, inputs, dt):\n    return {}\n")
        (folder / "mine.py").write_text(f"from {name}_neighbour import run\n")
        monkeypatch.chdir(folder)
        assert simulators.from_file(Path("mine.py"), "run").__module__ == f"{name}_neighbour"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--simulator", "nobody"], "simulator 'nobody' is unknown; choose one of numpy"),
        (["--simulator", "nobody.py:run"], "there is no file nobody.py"),
        (["--simulator", "mine.py:walk"], "mine.py has no function 'walk'"),
        (["--simulator", "mine.py:number"], "mine.py has no function 'number'"),
        (["--simulator", "broken.py:run"], r"broken.py cannot be run \(ZeroDivisionError: division by zero\)"),
        (["--simulator", "mine.txt:run"], "mine.txt is not a Python file"),
        (["--simulator", "sinabs", "--precision", "fixed"], "--precision fixed is of numpy"),
        (["--simulator", "sinabs"], "sinabs cannot be imported .*: pip install sinabs"),
        (["--simulator", "numpy", "--graphs", "nothing"], "'nothing' is neither a graph nor a family"),
        (["--simulator", "numpy", "--tolerance", "nan"], "--tolerance must be 0 or more"),
        (["--outputs", "."], "has no GRAPH.npz and no GRAPH/output.npz"),
        (["--list", "--json", "x.json"], "--json goes with --simulator and --outputs"),
        ([], "one of the arguments --simulator --outputs --write --list is required"),
    ],
)
def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    (tmp_path / "mine.py").write_text(SIMULATOR)
    (tmp_path / "mine.txt").write_text("")
    (tmp_path / "helper.py").write_text("threshold = 1.0\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with pytest.raises(UserError, match=message):
        call(monkeypatch, *arguments)


def test_what_an_importer_needs_besides_its_framework_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snntorch.import_nir", None)  # as where nirtorch is missing
    with pytest.raises(UserError, match=r"snntorch cannot be imported .*: pip install snntorch nirtorch$"):
        call(monkeypatch, "--simulator", "snntorch")


def test_files_for_simulators_in_other_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of this package read and write the same files; two processes write the same bytes."""
    monkeypatch.chdir(tmp_path)
    chosen = ["lif_all", "two_inputs", "two_outputs", "if_tie", "readout_li"]
    assert call(monkeypatch, "--write", "one", "--graphs", *chosen) == 0
    code = "from neuromorphic.conformance import main; main()"
    command = [sys.executable, "-c", code, "--write", "two", "--graphs", *chosen]
    subprocess.run(command, check=True, capture_output=True)
    files = sorted(path.relative_to("one") for path in Path("one").rglob("*") if path.is_file())
    assert len(files) == 2 + 3 * len(chosen) and not Path("one/.lock").exists()
    for path in files:
        assert (Path("one") / path).read_bytes() == (Path("two") / path).read_bytes(), path
    manifest = json.loads(Path("one/manifest.json").read_text())
    validate(manifest, json.loads(Path("one/manifest.schema.json").read_text()))
    assert [row["name"] for row in manifest["cases"]] == [name for name in CASES if name in chosen]
    for row in manifest["cases"]:
        for name, digest in row["files"].items():
            assert hashlib.sha256((Path("one") / row["name"] / name).read_bytes()).hexdigest() == digest
    rows = {row["name"]: row for row in manifest["cases"]}
    assert rows["two_inputs"]["inputs"] == {"a": [3], "b": [4]} and rows["if_tie"]["ties"] > 0
    assert rows["lif_all"]["primitives"] == ["Input", "LIF", "Output"] and rows["lif_all"]["reset"] == {"node": "zero"}
    # neuromorphic.run takes and gives these very files.
    for name in chosen:
        trace = [
            node for node, own in CASES[name].graph.nodes.items() if type(own).__name__ in (*SPIKING, *GRADED_NEURONS)
        ]
        arguments = ["--nir", f"one/{name}/graph.nir", "--input", f"one/{name}/input.npz", "--out", f"mine/{name}.npz"]
        run = [sys.executable, "-m", "neuromorphic.run", *arguments, "--trace", *trace]
        subprocess.run(run, check=True, capture_output=True)
        with np.load(f"one/{name}/expected.npz") as wanted, np.load(f"mine/{name}.npz") as got:
            assert set(wanted) == set(got)
    capsys.readouterr()
    assert call(monkeypatch, "--outputs", "mine", "--graphs", *chosen) == 0
    with np.load("mine/if_tie.npz") as file:
        np.savez("mine/if_tie.npz", output=1 - file["output"])
    Path("mine/two_inputs.npz").unlink()
    assert call(monkeypatch, "--outputs", "mine", "--graphs", *chosen) == 1
    assert "FileNotFoundError" in capsys.readouterr().out
    for broken in (b"", b"no", Path("mine/if_tie.npz").read_bytes()[:100]):
        Path("mine/if_tie.npz").write_bytes(broken)
        assert call(monkeypatch, "--outputs", "mine", "--graphs", "if_tie") == 1
        assert "mine/if_tie.npz is no whole .npz file; write it with numpy.savez: if_tie" in capsys.readouterr().out


def test_all_of_the_set_can_be_written_and_read(tmp_path: Path) -> None:
    small: list[Case] = [case for case in CASES.values() if case.family in ("primitives", "loops", "time")]
    manifest = json.loads(write_set(tmp_path, small).read_text())
    assert manifest["digest"] == digest_of(small) and len(manifest["cases"]) == len(small)
