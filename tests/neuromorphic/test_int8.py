"""Weights of 8 bits in NIR files, and NIR files that say how they are to be read."""

from __future__ import annotations

from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from random_graphs import random_graph

import neuromorphic as nm
from neuromorphic import export
from neuromorphic.int8 import with_int8_weights
from neuromorphic.nir_file import graph_of, read_nir

RANDOM = np.random.default_rng(0)


def network() -> tuple[nir.NIRGraph, nir.NIRGraph]:
    """A graph with a convolution and a Linear whose first row is zero, and one with an Affine of one more axis."""
    weight = RANDOM.normal(0, 1, (5, 24))
    weight[0] = 0
    inner = graph_of(
        {
            "input": nir.Input({"input": np.array([2, 3])}),
            "affine": nir.Affine(RANDOM.normal(0, 1, (2, 4, 3)), RANDOM.normal(0, 1, (2, 4))),
            "output": nir.Output({"output": np.array([2, 4])}),
        },
        [("input", "affine"), ("affine", "output")],
        {},
    )
    nodes = {
        "input": nir.Input({"input": np.array([2, 5, 4])}),
        "conv": nir.Conv2d((5, 4), RANDOM.normal(0, 1, (2, 2, 2, 1)), 1, 0, 1, 1, np.ones(2)),
        "pool": nir.SumPool2d(np.array([1, 1]), np.array([1, 1]), np.array([0, 0])),
        "flatten": nir.Flatten({"input": np.array([2, 4, 4])}, 0, -1),
        "cut": nir.Linear(np.eye(24, 32)),
        "linear": nir.Linear(weight),
        "lif": nir.LIF(3e-3 * np.ones(5), np.ones(5), np.zeros(5), 0.3 * np.ones(5)),
        "six": nir.Linear(RANDOM.normal(0, 1, (6, 5))),
        "back": nir.Flatten({"input": np.array([6])}, 0, -1),
        "output": nir.Output({"output": np.array([6])}),
    }
    return graph_of(nodes, list(zip(list(nodes)[:-1], list(nodes)[1:], strict=True)), {"dt": 1e-3}), inner


def test_weights_are_rounded_and_read_back(tmp_path: Path) -> None:
    graph, inner = network()
    net = nm.load(graph)
    rounding = {own.node: own for own in net.save(tmp_path / "small.nir", "int8")}
    assert set(rounding) == {"conv", "cut", "linear", "six"}
    assert all(0 <= own.largest_error <= 1 / 254 + 1e-12 for own in rounding.values())
    assert rounding["linear"].largest_error > 1 / 1000 and rounding["cut"].largest_error == 0
    read = read_nir(tmp_path / "small.nir")
    for name in rounding:
        node, q = graph.nodes[name], read.nodes[name]
        assert q.weight.dtype == np.int8 and np.abs(q.weight.astype(int)).max() == 127
        scaled = q.weight * q.metadata["weight_scale"]
        largest = np.abs(node.weight).reshape(len(node.weight), -1).max(axis=1)
        assert (np.abs(scaled - node.weight).reshape(len(largest), -1).max(axis=1) <= largest / 254 + 1e-15).all()
    assert (read.nodes["linear"].weight[0] == 0).all()
    # A run of the file is a run of the weights that it stands for, to the last bit.
    plain = graph_of({**graph.nodes}, graph.edges, {"dt": 1e-3})
    for name in rounding:
        q = read.nodes[name]
        keys = ("input_shape", "stride", "padding", "dilation", "groups")
        fields = {key: getattr(graph.nodes[name], key) for key in keys if hasattr(graph.nodes[name], key)}
        bias = {"bias": graph.nodes[name].bias} if hasattr(graph.nodes[name], "bias") else {}
        plain.nodes[name] = type(q)(weight=q.weight * q.metadata["weight_scale"], **fields, **bias)
    x = RANDOM.normal(0.3, 1, (40, 2, 5, 4))
    ours, theirs = nm.load(tmp_path / "small.nir").run(x), nm.load(plain).run(x)
    assert_array_equal(ours.output, theirs.output)
    assert ours.spikes["lif"].any() and not ours.spikes["lif"].all()
    # Saved once more it stays as it is, and one axis more has a scale for each of its rows.
    assert nm.load(tmp_path / "small.nir").save(tmp_path / "again.nir", "int8") == []
    rounded, _ = with_int8_weights(inner)
    assert rounded.nodes["affine"].metadata["weight_scale"].shape == (2, 4, 1)
    x = RANDOM.normal(0, 1, (3, 2, 3))
    assert_allclose(nm.load(rounded).run(x).output, nm.load(inner).run(x).output, atol=0.05)


