"""Files as other frameworks write them give those frameworks' spikes; their steps are written out here by hand."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import neuromorphic as nm
from neuromorphic.frameworks import FRAMEWORKS
from neuromorphic.nir_file import build, graph_of, write_nir

RANDOM = np.random.default_rng(3)
X = RANDOM.uniform(0, 2, (80, 3)) * (RANDOM.random((80, 3)) < 0.6)
ONE = np.ones(3)


def alone(node: nir.NIRNode) -> nir.NIRGraph:
    ends = {"input": nir.Input({"input": np.array([3])}), "node": node, "output": nir.Output({"output": np.array([3])})}
    return graph_of(ends, [("input", "node"), ("node", "output")], {})


def spikes(node: nir.NIRNode, **options: object) -> np.ndarray:
    return nm.load(alone(node), **options).run(X).output > 0  # type: ignore[arg-type]


def test_snntorch_subtracts_one_step_late_by_default() -> None:
    beta, theta = np.array([0.5, 0.8, 0.9]), np.array([0.9, 1.1, 1.0])
    tau = 1e-4 / (1 - beta)
    node = nir.LIF(tau=tau, r=tau / 1e-4, v_leak=0 * ONE, v_threshold=theta)
    late, at_once = np.zeros((80, 3), bool), np.zeros((80, 3), bool)
    v, w, s = np.zeros(3), np.zeros(3), np.zeros(3)
    for t, x in enumerate(X):
        v = beta * v + x - s * theta
        s = late[t] = v > theta
        w = beta * w + x
        at_once[t] = w > theta
        w = w - theta * at_once[t]
    assert (late != at_once).any()
    assert_array_equal(spikes(node, framework="snntorch"), late)
    assert_array_equal(spikes(node, framework="snntorch", reset="subtract"), at_once)
    assert_array_equal(spikes(node, framework="snntorch", reset="zero"), spikes(node, dt=1e-4))


def test_snntorch_synaptic() -> None:
    alpha, beta, theta = np.array([0.4, 0.6, 0.8]), np.array([0.5, 0.7, 0.9]), np.array([2.5, 3.0, 3.5])
    tau_syn, tau_mem = 1e-4 / (1 - alpha), 1e-4 / (1 - beta)
    node = nir.CubaLIF(tau_syn, tau_mem, tau_mem / 1e-4, 0 * ONE, theta, w_in=tau_syn / 1e-4)
    expected = np.zeros((80, 3), bool)
    i, v, s = np.zeros(3), np.zeros(3), np.zeros(3)
    for t, x in enumerate(X):
        i = alpha * i + x
        v = beta * v + i - s * theta
        s = expected[t] = v > theta
    assert 0.05 < expected.mean() < 0.9
    assert_array_equal(spikes(node, framework="snntorch"), expected)


def test_sinabs_counts_in_steps_and_decays_exactly() -> None:
    tau, theta = np.array([2.0, 5.0, 11.0]), np.array([0.3, 0.4, 0.5])
    node = nir.LIF(tau=tau, r=ONE, v_leak=0 * ONE, v_threshold=theta)
    expected, v, alpha = np.zeros((80, 3), bool), np.zeros(3), np.exp(-1 / tau)
    for t, x in enumerate(X):
        v = alpha * v + (1 - alpha) * x
        expected[t] = v > theta
        v = v - theta * expected[t]
    assert_array_equal(spikes(node, framework="sinabs"), expected)
    assert_array_equal(spikes(node, framework="sinabs", dt=1e-3), expected)
    net = nm.load(alone(node), framework="sinabs", dt=1e-3)
    assert net.dt == 1e-3 and net.graph.nodes["node"].reset == "subtract"
    assert nm.load(alone(node), framework="sinabs", reset="zero").graph.nodes["node"].reset == "zero"


def test_norse_multiplies_tau_by_dt_and_starts_at_v_leak() -> None:
    dt, tau, leak, theta = 1e-3, np.array([2e-3, 5e-3, 9e-3]), np.array([0.2, -0.1, 0.0]), np.array([0.5, 0.6, 0.4])
    node = nir.LIF(tau=tau * dt, r=ONE, v_leak=leak, v_threshold=theta)
    expected, v = np.zeros((80, 3), bool), leak.copy()
    for t, x in enumerate(X):
        v = v + dt / tau * (leak - v + x)
        expected[t] = v > theta
        v = np.where(expected[t], 0.0, v)
    assert_array_equal(spikes(node, framework="norse"), expected)
    syn = np.array([2e-3, 3e-3, 4e-3])
    node = nir.CubaLIF(syn * dt, tau * dt, ONE, 0 * ONE, theta, w_in=ONE)
    expected, v, i = np.zeros((80, 3), bool), np.zeros(3), np.zeros(3)
    for t, x in enumerate(X):
        i = i - dt / syn * i + x
        v = v + dt / tau * (i - v)
        expected[t] = v > theta
        v = np.where(expected[t], 0.0, v)
    assert_array_equal(spikes(node, framework="norse"), expected)


def test_spikingjelly_writes_r_over_dt_and_starts_at_v_reset() -> None:
    node = nir.IF(r=1e4 * ONE, v_threshold=np.array([1.5, 2.0, 2.5]))
    assert_array_equal(spikes(node, framework="spikingjelly"), spikes(nir.IF(ONE, node.v_threshold)))
    dt, tau, rest, theta = 1e-4, 3e-4, -0.3, np.array([0.5, 0.6, 0.7])
    fields = {"tau": tau * ONE, "r": ONE, "v_leak": rest * ONE, "v_threshold": theta, "v_reset": rest * ONE}
    expected, v = np.zeros((80, 3), bool), rest * np.ones(3)
    for t, x in enumerate(X):
        v = v + dt / tau * (rest - v + x)
        expected[t] = v > theta
        v = np.where(expected[t], rest, v)
    assert_array_equal(spikes(build({"type": "LIF", **fields}), framework="spikingjelly"), expected)


def test_graphs_within_graphs_are_read_so_too_and_nothing_is_changed() -> None:
    lif = nir.LIF(tau=3 * ONE, r=ONE, v_leak=0 * ONE, v_threshold=0.4 * ONE)
    inner = alone(lif)
    outer = alone(inner)
    net = nm.load(outer, framework="sinabs")
    assert_array_equal(net.run(X).output > 0, spikes(lif, framework="sinabs"))
    assert net.nir_graph is not outer and (lif.tau == 3).all() and set(outer.nodes) == {"input", "node", "output"}
    late = nm.load(outer, framework="snntorch")
    assert set(inner.nodes) == {"input", "node", "output"} and "node.node_late" in late.graph.nodes


def test_what_cannot_be_read_so() -> None:
    with pytest.raises(nm.UserError, match="framework 'matlab' is unknown; choose one of snntorch, norse"):
        nm.load(alone(nir.Threshold(ONE)), framework="matlab")
    node = nir.LIF(tau=1e-3 * ONE, r=0 * ONE, v_leak=0 * ONE, v_threshold=ONE)
    with pytest.raises(nm.UserError, match="node 'node': r is 0, so no loop can subtract late; give --reset"):
        nm.load(alone(node), framework="snntorch")
    with pytest.raises(nm.UserError, match="node 'node': tau"):
        node.tau = np.array(["x"])
        nm.load(alone(node), framework="sinabs")


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_commands_take_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neuromorphic import run

    node = nir.LIF(tau=3 * ONE, r=ONE, v_leak=0 * ONE, v_threshold=0.4 * ONE)
    write_nir(tmp_path / "m.nir", alone(node))
    np.save(tmp_path / "x.npy", X)
    arguments = [
        "--nir",
        tmp_path / "m.nir",
        "--input",
        tmp_path / "x.npy",
        "--out",
        tmp_path / "o.npz",
        "--from",
        name,
    ]
    monkeypatch.setattr("sys.argv", ["run", *map(str, arguments)])
    run.main()
    with np.load(tmp_path / "o.npz") as file:
        assert_array_equal(file["output"] > 0, spikes(node, framework=name))
