"""Folding and packing, checked by running the folded equations."""

from __future__ import annotations

import nir
import numpy as np
import pytest
from scenarios import SCENARIOS, Scenario, chain, lif, reference_spikes, relay
from scipy import sparse

from neuromorphic.compiler.lower import LIFChain, block_diagonal, lower, pack
from neuromorphic.errors import UnsupportedGraphError


def run(lowered: LIFChain, x: np.ndarray) -> list[np.ndarray]:
    """The equations of LIFLayer, as its docstring has them."""
    spikes = []
    for layer in lowered.layers:
        v, out = np.zeros(len(layer.bias)), []
        for t, m in enumerate(x):
            v = (1 - layer.decay) * v + layer.weight @ m + layer.bias + (layer.onset if t == 0 else 0)
            out.append(v > layer.threshold)
            v = np.where(out[-1], 0, v)
        x = np.array(out, float)
        spikes.append(np.array(out))
    return spikes


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_folded_layers_give_the_spikes_of_the_nir_graph(scenario: Scenario) -> None:
    ours = run(lower(scenario.graph), scenario.x)
    for spikes, expected in zip(ours, reference_spikes(scenario.graph, scenario.x).values(), strict=True):
        np.testing.assert_array_equal(spikes, expected)


def test_packed_chains_are_the_chains_side_by_side() -> None:
    chains = [lower(scenario.graph) for scenario in SCENARIOS.values()]
    packed = run(pack(chains), np.concatenate([s.x for s in SCENARIOS.values()], axis=1))
    apart = [run(c, s.x) for c, s in zip(chains, SCENARIOS.values(), strict=True)]
    for k, spikes in enumerate(packed):
        np.testing.assert_array_equal(spikes, np.concatenate([own[k] for own in apart], axis=1))


def test_block_diagonal_equals_scipy() -> None:
    random = np.random.default_rng(0)
    shapes = [(2, 3), (1, 4), (3, 0), (3, 1)]
    blocks = [sparse.csr_matrix(random.normal(size=s) * (random.random(s) < 0.5)) for s in shapes]
    np.testing.assert_array_equal(block_diagonal(blocks).toarray(), sparse.block_diag(blocks).toarray())


def test_pack_refuses_chains_of_other_layers() -> None:
    with pytest.raises(UnsupportedGraphError, match="same layers"):
        pack([lower(chain(*relay(1))), lower(chain(*relay(1), *relay(1)))])


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (nir.Threshold(threshold=np.ones(2)), "node 'lif_0' is a Threshold"),
        (lif(2, tau=1e-6), "node 'lif_0': tau must be at least dt"),
        (lif(2, tau=np.nan), "node 'lif_0': tau must be at least dt"),
        (lif(2, v_reset=1.0), "node 'lif_0': v_threshold must be above v_reset"),
        (lif(2, v_leak=np.inf), "v_leak has values that are not finite"),
        (lif(3), "'affine_0' and 'lif_0' differ in size"),
    ],
)
def test_refuses_by_node_name(node: nir.NIRNode, message: str) -> None:
    graph = chain(*relay(2))
    graph.nodes["lif_0"] = node
    with pytest.raises(UnsupportedGraphError, match=message):
        lower(graph)


def test_refuses_reset_by_subtraction_branches_and_loops() -> None:
    graph = chain(*relay(2))
    graph.nodes["lif_0"].metadata["reset"] = "subtract"
    with pytest.raises(UnsupportedGraphError, match="reset rule 'subtract'"):
        lower(graph)
    graph = chain(*relay(2), *relay(2))
    graph.edges.append(("lif_0", "lif_1"))
    with pytest.raises(UnsupportedGraphError, match="'lif_0' has several outgoing edges"):
        lower(graph)
    graph.edges = [("input", "affine_0"), ("affine_0", "lif_0"), ("lif_0", "affine_0")]
    with pytest.raises(UnsupportedGraphError, match="'affine_0' is part of a loop"):
        lower(graph)
    graph.edges = [("input", "affine_0"), ("affine_0", "lif_0"), ("lif_0", "output")]
    with pytest.raises(UnsupportedGraphError, match="'affine_1' is not on the chain"):
        lower(graph)
