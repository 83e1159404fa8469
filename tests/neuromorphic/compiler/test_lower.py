"""Folding and packing, checked by running the folded equations."""

from __future__ import annotations

from itertools import pairwise

import nir
import numpy as np
import pytest
from oracle import apply
from random_graphs import random_graph
from scenarios import DT, SCENARIOS, STEPS, Scenario, chain, lif, reference_spikes, relay
from scipy import sparse

from neuromorphic.compiler.linear import KRON_LEFT, KRON_RIGHT, bias_of, is_kron, matrix_of
from neuromorphic.compiler.lower import lower, pack
from neuromorphic.compiler.operators import Kron, block_diagonal, expanded
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.execution.populations import run
from neuromorphic.execution.reference import linear_map, simulate
from neuromorphic.graph import flatten


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_folded_networks_give_the_spikes_of_the_nir_graph(scenario: Scenario) -> None:
    ours = run(lower(flatten(scenario.graph)), {"input": scenario.x}).sent
    for name, expected in reference_spikes(scenario.graph, scenario.x).items():
        np.testing.assert_array_equal(ours[name], expected)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_folded_random_graphs_give_the_spikes_outputs_and_potentials_of_the_reference(first: int) -> None:
    for seed in range(first, first + 20):
        nir_graph, x = random_graph(seed)
        graph = flatten(nir_graph)
        membranes = [name for name in graph.neurons if graph.nodes[name].kind != "Threshold"]
        expected = simulate(graph, x, membranes)
        ours = run(lower(graph), {name: values[0] for name, values in x.items()}, membranes)
        for name, spikes in expected.spikes.items():
            np.testing.assert_array_equal(ours.sent[name].reshape(spikes[0].shape), spikes[0], err_msg=f"{seed} {name}")
        for name, values in expected.outputs.items():
            np.testing.assert_allclose(ours.sent[name].reshape(values[0].shape), values[0], rtol=1e-9, atol=1e-9)
        for name, values in expected.potentials.items():
            np.testing.assert_allclose(ours.potentials[name].reshape(values[0].shape), values[0], rtol=1e-9, atol=1e-9)


