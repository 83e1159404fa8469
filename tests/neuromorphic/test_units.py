"""What nodes get and send, with units."""

from __future__ import annotations

import nir
import numpy as np
import pytest

import neuromorphic as nm
from neuromorphic.graph import flatten
from neuromorphic.graph.units import signatures
from neuromorphic.nir_file import graph_of


def test_every_node_says_what_it_gets_and_sends(capsys: pytest.CaptureFixture[str]) -> None:
    two = np.ones(2)
    nodes = {
        "input": nir.Input({"input": np.array([1, 2])}),
        "flatten": nir.Flatten({"input": np.array([1, 2])}, 0, -1),
        "fc": nir.Affine(np.ones((2, 2)), two),
        "cuba": nir.CubaLIF(2e-3 * two, 4e-3 * two, two, 0 * two, two, w_in=two),
        "delay": nir.Delay(1e-3 * two),
        "there": nir.Linear(np.ones((2, 2))),
        "if": nir.IF(two, two),
        "out": nir.Scale(two),
        "li": nir.LI(2e-3 * two, two, 0 * two),
        "high": nir.Threshold(two),
        "output": nir.Output({"output": np.array([2])}),
        "raw": nir.Output({"output": np.array([2])}),
    }
    edges = [("input", "flatten"), ("flatten", "fc"), ("fc", "cuba"), ("cuba", "delay"), ("delay", "there")]
    edges += [("there", "if"), ("if", "out"), ("out", "li"), ("li", "high"), ("high", "output"), ("out", "raw")]
    graph = graph_of(nodes, edges, {"dt": 1e-3})
    own = {s.node: s for s in signatures(flatten(graph))}
    said = {name: (s.gets, s.sends) for name, s in own.items()}
    assert said == {
        "input": ("numbers", "numbers"),
        "flatten": ("numbers", "numbers"),
        "fc": ("numbers", "weighted spikes"),
        "cuba": ("weighted spikes", "spikes"),
        "delay": ("spikes", "spikes"),
        "there": ("spikes", "current, A"),
        "if": ("current, A", "spikes"),
        "out": ("spikes", "current, A"),
        "li": ("current, A", "potential, V"),
        "high": ("potential, V", "spikes"),
        "output": ("spikes", "spikes"),
        "raw": ("current, A", "current, A"),
    }
    assert own["flatten"].shape_in == (1, 2) and own["flatten"].shape == (2,)
    assert dict(own["cuba"].parameters) == {
        "tau_syn": "s", "tau_mem": "s", "r": "ohm", "v_leak": "V", "v_threshold": "V", "v_reset": "V", "w_in": "A",
    }  # fmt: skip
    assert own["if"].parameters["r"] == "V / A a step" and own["delay"].parameters == {"delay": "s"}
    conversion = nm.load(graph).check()
    assert [row["node"] for row in conversion.report()["nodes"]] == list(nodes)
    conversion.print()
    printed = capsys.readouterr().out
    assert "what each node gets and sends" in printed and "potential, V" in printed
