"""Pictures of graphs and of two back ends side by side, and networks written as files."""

from itertools import pairwise

import nir
import numpy as np
import pytest
from matplotlib.text import Annotation

import neuromorphic as nm
from neuromorphic.graph import flatten
from neuromorphic.results.drawing import depths, draw


def linear(size: int = 2) -> nir.Linear:
    return nir.Linear(np.eye(size))


def lif(size: int = 2, threshold: float = 1.0) -> nir.LIF:
    one = np.ones(size)
    return nir.LIF(tau=2e-3 * one, r=one, v_leak=0 * one, v_threshold=threshold * one, v_reset=0 * one)


def network(names: str, edges: str, dt: float | None = 1e-3) -> nir.NIRGraph:
    """Nodes by their first letters: l for LIF, others are linear; "a>b b>c" are edges."""
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input(np.array([2])), "output": nir.Output(np.array([2]))}
    nodes |= {name: lif() if name[0] == "l" else linear() for name in names.split()}
    pairs = [tuple(edge.split(">")) for edge in edges.split()]
    return nir.NIRGraph(nodes, pairs, metadata={} if dt is None else {"dt": dt})


def longest(sources: dict[str, tuple[str, ...]], name: str) -> int:
    """The oracle: length of the longest way down to a node, of a graph without loops."""
    return max((1 + longest(sources, source) for source in sources[name]), default=0)


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_longest_ways_where_there_are_no_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = [f"{'l' if random.random() < 0.4 else 'w'}{k}" for k in range(9)]
    edges = ["input>" + names[0], names[-1] + ">output"]
    for k in range(1, 9):
        edges += [f"{names[source]}>{names[k]}" for source in set(random.integers(0, k, 2).tolist())]
    graph = flatten(network(" ".join(names), " ".join(edges)))
    assert depths(graph) == {name: longest(dict(graph.sources), name) for name in graph.nodes}


def test_what_closes_a_loop_points_up_and_its_node_stands_above_its_reader() -> None:
    graph = flatten(network("w l1 back w2 l2", "input>w w>l1 l1>back back>l1 l1>w2 w2>l2 l2>output"))
    depth = depths(graph)
    assert [depth[name] for name in ("input", "w", "back", "l1", "w2", "l2", "output")] == [0, 1, 1, 2, 3, 4, 5]
    (axes,) = draw(graph).axes
    arrows = [own for own in axes.texts if isinstance(own, Annotation)]
    dashed = [own for own in arrows if own.arrow_patch.get_linestyle() == "--"]
    assert len(arrows) == 7 and len(dashed) == 1
    assert dashed[0].xy[1] > dashed[0].xyann[1], "from the neuron up to what it feeds"


def test_every_node_is_drawn_once_in_a_place_of_its_own() -> None:
    net = nm.load(network("w l1 l2 l3", "input>w w>l1 w>l2 w>l3 l1>output l2>output l3>output"))
    (axes,) = net.draw().axes
    boxes = [own for own in axes.texts if not isinstance(own, Annotation)]
    assert sorted(own.get_text().split("\n")[0] for own in boxes) == sorted(net.graph.nodes)
    assert len({own.get_position() for own in boxes}) == len(boxes)
    assert any(own.get_text() == "l1\nLIF 2" for own in boxes)


def test_a_graph_deeper_than_pythons_stack_is_drawn() -> None:
    names = [f"w{k}" for k in range(1500)]
    edges = " ".join(f"{a}>{b}" for a, b in zip(["input", *names], [*names, "output"], strict=True))
    graph = flatten(network(" ".join(names), edges))
    assert depths(graph)["output"] == 1501


def test_the_first_difference_is_circled_on_both_sides() -> None:
    random = np.random.default_rng(0)
    nodes = {"input": nir.Input(np.array([6])), "output": nir.Output(np.array([6]))}
    for k in (1, 2):
        nodes |= {f"fc{k}": nir.Linear(random.normal(0, 0.5, (6, 6))), f"l{k}": lif(6, 0.2)}
    names = ("input", "fc1", "l1", "fc2", "l2", "output")
    net = nm.load(nir.NIRGraph(nodes, list(pairwise(names)), metadata={"dt": 1e-3}))
    verification = net.verify(against="numpy", precision="fixed", steps=40, seed=3)
    first = verification.first_difference
    assert first is not None
    rows = np.array(verification.plot().axes).reshape(2, 2)
    for name, line in zip(("l1", "l2"), rows, strict=True):
        for axes, run in zip(line, (verification.expected, verification.verified), strict=True):
            dots, *circle = axes.lines
            assert [own.get_xydata().tolist() for own in circle] == [[[first.step, first.neuron]]] * (
                name == first.node
            )
            drawn = {(int(step), int(neuron)) for step, neuron in dots.get_xydata()}
            assert drawn == set(zip(*(own.tolist() for own in np.nonzero(run.spikes[name])), strict=True))
    same = net.verify(against="torch", steps=10).plot()
    assert [len(axes.lines) for axes in same.axes] == [1, 1, 1, 1]


def test_a_network_without_spikes_shows_its_outputs() -> None:
    one = np.ones(2)
    nodes = {"input": nir.Input(np.array([2])), "li": nir.LI(tau=2e-3 * one, r=one, v_leak=0 * one)}
    graph = nir.NIRGraph(nodes | {"output": nir.Output(np.array([2]))}, [("input", "li"), ("li", "output")])
    figure = nm.load(graph, dt=1e-3).verify(against="torch", steps=5).plot()
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_network_is_written_with_what_was_given(tmp_path, reset: str) -> None:
    net = nm.load(network("w l1", "input>w w>l1 l1>output", dt=None), dt=2e-4, reset=reset)
    net.save(tmp_path / "out.nir")
    back = nm.load(tmp_path / "out.nir")
    assert back.dt == 2e-4 and back.graph.nodes["l1"].reset == reset
    assert "dt" not in net.nir_graph.metadata, "what was loaded stays as it was"
    x = np.random.default_rng(0).normal(1.0, 2.0, (30, 2))
    assert np.array_equal(back.run(x).spikes["l1"], net.run(x).spikes["l1"]) and net.run(x).spikes["l1"].any()


def test_outputs_that_are_spikes_are_rasters() -> None:
    """Curves between 0 and 1 would cover each other."""
    x = 4.0 * np.ones((12, 2))
    for names, edges, dots in (
        ("w l", "input>w w>l l>output", True),
        ("w l v", "input>w w>l l>v v>output", False),  # numbers
        ("w l1 l2", "input>w w>l1 w>l2 l1>output l2>output", False),  # two spikes in a step
    ):
        net = nm.load(network(names, edges))
        run = net.run(x)
        (panel,) = net.plot(run, nodes=["output"]).axes
        assert (panel.get_ylabel() == "neuron") is dots
        assert panel.get_title(loc="left") == ("output: spikes" if dots else "output: output")
        if dots:
            (drawn,) = panel.lines
            assert np.transpose(drawn.get_data()).tolist() == np.argwhere(run.output).tolist() != []