def test_int8_without_a_scale_is_what_it_is_and_a_scale_must_fit() -> None:
    linear = nir.Linear(np.array([[2, -3]], np.int8))
    ends = {"input": nir.Input({"input": np.array([2])}), "fc": linear, "output": nir.Output({"output": np.array([1])})}
    graph = graph_of(ends, [("input", "fc"), ("fc", "output")], {})
    assert nm.load(graph).run(np.ones((1, 2))).output.tolist() == [[-1.0]]
    linear.metadata = {"weight_scale": np.ones((3, 1))}
    with pytest.raises(
        nm.UserError, match=r"node 'fc': metadata 'weight_scale' of shape \(3, 1\) does not fit weights"
    ):
        nm.load(graph)
    linear.weight = linear.weight.astype(float)  # Of floats it means nothing.
    assert nm.load(graph).run(np.ones((1, 2))).output.tolist() == [[-1.0]]


@pytest.mark.parametrize("seed", range(8))
def test_a_saved_network_says_how_it_is_read(seed: int, tmp_path: Path) -> None:
    graph, x = random_graph(seed)
    graph.metadata = {}
    net = nm.load(graph, 1e-4, "subtract" if seed % 2 else None)
    net.save(tmp_path / "saved.nir")
    again = nm.load(tmp_path / "saved.nir")
    assert again.dt == 1e-4 and not graph.metadata
    assert {n: node.reset for n, node in again.graph.nodes.items()} == {
        n: node.reset for n, node in net.graph.nodes.items()
    }
    ours, theirs = again.run(x), net.run(x)
    for name, spikes in theirs.spikes.items():
        assert_array_equal(ours.spikes[name], spikes)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wide = graph_of(
        {
            "input": nir.Input({"input": np.array([300])}),
            "fc": nir.Linear(RANDOM.normal(0, 1, (200, 300))),
            "if": nir.IF(np.ones(200), np.ones(200)),
            "output": nir.Output({"output": np.array([200])}),
        },
        [("input", "fc"), ("fc", "if"), ("if", "output")],
        {},
    )
    nir.write(str(tmp_path / "big.nir"), wide)
    arguments = ["--to", "nir", "--nir", "big.nir", "--from", "sinabs", "--weights", "int8", "--out", "ours"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["export", *arguments])
    export.main()
    printed = capsys.readouterr().out
    assert "weights of 8 bits" in printed and "ours/model.nir" in printed
    assert Path("ours/model.nir").stat().st_size < Path("big.nir").stat().st_size / 4
    with h5py.File("ours/model.nir") as file:
        assert file["node/nodes/fc/weight"].dtype == np.int8 and file["node/metadata/dt"][()] == 1.0
    assert nm.load("ours/model.nir").graph.nodes["if"].reset == "subtract"
    for wrong, message in (
        (["--to", "lava", "--nir", "big.nir", "--weights", "int8", "--out", "o"], "--weights goes with --to nir --nir"),
        (["--to", "nir", "--nir", "big.nir", "--input", "x", "--out", "o"], "--input goes with --to lava"),
        (["--to", "nir", "--checkpoint", "c", "--from", "norse", "--out", "o"], "--from goes with --nir"),
    ):
        monkeypatch.setattr("sys.argv", ["export", *wrong])
        with pytest.raises(nm.UserError, match=message):
            export.main()
    assert not Path("o").exists()
