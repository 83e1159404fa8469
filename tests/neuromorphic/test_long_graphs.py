"""Graphs of many nodes in a row: no depth is too deep."""

from __future__ import annotations

from itertools import pairwise

import nir
import numpy as np
import pytest
from scenarios import DT, lif

from neuromorphic.backends import BACKENDS, Backend, simulate
from neuromorphic.graph import flatten

NODES = 1000


def row() -> nir.NIRGraph:
    """1,000 linear nodes, every second of them a Scale by 2 or 1 / 2, then neurons."""
    turn = np.array([[0.0, 1.0], [1.0, 0.0]])
    linear = [nir.Linear(turn) if k % 2 else nir.Scale(np.full(2, 2.0 if k % 4 else 0.5)) for k in range(NODES)]
    nodes: dict[str, nir.NIRNode] = {f"linear_{k}": node for k, node in enumerate(linear)}
    nodes = {"input": nir.Input(np.array([2])), **nodes, "lif": lif(2), "output": nir.Output(np.array([2]))}
    return nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": DT}, type_check=False)


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        pytest.param(backend, precision, marks=[pytest.mark.lava] if backend == "lava" else [])
        for backend in BACKENDS
        for precision in ("float", "fixed")
        if (backend, precision) != ("torch", "fixed")
    ],
)
def test_a_thousand_linear_nodes_in_a_row(backend: Backend, precision: str) -> None:
    x = np.random.default_rng(0).choice([0.0, 1.5, 3.0], (1, 12, 2))
    nodes: dict[str, nir.NIRNode] = {
        "input": nir.Input(np.array([2])),
        "lif": lif(2),
        "output": nir.Output(np.array([2])),
    }
    short = flatten(nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": DT}))
    expected = simulate(short, {"input": x}).record
    ours = simulate(flatten(row()), {"input": x}, backend, precision).record  # type: ignore[arg-type]
    np.testing.assert_array_equal(ours.spikes["lif"], expected.spikes["lif"])
    assert 0.1 < expected.spikes["lif"].mean() < 0.9
