"""What a difference between two back ends comes from: weights that people type, or something else."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from random_graphs import loop_graph, random_graph
from scenarios import DT, STEPS, chain, lif

from neuromorphic import verify
from neuromorphic.backends import as_record, run_folded, simulate
from neuromorphic.compiler.lower import lower
from neuromorphic.execution.record import Record
from neuromorphic.execution.reference import advance
from neuromorphic.execution.ties import FOLLOWS, OTHER, TIE, FirstDifference, first_differences, received, signals
from neuromorphic.graph import Graph, flatten
from neuromorphic.nir_file import write_nir
from neuromorphic.results.verification import cause_of

FLOATS = (True, True)


def typed() -> nir.NIRGraph:
    """0.2 (0.1 + 0.2 + 0.6) is just above 0.18; 0.2 0.1 + 0.2 0.2 + 0.2 0.6, as folded networks have it, is 0.18."""
    weight = np.array([[0.1, 0.2, 0.6], [0.1, 0.2, 0.7]])
    neurons = lif(2, tau=5 * DT, v_threshold=[0.18, 0.5])
    return chain(nir.Linear(weight), neurons, nir.Linear(np.array([[1.0, 1.0]])), lif(1, tau=5 * DT, v_threshold=0.15))


ONES = {"input": np.ones((1, STEPS, 3))}


def folded(graph: Graph, x: dict[str, np.ndarray], precision: str = "float") -> Record:
    """The record of the folded network, which is what Lava runs."""
    membranes = [name for name in graph.spiking if graph.nodes[name].has_membrane]
    network = lower(graph, horizon=STEPS if precision == "fixed" else None)
    return as_record(graph, run_folded(network, x, "numpy", precision, membranes, batched=True))  # type: ignore[arg-type]


def reference(graph: Graph, x: dict[str, np.ndarray]) -> Record:
    return simulate(graph, x, potentials=graph.spiking).record


def causes(found: list[FirstDifference]) -> dict[tuple[str, int], str]:
    return {(d.node, d.neuron): d.cause for d in found}


def test_weights_in_tenths_make_a_tie_and_what_follows_is_none() -> None:
    graph = flatten(typed())
    ours, expected = folded(graph, ONES), reference(graph, ONES)
    found = first_differences(graph, ONES, (ours, expected), FLOATS)
    assert causes(found) == {("lif_0", 0): TIE, ("lif_1", 0): FOLLOWS}
    tie = found[0]
    assert (tie.step, tie.sample, tie.threshold) == (0, 0, 0.18)
    assert expected.spikes["lif_0"][0, 0, 0] and not ours.spikes["lif_0"][0, 0, 0]
    assert all(abs(w - 0.18) < 1e-15 for w in tie.potentials) and 1e-15 < tie.rounding < 1e-13


@pytest.mark.parametrize("error", [-1e-6, -1e-9, -1e-12])
def test_a_back_end_that_is_off_by_more_than_rounding_makes_no_tie(error: float) -> None:
    graph = flatten(typed())
    node = graph.nodes["affine_0"]
    wrong = replace(node, parameters={"weight": node.parameters["weight"] + error})
    ours, expected = reference(replace(graph, nodes={**graph.nodes, "affine_0": wrong}), ONES), reference(graph, ONES)
    found = first_differences(graph, ONES, (ours, expected), FLOATS)
    # The same spike as above is missing, and its potential is on the threshold where the weights are right.
    assert causes(found) == {("lif_0", 0): OTHER, ("lif_1", 0): FOLLOWS} and found[0].step == 0


def test_fixed_point_on_random_weights_makes_no_ties() -> None:
    found = []
    for seed in range(40):
        nir_graph, x = random_graph(seed)
        graph = flatten(nir_graph)
        records = folded(graph, x, "fixed"), reference(graph, x)
        found += [d.cause for d in first_differences(graph, x, records, (False, True))]
    assert TIE not in found and found.count(OTHER) > 10 and found.count(FOLLOWS) > 3


def test_integers_make_no_ties() -> None:
    graph = flatten(typed())
    records = folded(graph, ONES), reference(graph, ONES)
    integers = first_differences(graph, ONES, records, (False, False))
    assert TIE not in causes(integers).values()
    line = cause_of(integers[0], ("lava (fixed)", "numpy (fixed)"), (False, False))
    assert line == "the first difference is no tie: integers are not rounded by chance"
    assert TIE in causes(first_differences(graph, ONES, records, (False, True))).values()


@pytest.mark.parametrize("make", [random_graph, loop_graph])
def test_what_neurons_get_follows_from_the_record(make: object) -> None:
    """Received from the record's own signals and put through the neurons' equations, it gives the record again."""
    for seed in range(24):
        nir_graph, x = make(seed)  # type: ignore[operator]
        graph = flatten(nir_graph)
        record = reference(graph, x)
        sent = signals(graph, x, record)
        got = received(graph, sent)
        for name in graph.neurons:
            v = i = np.zeros((1, *graph.nodes[name].shape))
            for t in range(STEPS):
                output, v, i = advance(graph.nodes[name], got[name][:, t], v, i, graph.dt)
                np.testing.assert_array_equal(output, sent[name][:, t], err_msg=f"{seed} {name} {t}")


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("kind", ["IF", "LIF", "CubaLIF", "Threshold"])
def test_differences_of_float_back_ends_on_weights_in_tenths_are_ties(kind: str, reset: str) -> None:
    found: list[FirstDifference] = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        one = np.ones(16)
        own = {"tau": 5 * DT * one, "tau_mem": 5 * DT * one, "tau_syn": 3 * DT * one, "r": one, "v_leak": 0 * one}
        own |= {"v_threshold": 0.6 * one, "v_reset": 0 * one, "w_in": 2 * one, "threshold": 0.6 * one}
        weights = [random.integers(-3, 10, shape) / 10 for shape in ((16, 12), (16, 16))]
        neurons = {
            "IF": lambda own=own: nir.IF(*(own[key] for key in ("r", "v_threshold", "v_reset"))),
            "LIF": lambda own=own: nir.LIF(*(own[key] for key in ("tau", "r", "v_leak", "v_threshold", "v_reset"))),
            "CubaLIF": lambda own=own: nir.CubaLIF(
                *(own[key] for key in ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"))
            ),
            "Threshold": lambda own=own: nir.Threshold(own["threshold"]),
        }[kind]
        nodes = {"x": nir.Input(np.array([12])), "w": nir.Linear(weights[0]), "a": neurons()}
        nodes |= {"v": nir.Affine(weights[1], 0.1 * one), "b": neurons(), "y": nir.Output(np.array([16]))}
        graph, turned = (
            flatten(nir.NIRGraph(own, list(pairwise(own)), metadata={"dt": DT}, type_check=False), reset=reset)
            for own in (nodes, nodes | {"w": nir.Linear(weights[0][:, ::-1])})
        )
        x = {"x": random.integers(0, 2, (1, 100, 12)).astype(float)}
        expected = reference(graph, x)
        torch = simulate(graph, x, "torch", potentials=graph.spiking).record
        # The last sums its inputs in the opposite order, whatever the processor and its libraries do in the others.
        for ours in (folded(graph, x), torch, reference(turned, {"x": x["x"][..., ::-1]})):
            found += first_differences(graph, x, (ours, expected), FLOATS)
    assert all(d.cause in (TIE, FOLLOWS) for d in found)
    assert any(d.cause == TIE for d in found) or reset == "subtract"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    write_nir(tmp_path / "model.nir", typed())
    np.savez(tmp_path / "in.npz", **ONES)
    return [
        "--nir",
        str(tmp_path / "model.nir"),
        "--input",
        str(tmp_path / "in.npz"),
        "--json",
        str(tmp_path / "v.json"),
    ]


def run_verify(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["verify", *arguments])
    with pytest.raises(SystemExit) as exit_:
        verify.main()
    assert exit_.value.code == 1


@pytest.mark.lava
def test_verify_calls_a_tie_a_tie(
    monkeypatch: pytest.MonkeyPatch, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_verify(monkeypatch, *files, "--against", "lava")
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "tie:" in line]
    assert line.startswith("the first difference is a tie: before the reset the potential is ")
    assert "0 in lava (float) and 2.8e-17 in numpy (float) from the threshold" in line
    assert "neurons whose spikes differ: 2; of their first differences ties 1, following" in out
    report = json.loads((tmp_path / "v.json").read_text())
    assert report["cause"]["cause"] == "tie" and report["causes"] == {"tie": 1, "follows": 1, "other": 0}


def test_verify_calls_nothing_else_a_tie(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 8-bit weights: 0.3333 is 85 / 254 beside 1, so in fixed point three of it are above the threshold.
    neurons = nir.IF(np.ones(2), np.ones(2), np.zeros(2))
    write_nir(tmp_path / "model.nir", chain(nir.Linear(np.array([[0.3333], [1.0]])), neurons))
    np.savez(tmp_path / "in.npz", input=np.ones((STEPS, 1)))
    common = ("--nir", tmp_path / "model.nir", "--input", tmp_path / "in.npz", "--json", tmp_path / "v.json")
    run_verify(monkeypatch, *map(str, common), "--against", "numpy", "--precision", "fixed")
    out = capsys.readouterr().out
    assert "the first difference is no tie: before the reset the potential is 0.0001 in numpy (float) from" in out
    report = json.loads((tmp_path / "v.json").read_text())
    assert report["cause"]["cause"] == "other" and report["causes"] == {"tie": 0, "follows": 0, "other": 1}
