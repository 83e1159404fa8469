"""Operators against the matrices they stand for: numpy.kron, rounded entry by entry."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.operators import (
    FixedKron,
    Kron,
    Prepared,
    Repeated,
    distinct,
    even_integers,
    expanded,
    prepared,
    quantize_kron,
    rounding_error,
    signed_row_sums,
    sums_of,
)

RANDOM = np.random.default_rng(0)


def kron(targets: int, sources: int, m: int, k: int, values: int = 4, density: float = 0.4) -> Kron:
    """A graph whose pairs have one of a few values, as aggregation by degree has, and weights of both signs."""
    left = RANDOM.choice(RANDOM.normal(size=values), (targets, sources))
    left[RANDOM.random(left.shape) > density] = 0
    return Kron(sparse.csr_matrix(left), RANDOM.normal(size=(m, k)))


def dense(operator: Kron) -> NDArray[np.float64]:
    return np.kron(operator.left.toarray(), operator.right)


KRONS = {
    "square": kron(7, 7, 5, 5),
    "widens": kron(6, 6, 9, 2),
    "narrows": kron(6, 6, 2, 9),
    "pools": kron(1, 12, 4, 4),  # messages are passed first
    "spreads": kron(12, 1, 4, 4),
    "identity": Kron(sparse.csr_matrix(np.eye(6)), RANDOM.normal(size=(3, 5))),
    "permutation": Kron(sparse.csr_matrix(np.eye(6)[::-1]), RANDOM.normal(size=(3, 5))),
    "no_pairs": Kron(sparse.csr_matrix((4, 5)), RANDOM.normal(size=(3, 2))),
    "zeros_in_right": Kron(sparse.csr_matrix(np.ones((2, 3))), np.array([[0.0, 1.5], [-2.0, 0.0]])),
}
EVERY = pytest.mark.parametrize("operator", KRONS.values(), ids=KRONS)


@EVERY
def test_dot_and_expansion_are_those_of_the_kronecker_product(operator: Kron) -> None:
    expected = dense(operator)
    assert operator.shape == expected.shape
    assert operator.nnz == np.count_nonzero(expected)
    matrix = operator.expand()
    assert isinstance(matrix, sparse.csr_matrix) and matrix.nnz == operator.nnz
    np.testing.assert_array_equal(matrix.toarray(), expected)
    x = RANDOM.normal(size=expected.shape[1])
    spikes = RANDOM.random(expected.shape[1]) < 0.5
    np.testing.assert_allclose(operator.dot(x), expected @ x, atol=1e-12)
    np.testing.assert_allclose(operator @ spikes, expected @ spikes, atol=1e-12)
    np.testing.assert_allclose(operator @ spikes.astype(np.int32), expected @ spikes, atol=1e-12)


@EVERY
def test_sums_and_the_largest_entry_need_no_expansion(operator: Kron) -> None:
    expected = dense(operator)
    parts = (np.maximum(expected, 0).sum(axis=1), np.minimum(expected, 0).sum(axis=1))
    for ours, of_matrix, part in zip(signed_row_sums(operator), signed_row_sums(operator.expand()), parts, strict=True):
        np.testing.assert_allclose(ours, part, atol=1e-12)
        np.testing.assert_allclose(of_matrix, part, atol=1e-12)
    np.testing.assert_allclose(operator.largest(), np.abs(expected).max(), atol=1e-15)


@EVERY
def test_rows_are_scaled_without_expansion_where_the_gain_allows(operator: Kron) -> None:
    nodes, channels = operator.left.shape[0], operator.right.shape[0]
    by_channel, by_node = RANDOM.uniform(0.5, 2, channels), RANDOM.uniform(0.5, 2, nodes)
    for gain, kept in (
        (np.tile(by_channel, nodes), True),
        (np.repeat(by_node, channels), True),
        (RANDOM.uniform(0.5, 2, nodes * channels), nodes == 1),
    ):
        scaled = operator.scale_rows(gain)
        assert isinstance(scaled, Kron) == kept
        np.testing.assert_allclose(expanded(scaled, 0).toarray(), gain[:, None] * dense(operator), atol=1e-14)


@EVERY
def test_rounded_operators_are_the_rounded_matrix(operator: Kron) -> None:
    unit = 254 / operator.largest() if operator.largest() else 1.0
    fixed = quantize_kron(operator, unit)
    assert fixed is not None and fixed.weights.dtype == np.int32
    expected = 2 * np.round(dense(operator) * (unit / 2)).astype(np.int64)
    assert fixed.shape == expected.shape
    assert fixed.nnz == np.count_nonzero(expected)
    assert fixed.expand().dtype == np.int32
    np.testing.assert_array_equal(fixed.expand().toarray(), expected)
    np.testing.assert_array_equal(fixed.expand().toarray(), even_integers(dense(operator), unit))
    np.testing.assert_array_equal(fixed.absolute_row_sums(), np.abs(expected).sum(axis=1))
    assert rounding_error(operator, fixed, unit) == np.abs(expected - unit * dense(operator)).max()
    spikes = RANDOM.random(expected.shape[1]) < 0.5
    # Sums that need 24 bits, 53 bits, and more.
    for x in (spikes, spikes.astype(np.int32), *(RANDOM.integers(-(2**b), 2**b, len(spikes)) for b in (15, 40, 50))):
        y = fixed.dot(x)
        assert y.dtype == sums_of(x.dtype)
        np.testing.assert_array_equal(y, expected @ x)


def test_distinct_matrices_are_those_of_numpy() -> None:
    random = np.random.default_rng(0)
    for size, high in ((1, 2), (9, 2), (20, 3), (6, 100)):
        matrices = random.integers(-high, high, (size, 2, 2)).astype(np.int32)
        expected, number = np.unique(matrices, axis=0, return_inverse=True)
        ours = distinct(matrices)
        np.testing.assert_array_equal(ours[0], expected)
        np.testing.assert_array_equal(ours[1], number.reshape(-1))


def test_values_that_round_alike_share_a_class() -> None:
    left = sparse.csr_matrix(np.array([[1 / 3, 1 - 2 / 3], [0.0, 1.0]]))
    fixed = quantize_kron(Kron(left, np.array([[1.0, -0.5]])), 254.0)
    assert fixed is not None
    assert len(fixed.weights) == 2


@given(st.integers(0, 2**32 - 1))
def test_sums_of_float32_are_exact(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = sparse.csr_matrix(np.ones((8, 8), np.int32))
    fixed = FixedKron(classes, random.choice([-254, 254, 252], (2, 16, 64)).astype(np.int32))
    x = random.integers(0, 2**6, 8 * 64).astype(np.int32)
    np.testing.assert_array_equal(fixed.dot(x), fixed.expand().astype(np.int64) @ x.astype(np.int64))


def test_too_many_distinct_values_are_left_to_the_caller() -> None:
    left = sparse.csr_matrix(RANDOM.normal(size=(9, 9)))
    assert quantize_kron(Kron(left, np.ones((2, 2))), 100.0) is None


@EVERY
def test_a_batch_has_each_samples_product_bit_for_bit(operator: Kron) -> None:
    size = operator.shape[1]
    samples = RANDOM.normal(size=(5, size)) * (RANDOM.random((5, size)) < 0.6)
    many = Repeated(operator, 5)
    np.testing.assert_array_equal(many.dot(samples.reshape(-1)), np.concatenate([operator.dot(x) for x in samples]))
    np.testing.assert_array_equal(many.expand().toarray(), np.kron(np.eye(5), dense(operator)))
    assert many.shape == many.expand().shape and many.nnz == many.expand().nnz
    fixed = quantize_kron(operator, 100.0)
    assert fixed is not None
    for bits in (4, 20, 45):
        x = RANDOM.integers(-(2**bits), 2**bits, (5, size))
        expected = np.concatenate([fixed.dot(own) for own in x])
        np.testing.assert_array_equal(Repeated(fixed, 5).dot(x.reshape(-1)), expected)


MATRICES = {
    "small": sparse.random(60, 50, 0.4, format="csr", random_state=0),
    "dense": sparse.random(600, 500, 0.4, format="csr", random_state=0),
    "sparse": sparse.random(2000, 1500, 0.05, format="csr", random_state=0),
    "unsorted": (sparse.random(600, 500, 0.4, format="csr", random_state=0)[:, ::-1]).tocsr(),
    "a row": sparse.csr_matrix(np.ones((1, 4))),
    "a column": sparse.csr_matrix(np.ones((4, 1))),
    "no synapse": sparse.csr_matrix((3, 4)),
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_prepared_floats_are_added_in_the_order_of_the_sources(matrix: sparse.csr_matrix, times: int) -> None:
    matrix = matrix.copy()
    matrix.data = RANDOM.normal(size=matrix.nnz)
    ready = prepared(Repeated(matrix, times) if times > 1 else matrix)
    assert isinstance(ready, Prepared)
    for rate in (0.0, 0.01, 0.15, 0.5, 1.0):
        spikes = RANDOM.random((times, matrix.shape[1])) < rate
        for messages in (spikes, spikes * RANDOM.normal(size=spikes.shape)):
            expected = np.zeros((times, matrix.shape[0]))
            for j, column in enumerate(matrix.toarray().T):
                expected += messages[:, j, None] * column
            y = ready.dot(messages.reshape(-1))
            assert y.dtype == np.float64
            np.testing.assert_array_equal(y, expected.reshape(-1))


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_prepared_integers_are_exact(matrix: sparse.csr_matrix, times: int) -> None:
    matrix = matrix.copy()
    matrix.data = RANDOM.integers(-254, 255, matrix.nnz).astype(np.int32)
    ready = prepared(Repeated(matrix, times) if times > 1 else matrix)
    exact = matrix.toarray().astype(np.int64)
    for rate in (0.0, 0.01, 0.5, 1.0):
        spikes = RANDOM.random((times, matrix.shape[1])) < rate
        graded = [spikes * RANDOM.integers(-(2**b), 2**b, spikes.shape) for b in (6, 15, 40, 48)]
        # Sums that need 24 bits, 53 bits, and more; those of 32-bit messages wrap around as Lava's do.
        for x in (spikes, spikes.astype(np.int32), (2**20 * graded[0]).astype(np.int32), *graded):
            y = ready.dot(x.reshape(-1))
            assert y.dtype == sums_of(x.dtype)
            np.testing.assert_array_equal(y, (x.astype(np.int64) @ exact.T).astype(y.dtype).reshape(-1))


def test_kronecker_products_need_no_preparation() -> None:
    assert prepared(KRONS["square"]) is KRONS["square"]


def test_memory_is_linear_in_pairs_and_weights() -> None:
    nodes, pairs, channels = 4000, 20_000, 128
    left = sparse.csr_matrix(
        (RANDOM.choice([0.5, 0.25], pairs), RANDOM.integers(0, nodes, (2, pairs))), shape=(nodes, nodes)
    )
    big = Kron(left, RANDOM.normal(size=(channels, channels)))
    spikes = RANDOM.random(nodes * channels) < 0.3
    vector = spikes.astype(np.float64).nbytes  # of nodes x channels
    tracemalloc.start()
    try:
        big.dot(spikes)
        signed_row_sums(big)
        fixed = quantize_kron(big, 100.0)
        assert fixed is not None
        fixed.dot(spikes)
        fixed.absolute_row_sums()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The matrix has 330 million entries.
    assert big.nnz > 3e8
    assert peak < 30 * vector
