"""Shapes of ports as exporters write them."""

from __future__ import annotations

from itertools import pairwise

import nir
import numpy as np
import pytest
from scenarios import DT, lif

from neuromorphic.backends import simulate
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph import flatten
from neuromorphic.nir_file import graph_of


def chain(before: object, after: object, *nodes: nir.NIRNode) -> nir.NIRGraph:
    named = {"input": nir.Input(np.array(before)), **{f"node_{k}": node for k, node in enumerate(nodes)}}
    named["output"] = nir.Output(np.array(after))
    return graph_of(named, list(pairwise(named)), {"dt": DT})


WEIGHT = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
X = np.random.default_rng(0).uniform(-1, 2, (2, 12, 3))


@pytest.mark.parametrize("axes", [(), (1,), (4,), (1, 100), (4, 100)])
def test_axes_of_batch_and_time_in_the_shapes_of_ports(axes: tuple[int, ...]) -> None:
    """Rockpool and nirtorch write the shape of the sample that they were given."""
    graph = flatten(chain((*axes, 3), (*axes, 2), nir.Linear(WEIGHT), lif(2)))
    plain = flatten(chain((3,), (2,), nir.Linear(WEIGHT), lif(2)))
    assert graph.nodes["input"].shape == (3,) and graph.nodes["output"].shape == (2,)
    for backend in ("numpy", "torch"):
        ours, expected = (simulate(own, {"input": X}, backend).record.outputs["output"] for own in (graph, plain))
        np.testing.assert_array_equal(ours, expected)
        assert expected.any()


def test_axes_before_a_convolution() -> None:
    conv = nir.Conv2d((4, 5), np.ones((3, 2, 2, 2)), 1, 0, 1, 1, np.zeros(3))
    graph = flatten(chain((1, 50, 2, 4, 5), (1, 50, 3, 3, 4), conv, nir.Threshold(np.ones((3, 3, 4)))))
    assert graph.nodes["input"].shape == (2, 4, 5) and graph.nodes["output"].shape == (3, 3, 4)


@pytest.mark.parametrize(
    ("before", "after", "edge"),
    [
        ((1, 1, 1, 3), (2,), "'input' to 'node_0'"),  # three axes more
        ((3, 100), (2,), "'input' to 'node_0'"),
        ((1, 100, 4), (2,), "'input' to 'node_0'"),
        ((3,), (2, 100), "'node_1' to 'output'"),
    ],
)
def test_what_is_not_clear_is_one_line_with_the_mend(
    before: tuple[int, ...], after: tuple[int, ...], edge: str
) -> None:
    with pytest.raises(UnsupportedGraphError, match=f"the edge from {edge}: shapes .*without batch and time") as caught:
        flatten(chain(before, after, nir.Linear(WEIGHT), lif(2)))
    assert "\n" not in str(caught.value)


def test_readers_that_differ_are_asked_nothing() -> None:
    nodes = {
        "input": nir.Input(np.array([1, 100, 3])),
        "a": nir.Linear(WEIGHT),
        "b": nir.Linear(np.ones((2, 4))),
        "sum": lif(2),
        "output": nir.Output(np.array([2])),
    }
    edges = [("input", "a"), ("input", "b"), ("a", "sum"), ("b", "sum"), ("sum", "output")]
    with pytest.raises(UnsupportedGraphError, match=r"'input' to 'a': shapes \(1, 100, 3\) and \(3,\) differ"):
        flatten(graph_of(nodes, edges, {"dt": DT}))
