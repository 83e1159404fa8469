"""The reference's sums have one order, to the last bit: weights that people type make sums that land on a threshold."""

from __future__ import annotations

import operator
from functools import reduce
from itertools import permutations

import nir
import numpy as np
import pytest
from numpy.typing import NDArray
from oracle import add_in_order
from scenarios import DT

from neuromorphic.compiler.lower import lower
from neuromorphic.execution import populations
from neuromorphic.execution.reference import add, simulate
from neuromorphic.graph import flatten


def output(node: nir.NIRNode, x: NDArray) -> NDArray[np.float64]:
    """What a linear node makes of x, shape (B, *shape)."""
    nodes = {"x": nir.Input(np.array(x.shape[1:])), "node": node, "y": nir.Output(None)}
    graph = flatten(nir.NIRGraph(nodes, [("x", "node"), ("node", "y")], type_check=False), DT)
    return simulate(graph, {"x": x[:, None]}).outputs["y"][:, 0]


def tenths(seed: int, *shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).integers(-9, 10, shape) / 10


@pytest.mark.parametrize("size", [3, 17, 200])
def test_affine_adds_in_ascending_index_and_the_bias_last(size: int) -> None:
    weight, bias, x = tenths(0, 5, size), tenths(1, 5), tenths(2, 13, size)
    expected = [[add_in_order(row, own, b) for row, b in zip(weight, bias, strict=True)] for own in x]
    np.testing.assert_array_equal(output(nir.Affine(weight, bias), x), expected)
    stacked = output(nir.Affine(np.stack([weight, -weight]), np.stack([bias, bias])), np.stack([x, x[::-1]], axis=1))
    np.testing.assert_array_equal(stacked[:, 0], expected)
    np.testing.assert_array_equal(stacked[:, 1], output(nir.Affine(-weight, bias), x[::-1]))


def test_the_batch_changes_not_one_bit() -> None:
    x = tenths(0, 19, 2, 9, 8)
    nodes = {
        "affine": (nir.Affine(tenths(1, 7, 144), tenths(2, 7)), x.reshape(19, -1)),
        "conv2d": (nir.Conv2d((9, 8), tenths(3, 4, 1, 3, 3), (2, 1), (1, 2), (1, 2), 2, tenths(4, 4)), x),
        "pool": (nir.AvgPool2d(np.array([3, 3]), np.array([2, 1]), np.array([1, 0])), x),
    }
    for node, own in nodes.values():
        alone = np.concatenate([output(node, own[k : k + 1]) for k in range(len(own))])
        for size in (2, 3, 8, 19):
            np.testing.assert_array_equal(output(node, own[:size]), alone[:size])


def test_convolutions_and_pooling_add_in_the_order_of_the_flat_input() -> None:
    x = tenths(0, 3, 4, 7, 6)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)))
    weight, bias = tenths(1, 6, 2, 3, 2), tenths(2, 6)
    ours = output(nir.Conv2d((7, 6), weight, (2, 1), (1, 2), (1, 2), 2, bias), x)
    for b, channel, row, column in np.ndindex(ours.shape):
        first = channel // 3 * 2  # of this group's two channels
        patch = padded[b, first : first + 2, row * 2 : row * 2 + 3, column : column + 3 : 2]
        assert ours[b, channel, row, column] == add_in_order(weight[channel], patch, bias[channel])
    for node, count in (
        (nir.SumPool2d(np.array([3, 3]), np.array([2, 1]), np.array([1, 2])), 1),
        (nir.AvgPool2d(np.array([3, 3]), np.array([2, 1]), np.array([1, 2])), 9),
    ):
        ours = output(node, x)
        for b, channel, row, column in np.ndindex(ours.shape):
            patch = padded[b, channel, row * 2 : row * 2 + 3, column : column + 3]
            assert ours[b, channel, row, column] == add_in_order(np.ones(9), patch) / count
    signal, weight = x[:, :, 0], tenths(3, 2, 4, 3)
    ours = output(nir.Conv1d(6, weight, 1, 0, 2, 1, np.zeros(2)), signal)
    for b, channel, column in np.ndindex(ours.shape):
        assert ours[b, channel, column] == add_in_order(weight[channel], signal[b, :, column : column + 5 : 2])


def test_sources_are_added_by_value_whatever_their_order_and_names() -> None:
    values = [0.1, 0.7, -0.3, 0.6, 0.2]
    expected = reduce(operator.add, sorted(values))  # Since Python 3.12 sum() makes up for rounding.
    assert len({reduce(operator.add, order) for order in permutations(values)}) > 1
    assert {float(add([np.array(value) for value in order])) for order in permutations(values)} == {expected}
    nodes: dict[str, nir.NIRNode] = {"x": nir.Input(np.array([1])), "y": nir.Output(np.array([1]))}
    for order in list(permutations("abcde"))[::7]:
        own = {name: nir.Scale(np.array([value])) for name, value in zip(order, values, strict=True)}
        edges = [("x", name) for name in order] + [(name, "y") for name in order]
        graph = flatten(nir.NIRGraph(nodes | own, edges, type_check=False), DT)
        assert simulate(graph, {"x": np.ones((1, 1, 1))}).outputs["y"].item() == expected


def test_folded_integrators_get_the_references_sums() -> None:
    """Where no gain is folded into the weights, there is nothing to round otherwise."""
    one = np.ones(16)
    nodes: dict[str, nir.NIRNode] = {"x": nir.Input(np.array([12])), "y": nir.Output(np.array([16]))}
    nodes |= {"w": nir.Affine(tenths(0, 16, 12), tenths(1, 16)), "a": nir.IF(one, 1.2 * one, 0 * one)}
    nodes |= {"v": nir.Affine(tenths(2, 16, 16), tenths(3, 16)), "b": nir.IF(one, 0.6 * one, 0 * one)}
    edges = [("x", "w"), ("w", "a"), ("a", "v"), ("v", "b"), ("b", "y")]
    graph = flatten(nir.NIRGraph(nodes, edges, type_check=False), DT)
    x = np.random.default_rng(4).integers(0, 2, (200, 12)).astype(float)
    expected = simulate(graph, {"x": x[None]}, graph.spiking)
    ours = populations.run(lower(graph), {"x": x}, graph.spiking)
    for name in graph.spiking:
        np.testing.assert_array_equal(ours.sent[name], expected.spikes[name][0])
        np.testing.assert_array_equal(ours.potentials[name], expected.potentials[name][0])
        assert 0.1 < expected.spikes[name].mean() < 0.9
