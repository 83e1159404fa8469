"""``neuromorphic.run`` and ``neuromorphic.verify``, as a user types them."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import DT, SCENARIOS, STEPS, chain, lif, relay

from neuromorphic import backends, run, verify
from neuromorphic.backends import simulate
from neuromorphic.compiler.network import Network
from neuromorphic.errors import ArgumentError, NIRFileError, SignalFileError, UnsupportedGraphError, UserNotice
from neuromorphic.execution import reference
from neuromorphic.graph import flatten
from neuromorphic.lava.run import LavaRun, run_network
from neuromorphic.nir_file import write_nir
from neuromorphic.signals import load_inputs


def call(monkeypatch: pytest.MonkeyPatch, command: Any, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", [command.__name__, *map(str, arguments)])
    command.main()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A scenario as NIR file, and its input without a batch axis."""
    write_nir(tmp_path / "model.nir", SCENARIOS["random_0"].graph)
    np.savez(tmp_path / "in.npz", input=SCENARIOS["random_0"].x)
    return tmp_path / "model.nir", tmp_path / "in.npz"


def test_outputs_keep_the_layout_of_the_input(
    monkeypatch: pytest.MonkeyPatch, files: tuple[Path, Path], tmp_path: Path
) -> None:
    model, source = files
    scenario = SCENARIOS["random_0"]
    expected = reference.simulate(flatten(scenario.graph), {"input": scenario.x[None]}, ["lif_1"])
    common = ("--nir", model, "--trace", "lif_1", "lif_0")
    call(monkeypatch, run, *common, "--input", source, "--out", tmp_path / "new" / "out.npz")
    with np.load(tmp_path / "new" / "out.npz") as out:
        assert sorted(out) == ["lif_0", "lif_0.potential", "lif_1", "lif_1.potential", "output"]
        np.testing.assert_array_equal(out["output"], expected.outputs["output"][0])
        np.testing.assert_array_equal(out["lif_1"], expected.spikes["lif_1"][0])
        np.testing.assert_array_equal(out["lif_1.potential"], expected.potentials["lif_1"][0])
    np.savez(tmp_path / "two.npz", input=np.stack([scenario.x, 0 * scenario.x]))
    call(monkeypatch, run, *common, "--input", tmp_path / "two.npz", "--out", tmp_path / "two_out.npz", "--steps", 30)
    with np.load(tmp_path / "two_out.npz") as out:
        assert out["output"].shape == (2, 30, *expected.outputs["output"].shape[2:])
        np.testing.assert_array_equal(out["output"][0, :STEPS], expected.outputs["output"][0])


