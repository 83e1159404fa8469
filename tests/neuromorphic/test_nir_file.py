"""NIR files: broken ones are one error, and none is left half-written."""

from __future__ import annotations

from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from disk import full_disk
from scenarios import SCENARIOS

from neuromorphic.errors import NIRFileError, UnsupportedGraphError, UserError
from neuromorphic.graph import time_step
from neuromorphic.nir_file import read_nir, write_nir

GRAPH = SCENARIOS["random_0"].graph


def test_graphs_come_back(tmp_path: Path) -> None:
    write_nir(tmp_path / "new" / "graph.nir", GRAPH)
    graph = read_nir(tmp_path / "new" / "graph.nir")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["graph.nir"]
    for name, node in GRAPH.nodes.items():
        assert type(graph.nodes[name]) is type(node)
        if isinstance(node, nir.LIF):
            for field in ("tau", "r", "v_leak", "v_threshold", "v_reset"):
                np.testing.assert_array_equal(getattr(graph.nodes[name], field), getattr(node, field))
    assert time_step(graph) == time_step(GRAPH)


def test_what_is_no_nir_graph_is_named(tmp_path: Path) -> None:
    with pytest.raises(NIRFileError, match=r"nothing\.nir does not exist"):
        read_nir(tmp_path / "nothing.nir")
    (tmp_path / "text.nir").write_text("no HDF5")
    with pytest.raises(NIRFileError, match=r"text\.nir is not a NIR graph"):
        read_nir(tmp_path / "text.nir")
    write_nir(tmp_path / "cut.nir", GRAPH)
    whole = (tmp_path / "cut.nir").read_bytes()
    (tmp_path / "cut.nir").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NIRFileError, match=r"cut\.nir is not a NIR graph"):
        read_nir(tmp_path / "cut.nir")
    with h5py.File(tmp_path / "other.nir", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(NIRFileError, match=r"other\.nir is not a NIR graph"):
        read_nir(tmp_path / "other.nir")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_nir(tmp_path / "graph.nir", GRAPH)
    before = (tmp_path / "graph.nir").read_bytes()
    with full_disk(1000), pytest.raises(UserError, match=r"graph\.nir cannot be written \(File too large\); make room"):
        write_nir(tmp_path / "graph.nir", GRAPH)
    assert [path.name for path in tmp_path.iterdir()] == ["graph.nir"]
    assert (tmp_path / "graph.nir").read_bytes() == before


def test_a_time_step_that_is_none_is_refused() -> None:
    nodes = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    with pytest.raises(UnsupportedGraphError, match="metadata 'dt'"):
        time_step(nir.NIRGraph(nodes, [("input", "output")]))