LINEAR = {
    "Conv1d same": (
        (3, 7),
        nir.Conv1d(7, np.random.default_rng(0).normal(size=(4, 3, 4)), 1, "same", 2, 1, np.arange(4.0)),
    ),
    "Conv1d": ((3, 7), nir.Conv1d(None, np.random.default_rng(1).normal(size=(6, 1, 3)), 2, 1, 1, 3, np.zeros(6))),
    "Conv2d": (
        (4, 6, 5),
        nir.Conv2d(
            (6, 5), np.random.default_rng(2).normal(size=(6, 2, 3, 2)), (2, 1), (1, 2), (1, 2), 2, np.arange(6.0)
        ),
    ),
    "Conv2d same": (
        (2, 5, 4),
        nir.Conv2d((5, 4), np.random.default_rng(3).normal(size=(3, 2, 2, 3)), 1, "same", (2, 1), 1, np.ones(3)),
    ),
    "SumPool2d": ((2, 5, 6), nir.SumPool2d(np.array([2, 3]), np.array([2, 1]), np.array([1, 0]))),
    "AvgPool2d": ((2, 5, 6), nir.AvgPool2d(np.array([3, 2]), np.array([1, 2]), np.array([0, 1]))),
    "Affine": ((3,), nir.Affine(np.random.default_rng(4).normal(size=(2, 3)), np.array([1.0, -1.0]))),
    "batched Linear": ((2, 3), nir.Linear(np.random.default_rng(5).normal(size=(2, 4, 3)))),
    "Scale": ((2, 3), nir.Scale(np.arange(6.0).reshape(2, 3))),
    "Flatten": ((2, 3, 4), nir.Flatten({"input": np.array([2, 3, 4])}, 1, -1)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_the_matrix_of_a_linear_node_and_its_map_in_the_reference_are_its_map(name: str) -> None:
    shape, node = LINEAR[name]
    graph = flatten(
        nir.NIRGraph(
            {
                "in": nir.Input(np.array(shape)),
                "node": node,
                "neurons": nir.Threshold(np.ones(())),
                "out": nir.Output(None),
            },
            [("in", "node"), ("node", "neurons"), ("neurons", "out")],
            type_check=False,
        ),
        dt=DT,
    )
    x = np.random.default_rng(9).normal(size=(3, *shape))
    checked = graph.nodes["node"]
    ours = expanded(matrix_of(checked), int(np.prod(shape))) @ x.reshape(3, -1).T
    bias = bias_of(checked)
    ours = ours.T + (0 if bias is None else bias)
    for result in (ours.reshape(-1, *checked.shape), linear_map(checked)(x)):
        np.testing.assert_allclose(result, apply(checked, x), atol=1e-12)


def test_packed_networks_are_the_networks_side_by_side() -> None:
    networks = [lower(flatten(scenario.graph)) for scenario in SCENARIOS.values()]
    packed = run(pack(networks), {"input": np.concatenate([s.x for s in SCENARIOS.values()], axis=1)}).sent
    apart = [run(n, {"input": s.x}).sent for n, s in zip(networks, SCENARIOS.values(), strict=True)]
    for name in packed:
        np.testing.assert_array_equal(packed[name], np.concatenate([own[name] for own in apart], axis=1))


def test_block_diagonal_equals_scipy() -> None:
    random = np.random.default_rng(0)
    shapes = [(2, 3), (1, 4), (3, 0), (3, 1)]
    blocks = [sparse.csr_matrix(random.normal(size=s) * (random.random(s) < 0.5)) for s in shapes]
    np.testing.assert_array_equal(expanded(block_diagonal(blocks), 0).toarray(), sparse.block_diag(blocks).toarray())
    krons = [Kron(block, np.arange(4.0).reshape(2, 2)) for block in blocks]
    packed = block_diagonal(krons)
    assert isinstance(packed, Kron)
    expected = sparse.block_diag([kron.expand() for kron in krons]).toarray()
    np.testing.assert_array_equal(packed.expand().toarray(), expected)
    other = block_diagonal([krons[0], Kron(blocks[1], np.ones((2, 2)))])
    assert not isinstance(other, Kron)


def test_a_kronecker_product_is_kept_apart_only_where_the_metadata_are_true() -> None:
    left, right = np.array([[1.0, 0.5], [0.0, 2.0]]), np.array([[1.0, -1.0], [0.25, 3.0]])
    for claimed, kept in ((left, True), (left.T, False)):
        graph = chain(nir.Linear(np.kron(left, right), metadata={KRON_LEFT: claimed, KRON_RIGHT: right}), lif(4))
        (projection, _) = lower(flatten(graph)).projections
        assert isinstance(projection.taps[0], Kron) is kept
        np.testing.assert_array_equal(expanded(projection.taps[0], 0).toarray(), 0.5 * np.kron(left, right))


@pytest.mark.parametrize("shapes", [((2, 2), (3, 2)), ((1, 3), (2, 4)), ((3, 1), (1, 1)), ((2, 0), (2, 2))])
def test_a_product_that_differs_anywhere_is_not_kronecker(shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    random = np.random.default_rng(0)
    left, right = (random.normal(size=shape) for shape in shapes)
    product = np.kron(left, right)
    assert is_kron(product, left, right)
    assert is_kron(np.asfortranarray(product), left, right)
    for place in np.ndindex(product.shape):
        other = product.copy()
        other[place] += 1e-9
        assert not is_kron(other, left, right)
    assert not is_kron(product[:-1], left, right)
    assert not is_kron(product.T, left, right)
    assert not is_kron(product[None], left, right)


def test_pack_refuses_networks_of_other_populations() -> None:
    with pytest.raises(UnsupportedGraphError, match="same populations"):
        pack([lower(flatten(chain(*relay(1)))), lower(flatten(chain(*relay(1), *relay(1))))])


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (lif(2, tau=1e-6), "node 'lif_0': tau must be at least dt"),
        (lif(2, v_reset=1.5), "node 'lif_0': v_threshold must not be below v_reset"),
    ],
)
def test_refuses_by_node_name(node: nir.NIRNode, message: str) -> None:
    graph = chain(*relay(2))
    graph.nodes["lif_0"] = node
    with pytest.raises(UnsupportedGraphError, match=message):
        lower(flatten(graph))


def test_a_bias_that_a_delay_holds_back_starts_later() -> None:
    nodes = {
        "input": nir.Input(np.array([1])),
        "affine": nir.Affine(np.zeros((1, 1)), np.ones(1)),
        "delay": nir.Delay(np.array([3 * DT])),
        "neuron": nir.Threshold(np.full(1, 0.5)),
        "output": nir.Output(np.array([1])),
    }
    names = list(nodes)
    graph = flatten(nir.NIRGraph(nodes, list(pairwise(names)), metadata={"dt": DT}))
    spikes = run(lower(graph), {"input": np.zeros((STEPS, 1))}).sent["neuron"][:, 0]
    np.testing.assert_array_equal(np.flatnonzero(spikes), np.arange(3, STEPS))
