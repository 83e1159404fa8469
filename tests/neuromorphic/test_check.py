"""``neuromorphic.check``: what it says of neurons and limits is true."""

from __future__ import annotations

import json
from pathlib import Path

import nir
import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import DT, chain, lif, relay

from neuromorphic import check
from neuromorphic.compiler import conversion
from neuromorphic.compiler.limits import LIMITS
from neuromorphic.compiler.lower import lower
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten
from neuromorphic.nir_file import write_nir

README = Path(__file__).parents[2] / "README.md"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["check", *map(str, arguments)])
    check.main()


def test_never_and_always_hold_against_whatever_comes() -> None:
    random = np.random.default_rng(0)
    claims = 0
    for seed in range(150):
        graph = flatten(random_graph(seed)[0])
        network = lower(graph)
        bounds = dict.fromkeys(network.inputs, (-0.5, 0.5))
        found = conversion.firing(network, bounds)
        for level in (-0.5, 0.5, None, None):
            x = {
                name: np.full((40, network.size(name)), level)
                if level is not None
                else 0.5 * random.choice([-1.0, 1.0], (40, network.size(name)))
                for name in network.inputs
            }
            sent = run(network, x).sent
            for name, which in found.items():
                assert not sent[name][:, which["never"]].any(), f"{seed} {name}"
                assert sent[name][:, which["always"]].all(), f"{seed} {name}"
                claims += len(which["never"]) + len(which["always"])
    assert claims > 100


def test_neurons_that_only_just_can_fire_are_not_called_dead() -> None:
    # tau = 2 dt: under a constant x the potential comes as near to x as one likes, and never to it.
    graph = chain(nir.Linear(np.eye(2)), lif(2), nir.Affine(np.zeros((2, 2)), np.array([1.0, 1.01])), lif(2))
    found = conversion.firing(lower(flatten(graph)), {"input": (0.0, 1.0)})
    assert found["lif_0"] == {"never": [0, 1], "always": []} and found["lif_1"] == {"never": [0], "always": []}
    integrator = chain(nir.Linear(np.full((1, 1), 1e-6)), nir.IF(np.ones(1), np.ones(1)))
    assert conversion.firing(lower(flatten(integrator)), {"input": (0.0, 1.0)}) == {}
    driven = chain(nir.Affine(np.eye(1), np.array([5.0])), lif(1))
    assert conversion.firing(lower(flatten(driven)), {"input": (-1.0, 1.0)})["lif_0"]["always"] == [0]
    assert conversion.firing(lower(flatten(driven)), {}) == {}


def test_parameters_come_back_as_nir_says_them() -> None:
    node = lif(2, tau=[3 * DT, 5 * DT], v_reset=[-0.5, 0.0], v_threshold=[0.75, 1.0], r=2.0)
    graph = flatten(chain(nir.Affine(np.array([[1.0, -2.0], [0.5, 0.25]]), np.array([0.1, 0.2])), node))
    rows = check.examine(graph, None, "loihi2")["parameters"]["lif_0"]
    assert rows["tau"]["before"] == [3 * DT, 5 * DT]
    np.testing.assert_allclose(rows["tau"]["after"], [3 * DT, 5 * DT], rtol=1e-3)
    np.testing.assert_allclose(rows["v_threshold"]["after"], [0.75, 1.0], atol=1e-3)
    assert rows["r"] == {"before": [2.0, 2.0], "integers": [], "after": []}
    assert 0 < rows["weight from input"]["error"] < 0.01


def limits_of(graph: nir.NIRGraph) -> dict[str, list[str]]:
    return conversion.fit(lower(flatten(graph)), LIMITS["loihi2"])


def test_what_breaks_a_limit_is_named_with_the_mend() -> None:
    assert limits_of(chain(*relay(2)))["broken"] == []
    wide = chain(nir.Linear(np.ones((1, 5000))), lif(1))
    assert "node 'lif_0': a neuron with 5,000 synapses" in limits_of(wide)["broken"][0]
    nodes = {"input": nir.Input(np.array([1])), "a": lif(1), "b": lif(1), "output": nir.Output(np.array([1]))}
    edges = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]
    assert "'a' and 'b' read each other" in limits_of(nir.NIRGraph(nodes, edges, metadata={"dt": DT}))["broken"][0]
    nodes = {"input": nir.Input(np.array([1])), "li": nir.LI(2 * DT * np.ones(1), np.ones(1), np.zeros(1))}
    nodes["output"] = nir.Output(np.array([1]))
    graded = nir.NIRGraph(nodes, [("input", "li"), ("li", "output")], metadata={"dt": DT})
    assert "node 'li' sends its potential" in limits_of(graded)["broken"][0]
    nodes = {"input": nir.Input(np.array([1])), "delay": nir.Delay(np.array([100 * DT])), "n": lif(1)}
    nodes["output"] = nir.Output(np.array([1]))
    late = nir.NIRGraph(nodes, [("input", "delay"), ("delay", "n"), ("n", "output")], metadata={"dt": DT})
    assert "steps of delay" in limits_of(late)["broken"][0]
    mixed = limits_of(chain(nir.Linear(np.eye(2)), lif(2, tau=[2 * DT, 3 * DT])))
    assert "2 pairs of decays" in mixed["notes"][0] and mixed["broken"] == []


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nir(tmp_path / "fits.nir", chain(*relay(2), *relay(2)))
    call(monkeypatch, "--nir", tmp_path / "fits.nir", "--json", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["fit"]["cores"] == {"lif_0": 1, "lif_1": 1} and 0 <= report["agreement"] <= 1
    assert "v_threshold" in capsys.readouterr().out
    write_nir(tmp_path / "wide.nir", chain(nir.Linear(np.ones((1, 5000))), lif(1)))
    with pytest.raises(SystemExit) as exit_:
        call(monkeypatch, "--nir", tmp_path / "wide.nir")
    assert exit_.value.code == 1
    assert "breaks: node 'lif_0'" in capsys.readouterr().out


def test_the_readmes_support_table_is_the_codes() -> None:
    text = README.read_text()
    begin, end = "<!-- python -m neuromorphic.check --support -->\n", "\n<!-- end -->"
    assert text[text.index(begin) + len(begin) : text.index(end)].strip() == check.support_table()
