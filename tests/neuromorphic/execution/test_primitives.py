"""Every primitive of NIR alone: the reference against values worked by hand."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scenarios import DT

from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.execution.record import Record
from neuromorphic.execution.reference import State, simulate, simulate_from
from neuromorphic.graph import flatten


def run(node: nir.NIRNode, x: Any, membranes: tuple[str, ...] = (), reset: str | None = None) -> Record:
    """Input -> node -> Output, for x of shape (T, *shape)."""
    x = np.asarray(x, float)
    return simulate(flatten(alone(node, x.shape[1:]), DT, reset), {"input": x[None]}, membranes)


def alone(node: nir.NIRNode, shape: tuple[int, ...]) -> nir.NIRGraph:
    nodes = {"input": nir.Input(np.array(shape)), "node": node, "output": nir.Output(None)}
    return nir.NIRGraph(nodes, [("input", "node"), ("node", "output")], type_check=False)


def output(node: nir.NIRNode, x: Any) -> np.ndarray:
    return run(node, x).outputs["output"][0]


def test_affine_linear_and_scale() -> None:
    weight = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])
    assert_array_equal(output(nir.Linear(weight), [[1, 2]]), [[5, -2, 4]])
    assert_array_equal(output(nir.Affine(weight, np.array([1.0, 2.0, 3.0])), [[1, 2], [0, 0]]), [[6, 0, 7], [1, 2, 3]])
    assert_array_equal(output(nir.Scale(np.array([2.0, -1.0])), [[3, 4]]), [[6, -4]])


def test_conv1d() -> None:
    weight = np.array([[[1.0, 2.0]]])
    x = [[[1, 2, 3, 4]]]
    assert_array_equal(output(nir.Conv1d(4, weight, 1, 0, 1, 1, np.zeros(1)), x), [[[5, 8, 11]]])
    assert_array_equal(output(nir.Conv1d(4, weight, 2, 1, 1, 1, np.ones(1)), x), [[[3, 9, 5]]])
    assert_array_equal(output(nir.Conv1d(4, weight, 1, 0, 2, 1, np.zeros(1)), x), [[[7, 10]]])
    # 'same' pads one step of two after the signal.
    assert_array_equal(output(nir.Conv1d(4, weight, 1, "same", 1, 1, np.zeros(1)), x), [[[5, 8, 11, 4]]])
    assert_array_equal(output(nir.Conv1d(4, weight, 1, "valid", 1, 1, np.zeros(1)), x), [[[5, 8, 11]]])


def test_conv2d_groups_and_strides() -> None:
    x = np.arange(18.0).reshape(1, 2, 3, 3)
    weight = np.ones((2, 1, 2, 2))
    weight[1] *= 10
    node = nir.Conv2d((3, 3), weight, 1, 0, 1, 2, np.array([0.0, 1.0]))
    assert_array_equal(output(node, x), [[[[8, 12], [20, 24]], [[441, 481], [561, 601]]]])
    node = nir.Conv2d((3, 3), np.ones((1, 2, 1, 2)), (2, 1), (0, 1), (1, 1), 1, np.zeros(1))
    rows = x[0].sum(axis=0)[::2]
    expected = np.pad(rows, ((0, 0), (1, 1)))
    assert_array_equal(output(node, x), [[expected[:, :-1] + expected[:, 1:]]])


def test_pooling_and_flatten() -> None:
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    window = (np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    assert_array_equal(output(nir.SumPool2d(*window), x), [[[[10, 18], [42, 50]]]])
    assert_array_equal(output(nir.AvgPool2d(*window), x), [[[[2.5, 4.5], [10.5, 12.5]]]])
    flat = nir.Flatten({"input": np.array([1, 4, 4])}, 0, -1)
    assert_array_equal(output(flat, x), [np.arange(16)])
    assert output(nir.Flatten({"input": np.array([1, 4, 4])}, 1, 2), x).shape == (1, 1, 16)


def test_delay_is_zero_before_its_time() -> None:
    x = [[1, 10], [2, 20], [3, 30], [4, 40]]
    assert_array_equal(output(nir.Delay(DT * np.array([0.0, 2.0])), x), [[1, 0], [2, 0], [3, 10], [4, 20]])
    with pytest.raises(UnsupportedGraphError, match="node 'node': delays must be whole multiples"):
        output(nir.Delay(DT * np.array([0.5, 0.0])), x)


def test_threshold_is_strict_and_has_no_memory() -> None:
    assert_array_equal(output(nir.Threshold(np.array([1.0])), [[1], [1.5], [0.9]]), [[0], [1], [0]])
    assert_array_equal(output(nir.Threshold(np.array([-0.5])), [[-0.5], [0]]), [[0], [1]])


def test_integrators() -> None:
    assert_array_equal(output(nir.I(np.array([2.0])), [[1], [0], [-3]]), [[2], [2], [-4]])
    # IF: 0.75 a step; 1.5 fires, and is lost.
    node = nir.IF(np.array([1.5]), np.array([1.0]), np.array([0.25]))
    record = run(node, [[0.5]] * 5, ("node",))
    assert_array_equal(record.spikes["node"][0, :, 0], [0, 1, 0, 1, 0])
    assert_allclose(record.potentials["node"][0, :, 0], [0.75, 0.25, 1.0, 0.25, 1.0])
    record = run(node, [[0.5]] * 5, ("node",), reset="subtract")
    assert_allclose(record.potentials["node"][0, :, 0], [0.75, 0.5, 0.25, 1.0, 0.75])
    assert_array_equal(record.spikes["node"][0, :, 0], [0, 1, 1, 0, 1])


def test_li_and_lif_by_forward_euler() -> None:
    li = nir.LI(tau=np.array([4 * DT]), r=np.array([2.0]), v_leak=np.array([1.0]))
    # w = v + (1 - v + 2 x) / 4 with x = 1, 0
    assert_allclose(output(li, [[1], [0]]), [[0.75], [0.8125]])
    node = nir.LIF(
        tau=np.array([4 * DT]),
        r=np.array([2.0]),
        v_leak=np.array([1.0]),
        v_threshold=np.array([0.8]),
        v_reset=np.array([-1.0]),
    )
    record = run(node, [[1], [0], [0]], ("node",))
    assert_array_equal(record.spikes["node"][0, :, 0], [0, 1, 0])
    assert_allclose(record.potentials["node"][0, :, 0], [0.75, -1.0, -0.5])
    subtracted = run(node, [[1], [0]], ("node",), reset="subtract").potentials["node"][0, 1, 0]
    assert_allclose(subtracted, 0.8125 - 0.8)


def test_cuba_current_before_voltage() -> None:
    # i = i + (w_in x - i) / 2, then w = v + (v_leak - v + r i) / 4
    parameters = {
        "tau_syn": np.array([2 * DT]),
        "tau_mem": np.array([4 * DT]),
        "r": np.array([3.0]),
        "v_leak": np.array([0.5]),
        "w_in": np.array([2.0]),
    }
    first, second = 3 / 4 * 1 + 0.125, None
    second = first + (0.5 - first + 3 * 0.5) / 4
    assert_allclose(output(nir.CubaLI(**parameters), [[1], [0]]), [[first], [second]])
    node = nir.CubaLIF(**parameters, v_threshold=np.array([0.8]), v_reset=np.array([0.25]))
    record = run(node, [[1], [0]], ("node",))
    assert_array_equal(record.spikes["node"][0, :, 0], [1, 0])
    # The reset leaves the current as it is.
    assert_allclose(record.potentials["node"][0, :, 0], [0.25, 0.25 + (0.5 - 0.25 + 3 * 0.5) / 4])


def loop(edges: list[tuple[str, str]], **nodes: nir.NIRNode) -> nir.NIRGraph:
    made = {"input": nir.Input(np.array([1])), **nodes, "output": nir.Output(np.array([1]))}
    return nir.NIRGraph(made, edges, type_check=False)


def test_a_neuron_reads_itself_as_it_was_in_the_step_before_and_its_affine_counts_from_step_0() -> None:
    graph = loop(
        [("input", "n"), ("n", "back"), ("back", "n"), ("n", "output")],
        n=nir.I(np.ones(1)),
        back=nir.Affine(np.array([[0.5]]), np.array([10.0])),
    )
    # v = v + x + 0.5 v_before + 10
    record = simulate(flatten(graph, DT), {"input": np.array([[[1.0], [0.0], [0.0]]])})
    assert_allclose(record.outputs["output"][0, :, 0], [11.0, 26.5, 49.75])


def test_two_neurons_that_read_each_other_read_the_step_before() -> None:
    graph = loop(
        [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")], b=nir.Threshold(np.zeros(1)), a=nir.I(np.ones(1))
    )
    record = simulate(flatten(graph, DT), {"input": np.array([[[1.0], [0.0], [0.0], [0.0]]])})
    assert_array_equal(record.potentials["a"][0, :, 0], [1, 1, 2, 3])
    assert_array_equal(record.spikes["b"][0, :, 0], [0, 1, 1, 1])


def test_a_delay_in_one_way_of_a_loop_takes_it_apart() -> None:
    graph = loop(
        [("input", "a"), ("a", "b"), ("b", "d"), ("d", "a"), ("b", "output")],
        b=nir.Threshold(np.zeros(1)),
        a=nir.I(np.ones(1)),
        d=nir.Delay(np.array([DT])),
    )
    # b reads a in this step, a reads b in the step before: both would read the step before without the Delay.
    record = simulate(flatten(graph, DT), {"input": np.array([[[1.0], [0.0], [0.0], [0.0]]])})
    assert_array_equal(record.potentials["a"][0, :, 0], [1, 2, 3, 4])
    assert_array_equal(record.spikes["b"][0, :, 0], [1, 1, 1, 1])


def test_a_delay_in_a_loop_takes_the_steps_it_says() -> None:
    graph = loop(
        [("input", "n"), ("n", "d"), ("d", "n"), ("n", "output")], n=nir.I(np.ones(1)), d=nir.Delay(np.array([2 * DT]))
    )
    record = simulate(flatten(graph, DT), {"input": np.array([[[1.0], [0.0], [0.0], [0.0], [0.0]]])})
    # v[t] = v[t - 1] + x[t] + v[t - 2]: Fibonacci.
    assert_array_equal(record.outputs["output"][0, :, 0], [1, 1, 2, 3, 5])


def test_state_is_an_argument_and_is_not_changed() -> None:
    graph = flatten(loop([("input", "n"), ("n", "output")], n=nir.I(np.ones(1))), DT)
    start = State()
    x = {"input": np.ones((1, 2, 1))}
    first, after = simulate_from(start, graph, x)
    again, _ = simulate_from(start, graph, x)
    on, _ = simulate_from(after, graph, x)
    assert start == State()
    assert_array_equal(first.outputs["output"], again.outputs["output"])
    assert_array_equal(on.outputs["output"][0, :, 0], [3, 4])


def test_nested_graphs_are_their_nodes() -> None:
    inner = nir.NIRGraph(
        {"in": nir.Input(np.array([1])), "twice": nir.Scale(np.array([2.0])), "out": nir.Output(np.array([1]))},
        [("in", "twice"), ("twice", "out")],
    )
    middle = nir.NIRGraph(
        {"in": nir.Input(np.array([1])), "deep": inner, "out": nir.Output(np.array([1]))},
        [("in", "deep"), ("deep", "out")],
        type_check=False,
    )
    graph = flatten(alone(middle, (1,)), DT)
    assert "node.deep.twice" in graph.nodes
    assert_array_equal(simulate(graph, {"input": np.array([[[3.0]]])}).outputs["output"], [[[6.0]]])


A, B, ONE = ("input", "a"), ("a", "output"), np.ones(1)
BAD = {
    "form a loop without a neuron": loop(
        [A, ("a", "b"), ("b", "a"), B], a=nir.Scale(np.ones(1)), b=nir.Scale(np.ones(1))
    ),
    "node 'b' has no incoming edge": loop([A, B, ("b", "output")], a=nir.I(ONE), b=nir.I(ONE)),
    r"'input' to 'a': shapes \(1,\) and \(2,\) differ": loop([A, B], a=nir.I(np.ones(2))),
    "'a': tau must be positive": loop([A, B], a=nir.LI(np.zeros(1), ONE, ONE)),
    r"'a': r is NaN at \[0\]": loop([A, B], a=nir.I(np.array([np.nan]))),
    "'a': reset rule 'hold' is unknown": loop([A, B], a=nir.IF(ONE, ONE, metadata={"reset": "hold"})),
    "names the node 'c'": loop([A, ("a", "c")], a=nir.I(ONE)),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_graphs_are_refused_by_name(message: str) -> None:
    with pytest.raises(UnsupportedGraphError, match=message):
        flatten(BAD[message], DT)