def test_the_report_counts_spikes_and_synaptic_operations(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first layer fires in steps 3, 7, ... and in all steps; the weights that are not 0 number 1 and 2.
    weight = np.array([[4.0, 4.0], [0.0, 4.0]])
    graph = chain(nir.Linear(np.eye(2)), lif(2), nir.Linear(weight), lif(2))
    write_nir(tmp_path / "model.nir", graph)
    np.savez(tmp_path / "in.npz", input=np.tile([1.125, 3.0], (STEPS, 1)))
    call(monkeypatch, run, "--nir", tmp_path / "model.nir", "--input", tmp_path / "in.npz", "--out", tmp_path / "o.npz")
    report = json.loads((tmp_path / "o.json").read_text())
    assert report["spikes"]["lif_0"] == STEPS // 4 + STEPS
    assert report["synaptic_operations"] == {"lif_0": 2 * STEPS, "lif_1": STEPS // 4 + 2 * STEPS, "output": 0}
    assert report["agreement"] == 1.0 and report["first_difference"] is None
    assert (report["batch"], report["steps"], report["dt"]) == (1, STEPS, DT)
    assert report["reset"] == {"lif_0": "zero", "lif_1": "zero"}
    assert "100.0000 %" in capsys.readouterr().out


def test_the_report_says_what_biases_and_delays_cost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = {
        "input": nir.Input(np.array([2])),
        "affine": nir.Affine(np.ones((2, 2)), np.array([0.5, 0.0])),
        "delay": nir.Delay(np.array([3 * DT, 0.0])),
        "lif": lif(2),
        "output": nir.Output(np.array([2])),
    }
    write_nir(tmp_path / "model.nir", nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": DT}))
    np.savez(tmp_path / "in.npz", input=np.ones((2, STEPS, 2)))
    call(monkeypatch, run, "--nir", tmp_path / "model.nir", "--input", tmp_path / "in.npz", "--out", tmp_path / "o.npz")
    report = json.loads((tmp_path / "o.json").read_text())
    # Two samples: the one bias from step 3 on; both inputs are kept for three steps.
    assert report["bias_additions"] == {"lif": 2 * (STEPS - 3), "output": 0}
    assert report["delayed_messages"] == {"lif": 2 * 2 * 3, "output": 0}
    assert set(report["not_counted"]) == {"biases", "delays"}
    assert f"biases added in updates ({2 * (STEPS - 3)}), messages kept for delays (12)" in capsys.readouterr().out


def test_what_a_run_does_not_have_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_nir(tmp_path / "model.nir", chain(nir.Linear(np.eye(2)), lif(2)))
    np.savez(tmp_path / "in.npz", input=np.zeros((STEPS, 2)))
    call(monkeypatch, run, "--nir", tmp_path / "model.nir", "--input", tmp_path / "in.npz", "--out", tmp_path / "o.npz")
    out = capsys.readouterr().out
    assert "as in the float reference" in out and not re.search("biases|delays|counted apart", out), out


@pytest.mark.lava
@pytest.mark.parametrize("precision", ["float", "fixed"])
def test_lava_gives_what_the_reference_gives(
    monkeypatch: pytest.MonkeyPatch, files: tuple[Path, Path], tmp_path: Path, precision: str
) -> None:
    model, source = files
    outputs = []
    for backend in ("lava", "numpy"):
        out = tmp_path / f"{backend}.npz"
        arguments = ("--nir", model, "--input", source, "--trace", "lif_2", "--precision", precision)
        call(monkeypatch, run, *arguments, "--out", out, "--backend", backend, "--compare")
        with np.load(out) as file:
            outputs.append(dict(file))
    for name, values in outputs[0].items():
        np.testing.assert_allclose(values, outputs[1][name], rtol=1e-12, atol=1e-12)
    report = json.loads((tmp_path / "lava.json").read_text())
    assert report["agreement"] == 1.0 if precision == "float" else report["agreement"] > 0.95
    assert bool(report["quantization"]) is (precision == "fixed")


@pytest.mark.lava
def test_batches_run_side_by_side_and_share_no_state() -> None:
    nir_graph, x = random_graph(101)
    graph = flatten(nir_graph)
    batch = {name: np.concatenate([values, -values, values]) for name, values in x.items()}
    for precision in ("float", "fixed"):
        first, second = (simulate(graph, batch, "lava", precision).record for _ in range(2))
        expected = simulate(graph, batch, "numpy", precision).record
        for name, spikes in expected.spikes.items():
            np.testing.assert_array_equal(first.spikes[name], spikes)
            np.testing.assert_array_equal(second.spikes[name], spikes)
            np.testing.assert_array_equal(spikes[0], spikes[2])


def test_dt_and_reset_come_from_the_arguments_first(
    monkeypatch: pytest.MonkeyPatch, files: tuple[Path, Path], tmp_path: Path
) -> None:
    model, source = files
    reports = []
    for extra in ((), ("--dt", DT / 2), ("--reset", "subtract")):
        call(monkeypatch, run, "--nir", model, "--input", source, "--out", tmp_path / "o.npz", *extra)
        reports.append(json.loads((tmp_path / "o.json").read_text()))
    assert reports[1]["dt"] == DT / 2 and reports[2]["reset"]["lif_0"] == "subtract"
    assert len({report["spikes"]["lif_1"] for report in reports}) > 1


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        ("no dt", (), UnsupportedGraphError, "model.nir: .*give --dt"),
        ("", ("--trace", "lif_9"), ArgumentError, "'lif_9' is not a node of the graph"),
        ("", ("--steps", "0"), ArgumentError, "--steps: must be a whole number of at least 1"),
        ("", ("--dt", "nan"), UnsupportedGraphError, "positive and finite"),
        ("no file", (), SignalFileError, "does not exist"),
        ("no array", (), SignalFileError, "has no array 'input'"),
        ("nan", (), SignalFileError, r"'input' is NaN at \[0, 0\]; give finite"),
        ("objects", (), SignalFileError, "cannot be read"),
        ("shape", (), SignalFileError, r"must have shape \(T, 5\)|must have shape"),
        ("empty", (), SignalFileError, "'input' has no step to run"),
        ("no nir", (), NIRFileError, "does not exist"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    files: tuple[Path, Path],
    tmp_path: Path,
    change: str,
    arguments: tuple[str, ...],
    error: type[Exception],
    message: str,
) -> None:
    model, source = files
    x = SCENARIOS["random_0"].x
    if change == "no dt":
        graph = chain(*relay(2))
        graph.metadata.clear()
        graph.nodes["lif_0"].metadata.clear()
        write_nir(model, graph)
    elif change == "no file":
        source.unlink()
    elif change == "no nir":
        model.unlink()
    elif change:
        changed = {
            "no array": {"inputs": x},
            "nan": {"input": x * np.nan},
            "objects": {"input": np.array([{}])},
            "shape": {"input": x[:, :1]},
            "empty": {"input": x[:0]},
        }
        np.savez(source, **changed[change])
    with pytest.raises(error, match=message):
        call(monkeypatch, run, "--nir", model, "--input", source, "--out", tmp_path / "out" / "o.npz", *arguments)
    assert not (tmp_path / "out" / "o.npz").exists()


def test_several_inputs_go_by_their_names(tmp_path: Path) -> None:
    nir_graph, x = next((g, x) for g, x in map(random_graph, range(50)) if len(x) == 2)
    graph = flatten(nir_graph)
    np.savez(tmp_path / "in.npz", **{name: values[0] for name, values in x.items()})
    signals = load_inputs(tmp_path / "in.npz", graph)
    assert not signals.batched and set(signals.inputs) == set(graph.inputs)
    np.savez(tmp_path / "in.npz", **{name: values[0] for name, values in x.items()}, other=np.ones(3))
    with pytest.warns(UserNotice, match="other is not an Input node"):
        assert set(load_inputs(tmp_path / "in.npz", graph).inputs) == set(graph.inputs)


def test_verify_names_the_first_difference_with_both_membranes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 8-bit weights: 0.3333 is 85 / 254 beside 1, so in fixed point three of it are above the threshold.
    graph = chain(nir.Linear(np.array([[1.0], [0.3333]])), nir.IF(np.ones(2), np.ones(2), np.zeros(2)))
    write_nir(tmp_path / "model.nir", graph)
    np.savez(tmp_path / "in.npz", input=np.ones((STEPS, 1)))
    common = ("--nir", tmp_path / "model.nir", "--input", tmp_path / "in.npz", "--json", tmp_path / "verify.json")
    call(monkeypatch, verify, *common, "--against", "numpy")
    assert json.loads((tmp_path / "verify.json").read_text())["first_difference"] is None
    with pytest.raises(SystemExit) as exit_:
        call(monkeypatch, verify, *common, "--against", "numpy", "--precision", "fixed")
    assert exit_.value.code == 1
    report = json.loads((tmp_path / "verify.json").read_text())
    found = report["first_difference"]
    assert (found["node"], found["sample"], found["step"], found["neuron"]) == ("lif_0", 0, 2, 1)
    assert found["spikes"] == [True, False] and found["after"] == [0.0, pytest.approx(0.9999)]
    assert found["before"] == [pytest.approx(2 / 3, abs=5e-3), pytest.approx(0.6666)]
    assert 0.5 < report["node_agreement"]["lif_0"] < 1
    out = capsys.readouterr().out
    assert "step 2, node 'lif_0', neuron 1" in out and f"'lif_0' {100 * report['node_agreement']['lif_0']:.2f} %" in out


@pytest.mark.lava
def test_verify_holds_lava_to_the_reference_on_random_input(
    monkeypatch: pytest.MonkeyPatch, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, verify, "--nir", files[0], "--against", "lava", "--seed", 3)
    assert "spikes equal" in capsys.readouterr().out


@pytest.mark.lava
def test_what_loihi2_would_run_gives_the_same_on_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Populations split, thresholds folded, stock synapses: all of the way to the chip but the chip."""
    calls = []

    def on_the_simulator(network: Network, *arguments: Any, target: str, **options: Any) -> LavaRun:
        calls.append(target)
        assert all(len(np.unique(p.dv)) == len(np.unique(p.threshold)) == 1 for p in network.populations if p.spikes)
        return run_network(network, *arguments, stock=True, **options)

    monkeypatch.setattr(backends, "run_network", on_the_simulator)
    scenario = SCENARIOS["random_1"]
    graph, x = flatten(scenario.graph), {"input": scenario.x[None]}
    ours = simulate(graph, x, "lava", "fixed", target="loihi2").record
    expected = simulate(graph, x).record
    assert calls == ["loihi2"]
    for name, spikes in expected.spikes.items():
        assert ours.spikes[name].shape == spikes.shape
        assert (ours.spikes[name] == spikes).mean() > 0.9


def test_loihi2_takes_fixed_point_only() -> None:
    graph = flatten(SCENARIOS["random_1"].graph)
    with pytest.raises(UnsupportedGraphError, match="--precision fixed"):
        simulate(graph, {"input": SCENARIOS["random_1"].x[None]}, "lava", "float", target="loihi2")
