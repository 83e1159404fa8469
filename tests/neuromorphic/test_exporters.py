"""Nested graphs and Flatten nodes as other exporters write them: read where their meaning is clear, else one line."""

from __future__ import annotations

from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from scenarios import DT

from neuromorphic.backends import simulate
from neuromorphic.errors import NIRFileError, UnsupportedGraphError, UserNotice
from neuromorphic.execution import reference
from neuromorphic.graph import Graph, flatten
from neuromorphic.nir_file import read_nir, write_nir

CASES = Path(__file__).parents[3] / "shared" / "data" / "nir_cases"
third_party = pytest.mark.skipif(not CASES.is_dir(), reason="the third-party graphs (shared/data) are not at hand")
X = np.random.default_rng(0).normal(0.6, 0.6, (1, 12, 2))


def graph_of(nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]]) -> nir.NIRGraph:
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False)


def port(kind: type, size: int = 2) -> nir.NIRNode:
    return kind(np.array([size]))


def neurons(threshold: float = 0.5) -> nir.IF:
    return nir.IF(r=np.ones(2), v_threshold=np.full(2, threshold))


def inner() -> nir.NIRGraph:
    """The NIR project's own skipped test: a graph with two inputs and two outputs."""
    nodes = {"b": neurons(0.5), "c": neurons(1.5), "bi": port(nir.Input), "ci": port(nir.Input)}
    nodes |= {"bo": port(nir.Output), "co": port(nir.Output)}
    return graph_of(nodes, [("bi", "b"), ("b", "bo"), ("ci", "c"), ("c", "co")])


def outer(*edges: tuple[str, str]) -> nir.NIRGraph:
    nodes = {"in": port(nir.Input), "a": nir.Scale(np.array([1.0, 2.0])), "g": inner(), "d": nir.Scale(np.full(2, 3.0))}
    return graph_of(nodes | {"out": port(nir.Output)}, [("in", "a"), *edges, ("d", "out")])


PORTS = (("a", "g.bi"), ("a", "g.ci"), ("g.bo", "d"), ("g.co", "d"))


