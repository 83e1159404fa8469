"""The numbers of the conversion report, against integers and floats put together by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import DT, SCENARIOS, chain, lif, relay

from neuromorphic.compiler.lower import lower
from neuromorphic.conversion import report as module
from neuromorphic.conversion.report import conversion_report, convert, unit_input
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten


def said(report: dict[str, Any], key: str = "breaks") -> list[str]:
    return [f"'{found['node']}' {found['what']}; {found['mend']}" for found in report[key]]


def check(graph: nir.NIRGraph, target: str = "loihi2") -> dict[str, Any]:
    return conversion_report(flatten(graph), target)


def line(*nodes: tuple[str, nir.NIRNode], size: int = 1) -> nir.NIRGraph:
    made = {"input": nir.Input(np.array([size])), **dict(nodes), "output": nir.Output(np.array([size]))}
    return nir.NIRGraph(made, list(pairwise(made)), metadata={"dt": DT}, type_check=False)


def test_parameters_come_back_in_nirs_units() -> None:
    tau, v_reset, v_threshold = np.array([3.0, 5.0, 3.0]) * DT, [-0.5, 0.0, 0.25], np.array([0.75, 1.0, 2.0])
    weight = np.array([[1.0, -2.0], [0.5, 0.25], [3.0, 0.0]])
    node = lif(3, tau=tau, v_reset=v_reset, v_threshold=v_threshold, r=2.0)
    layer = check(chain(nir.Affine(weight, np.array([0.1, 0.2, 0.3])), node))["layers"]["lif_0"]
    parameters = layer["parameters"]
    assert parameters["tau"]["before"] == [3 * DT, 5 * DT]
    np.testing.assert_allclose(parameters["tau"]["after"], [3 * DT, 5 * DT], rtol=1e-3)
    assert parameters["tau"]["integers"] == [round(4096 / 5), round(4096 / 3)]
    assert parameters["v_threshold"]["before"] == [0.75, 2.0]
    np.testing.assert_allclose(parameters["v_threshold"]["after"], [0.75, 2.0], atol=1e-3)
    # Weights as the Affine node has them: r and dv are taken out again.
    assert parameters["weights from input"]["before"] == pytest.approx([-2.0, 3.0])
    np.testing.assert_allclose(parameters["weights from input"]["after"], [-2.0, 3.0], atol=0.03)
    assert (
        0 < parameters["weights from input"]["mean_error"] <= parameters["weights from input"]["largest_error"] < 0.03
    )
    assert layer["folded"][0] == "r into weights" and len(layer["parts"]) == 2


def test_errors_are_those_of_the_integers_that_run() -> None:
    for seed in range(12):
        graph = flatten(random_graph(seed)[0])
        report = conversion_report(graph, "loihi2")
        json.dumps(report, allow_nan=False)
        for name, layer in report["layers"].items():
            assert sum(part["neurons"] for part in layer["parts"]) == graph.nodes[name].size
            for key, own in layer["parameters"].items():
                assert own["mean_error"] <= own["largest_error"]
                assert abs(own["after"][0] - own["before"][0]) <= own["largest_error"] * 1.0001, f"{seed} {name} {key}"
                assert abs(own["after"][1] - own["before"][1]) <= own["largest_error"] * 1.0001, f"{seed} {name} {key}"


def test_clipped_decays_are_counted() -> None:
    report = check(chain(nir.Linear(np.ones((3, 1))), lif(3, tau=DT * np.array([1.0, 2.0, 1e6]))))
    layer = report["layers"]["lif_0"]
    assert layer["decays_clipped"] == 2
    assert layer["parameters"]["tau"]["integers"] == [1, 4095]
    assert any("2 decays are clipped" in words for words in said(report, "notes"))


def test_samples_start_from_rest_and_ranges_hold_for_all() -> None:
    scenario = SCENARIOS["random_0"]
    graph = flatten(scenario.graph)
    both = {"input": np.stack([scenario.x, 2 * scenario.x])}
    compiled = convert(graph, both)
    for b in range(2):
        alone = run(lower(graph), {"input": both["input"][b]}).sent
        for name in alone:
            np.testing.assert_array_equal(compiled.exact[name][b], alone[name])
    report = conversion_report(graph, "loihi2", both)
    x = both["input"]
    assert report["input"]["range"] == {"input": [x.min(), x.max()]}
    spikes = report["layers"]["lif_2"]["spikes"]
    assert spikes["float"] == int(compiled.exact["lif_2"].sum())


def test_overflow_is_what_did_happen_and_worst_case_what_could() -> None:
    integrators = nir.IF(np.ones(2), np.ones(2), np.zeros(2))
    report = check(chain(nir.Linear(np.array([[-4.0], [1.0]])), integrators))
    layer = report["layers"]["lif_0"]
    assert layer["worst_case"]["potential"] is None  # An integrator has no bound below.
    assert layer["worst_case"]["current"] <= 1
    # What it did in the run fits, by what the integers reached and not by what the floats did.
    assert layer["observed"]["overflow"] == {"accumulated": 0, "wrapped": 0, "saturated": 0}
    assert 0.1 < layer["observed"]["potential"] < 1
    assert any("'lif_0' its potential has no bound" in words for words in said(report)) and not report["fits"]
    relays = check(chain(*relay(2)))["layers"]["lif_0"]
    assert all(0 < share <= 1 for share in relays["worst_case"].values())
    assert relays["observed"]["current"] <= relays["worst_case"]["current"]


def test_neurons_that_never_or_always_fire_are_named_after_the_conversion_too() -> None:
    # Of 1 and of 1e-4 beside 1: the small weight is rounded to 0, so that conversion silences its neuron.
    weight = nir.Affine(np.array([[1.0], [1e-4], [0.0]]), np.array([0.0, 0.0, 6.0]))
    graph = chain(weight, nir.IF(np.ones(3), np.ones(3), np.zeros(3)))
    report = check(graph)
    layer = report["layers"]["lif_0"]
    assert layer["never_fire"] == {"float": [], "fixed": [1]}
    assert layer["always_fire"] == {"float": [2], "fixed": [2]}
    assert layer["parameters"]["weights from input"]["zeroed"] == 1
    notes = said(report, "notes")
    assert any("1 of 3 neurons can never fire (0 before the conversion)" in words for words in notes)
    assert any("1 weights from input are rounded to 0, of 2" in words for words in notes)


def test_what_no_chip_can_say_is_named() -> None:
    nodes = {"input": nir.Input(np.array([1])), "a": lif(1), "b": lif(1), "output": nir.Output(np.array([1]))}
    edges = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]
    assert check(nir.NIRGraph(nodes, edges, metadata={"dt": DT}))["fits"]
    nodes["delay"] = nir.Delay(np.array([DT]))
    edges[2:3] = [("b", "delay"), ("delay", "a")]
    loop = check(nir.NIRGraph(nodes, edges, metadata={"dt": DT}))
    assert any("within a step" in words and "or remove it" in words for words in said(loop)) and not loop["fits"]
    graded = check(line(("li", nir.LI(2 * DT * np.ones(1), np.ones(1), np.zeros(1)))))
    assert said(graded)[0].startswith("'li' LI sends its potential")
    late = check(line(("delay", nir.Delay(np.array([100 * DT]))), ("n", lif(1))))
    assert "'n' 'input' reaches it after 100 steps, a synapse takes up to 64; relay it 1 times" in said(late)[0]
    wide = check(chain(nir.Linear(np.ones((1, 5000))), lif(1)))
    assert "a neuron hears 5,000 sources, a core 4,096" in said(wide)[0]


def test_what_a_chip_takes_in_another_way_is_noted() -> None:
    split = check(chain(nir.Linear(np.eye(2)), lif(2, tau=[2 * DT, 3 * DT])))
    assert split["fits"] and any("2 populations" in words for words in said(split, "notes"))
    deep = check(chain(*relay(1), nir.Affine(np.eye(1), np.ones(1)), lif(1)))
    assert [found["node"] for found in deep["notes"] if "source on the host" in found["mend"]] == ["lif_1"]
    subtract = lif(1)
    subtract.metadata["reset"] = "subtract"
    subtracting = check(chain(nir.Linear(np.eye(1)), subtract))
    assert "'lif_0' resets by subtraction, Lava has no process for the chip that does" in said(subtracting)[0]


def test_what_the_integers_get_wrong_breaks() -> None:
    """Saturation, a worst case beyond a register, low agreement, and decays that are another's; each with a mend."""
    runaway = nir.IF(np.ones(1), np.ones(1), np.zeros(1), metadata={"reset": "subtract"})
    graph = flatten(chain(nir.Linear(np.array([[1.1]])), runaway))
    saturating = conversion_report(graph, "loihi2", {"input": np.ones((1, 30_000, 1))})
    layer = saturating["layers"]["lif_0"]
    assert layer["spikes"]["agreement"] > 0.9999 and layer["observed"]["overflow"]["saturated"] > 0
    assert any("its potential left its register, in" in words for words in said(saturating))
    slow = check(chain(nir.Linear(np.eye(1)), lif(1, tau=1e4 * DT)))
    assert any("its tau becomes" in words and "a larger dt" in words for words in said(slow))
    # Twice 0.5001 is above the threshold; what 8 bits beside a weight of 1 make of it is not.
    off = check(chain(nir.Linear(np.array([[0.5001], [1.0]])), nir.IF(np.ones(2), np.ones(2), np.zeros(2))))
    assert off["layers"]["lif_0"]["spikes"]["agreement"] < 0.9
    assert any("% of its cells (neuron, step) are as in float" in words for words in said(off))
    # An impulse takes the potential to -10; for ever the same would take it to -1000.
    graph = flatten(chain(nir.Linear(np.array([[-1000.0]])), lif(1, tau=100 * DT)))
    impulse = np.zeros((1, 50, 1))
    impulse[0, 3] = 1.0
    rarely = conversion_report(graph, "loihi2", {"input": impulse})
    assert rarely["layers"]["lif_0"]["observed"]["overflow"]["saturated"] == 0
    assert any("inputs in range can take its potential to" in words for words in said(rarely))
    # A potential that adds up spikes of another rate.
    nodes = {"input": nir.Input(np.array([1])), "weights": nir.Linear(np.array([[0.3333], [1.0]]))}
    nodes |= {"n": nir.IF(*(np.ones(2),) * 2, np.zeros(2)), "sum": nir.Linear(np.array([[1.0, 0.0]]))}
    nodes |= {"li": nir.LI(20 * DT * np.ones(1), np.ones(1), np.zeros(1)), "output": nir.Output(np.array([1]))}
    drifting = check(nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": DT}))
    assert any("'li' its potential is off by" in words for words in said(drifting))
    for report in (saturating, slow, off, rarely, drifting):
        assert all(found["mend"] for found in report["breaks"])


def test_binary_inputs_only_on_loihi_1() -> None:
    graph = flatten(chain(*relay(2)))
    spikes = {"input": np.ones((1, 4, 2))}
    assert conversion_report(graph, "loihi1", spikes)["fits"]
    graded = conversion_report(graph, "loihi1", {"input": 0.5 * np.ones((1, 4, 2))})
    assert "its values are graded" in said(graded)[0]
    assert conversion_report(graph, "loihi2", {"input": 0.5 * np.ones((1, 4, 2))})["fits"]


def test_too_many_cores_take_more_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    from neuromorphic.conversion import chips

    small = chips.Limit(1, "made up")
    chip = chips.CHIPS["loihi2"]
    tiny = chips.Chip(**{**vars(chip), "neurons": small, "cores": chips.Limit(2, "made up")})
    monkeypatch.setitem(module.CHIPS, "loihi2", tiny)
    report = check(chain(*relay(5)))
    assert report["cores"]["lif_0"]["cores"] == 5 and report["cores"]["lif_0"]["because"] == "neurons"
    assert "5 cores" in said(report)[0] and said(report)[0].endswith("3 chips")


def test_without_input_a_unit_input_is_taken() -> None:
    graph = flatten(chain(*relay(2)))
    report = conversion_report(graph, "loihi2")
    assert report == conversion_report(graph, "loihi2", unit_input(graph)) | {"input": report["input"]} | {
        key: report[key] for key in ("layers", "notes")
    }
    assert report["input"]["range"] == {"input": [-1.0, 1.0]} and not report["input"]["given"]