def flat() -> nir.NIRGraph:
    """The same without a graph inside."""
    nodes = {"in": port(nir.Input), "a": nir.Scale(np.array([1.0, 2.0])), "b": neurons(0.5), "c": neurons(1.5)}
    nodes |= {"d": nir.Scale(np.full(2, 3.0)), "out": port(nir.Output)}
    edges = [("in", "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "out")]
    return graph_of(nodes, edges)


def outputs(graph: Graph) -> np.ndarray:
    (values,) = simulate(graph, {graph.inputs[0]: X}).record.outputs.values()
    return values


@pytest.mark.parametrize("edges", [PORTS, (("a", "g.b"), ("a", "g.c"), ("g.b", "d"), ("g.c", "d"))])
def test_edges_may_name_ports_and_nodes_of_a_nested_graph(tmp_path: Path, edges: tuple[tuple[str, str], ...]) -> None:
    graph, expected = outer(*edges), outputs(flatten(flat()))
    if edges != PORTS:  # then the ports are not in use
        graph.nodes["g"] = graph_of({"b": neurons(0.5), "c": neurons(1.5)}, [])
    np.testing.assert_array_equal(outputs(flatten(graph)), expected)
    write_nir(tmp_path / "graph.nir", graph)
    np.testing.assert_array_equal(outputs(flatten(read_nir(tmp_path / "graph.nir"))), expected)
    deep = graph_of(
        {"in": port(nir.Input), "deep": graph, "out": port(nir.Output)}, [("in", "deep.in"), ("deep.out", "out")]
    )
    np.testing.assert_array_equal(outputs(flatten(deep)), expected)
    ends = graph_of({"in": port(nir.Input), "deep": graph, "out": port(nir.Output)}, [("in", "deep"), ("deep", "out")])
    np.testing.assert_array_equal(outputs(flatten(ends)), expected)


def test_a_port_that_is_left_open_is_asked_for() -> None:
    with pytest.raises(UnsupportedGraphError, match=r"'g' is a graph with 2 Input nodes \(bi, ci\).* as 'g\.bi'"):
        flatten(outer(("a", "g"), *PORTS[2:]))
    with pytest.raises(UnsupportedGraphError, match=r"'g' is a graph with 2 Output nodes \(bo, co\).* as 'g\.bo'"):
        flatten(outer(*PORTS[:2], ("g", "d")))
    with pytest.raises(UnsupportedGraphError, match=r"names the node 'g\.x', which the graph does not have"):
        flatten(outer(("a", "g.x"), *PORTS))


def test_two_names_that_are_nobodys_are_refused_in_a_file(tmp_path: Path) -> None:
    write_nir(tmp_path / "graph.nir", flat())
    with h5py.File(tmp_path / "graph.nir", "r+") as file:
        del file["node/edges"]
        file["node/edges"] = [["in", "ghost"], ["ghost", "wraith"]]
    with pytest.raises(NIRFileError, match="'wraith', which it does not have"):
        read_nir(tmp_path / "graph.nir")


def test_a_renamed_node_is_found_again() -> None:
    graph = flat()
    graph.nodes = {f"{name}1" if name == "b" else name: node for name, node in graph.nodes.items()}
    with pytest.warns(UserNotice, match="edges name 'b', .* and none names 'b1': taken for the same node"):
        found = flatten(graph)
    np.testing.assert_array_equal(outputs(found), outputs(flatten(flat())))
    graph.nodes["other"] = graph.nodes.pop("b1")
    with pytest.raises(UnsupportedGraphError, match="names the node 'b', which the graph does not have"):
        flatten(graph)


@third_party
@pytest.mark.parametrize("name", ["braille_noDelay_bias_zero", "braille_noDelay_noBias_subtract"])
def test_the_papers_subgraphs_are_its_flat_networks(name: str) -> None:
    with np.load(CASES / "braille_test0.npz") as file:
        x = {"input": file["x"][None, :64].astype(float)}
    with pytest.warns(UserNotice, match=r"'lif1\.lif', which the graph does not have"):
        nested = flatten(read_nir(CASES / "nir" / f"{name}_subgraph.nir"), 1e-4)
    expected = simulate(flatten(read_nir(CASES / "nir" / f"{name}.nir"), 1e-4), x, "torch").record
    ours = simulate(nested, x, "torch").record
    assert expected.spikes["lif1.lif"].any()
    np.testing.assert_array_equal(ours.spikes["lif1.lif1"], expected.spikes["lif1.lif"])
    np.testing.assert_array_equal(ours.outputs["output"], expected.outputs["output"])


SHAPE = (2, 3, 4)


def flattening(
    start: int, end: int, own: tuple[int, ...] | None = None, out: tuple[int, ...] | None = None, linear: int = 0
) -> nir.NIRGraph:
    flat_node = nir.Flatten({"input": None}, start, end)
    flat_node.input_type = {"input": None if own is None else np.array(own)}
    nodes: dict[str, nir.NIRNode] = {"in": nir.Input(np.array(SHAPE)), "flat": flat_node}
    if linear:
        nodes["linear"] = nir.Linear(np.arange(5.0 * linear).reshape(5, linear))
    nodes["out"] = nir.Output(None if out is None else np.array(out))
    return graph_of(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))


@pytest.mark.parametrize(
    ("graph", "shape"),
    [
        (flattening(0, -1), (24,)),
        (flattening(1, -1), (2, 12)),  # As NIR says it, and nothing speaks against it.
        (flattening(1, -1, own=SHAPE), (2, 12)),
        (flattening(0, 1, out=(6, 4)), (6, 4)),
    ],
)
def test_flatten_is_what_it_says(graph: nir.NIRGraph, shape: tuple[int, ...], recwarn: pytest.WarningsRecorder) -> None:
    assert flatten(graph).nodes["flat"].shape == shape
    assert not recwarn.list


@pytest.mark.parametrize(
    ("graph", "shape"),
    [
        (flattening(1, -1, linear=24), (24,)),  # PyTorch's default, and a layer that wants all of it
        (flattening(1, -1, out=(24,)), (24,)),
        (flattening(1, 3), (24,)),  # There is no axis 3 but with a batch.
        (flattening(2, 3), (2, 12)),
        (flattening(1, -1, own=(1, *SHAPE)), (24,)),  # The batch stands in its own shape.
        (flattening(2, -1, own=(7, *SHAPE)), (2, 12)),
        (flattening(2, -1, out=(24,)), (24,)),  # time and batch
        (flattening(2, -1, own=(5, 1, *SHAPE)), (24,)),
        (flattening(0, -1, own=(1, *SHAPE)), (24,)),
    ],
)
def test_flatten_may_count_batch_and_time(graph: nir.NIRGraph, shape: tuple[int, ...]) -> None:
    with pytest.warns(UserNotice, match="node 'flat': start_dim=.* of batch and time, which NIR leaves out"):
        found = flatten(graph)
    assert found.nodes["flat"].shape == shape
    x = np.arange(24.0).reshape(1, 1, *SHAPE)
    record = reference.simulate(found, {"in": x})
    if "linear" not in graph.nodes:
        np.testing.assert_array_equal(record.outputs["out"].reshape(-1), x.reshape(-1))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (flattening(5, -1), r"'flat': start_dim=5, end_dim=-1 do not fit the shape \(2, 3, 4\)"),
        (flattening(0, -1, own=(4, 3)), r"'flat': its input_type \(4, 3\) is not the shape \(2, 3, 4\)"),
        (flattening(1, -1, own=(1, 4, 3, 2)), "'flat': its input_type"),
        (flattening(1, -1, out=(7,)), "the edge from 'flat' to 'out': shapes"),
    ],
)
def test_flatten_that_fits_in_no_way_is_named(graph: nir.NIRGraph, message: str) -> None:
    with pytest.raises(UnsupportedGraphError, match=message):
        flatten(graph)
