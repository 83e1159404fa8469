"""Forms of matrices: each is the matrix, and the smallest is taken."""

from __future__ import annotations

import nir
import numpy as np
import pytest
from scipy import sparse

from neuromorphic.c.matrices import Dense, Diagonal, Form, Sparse, Stencil, form_of, size_of
from neuromorphic.compiler.linear import matrix_of
from neuromorphic.graph import flatten
from neuromorphic.nir_file import graph_of


def matrix(form: Form, rows: int, sources: int) -> np.ndarray:
    """What a form says, entry by entry."""
    out = np.zeros((rows, sources))
    if isinstance(form, Dense):
        flat, at = form.constants[""], 0
        for first, width, tiles in form.tiles:
            for tile in range(tiles):
                for j in range(sources):
                    out[first + tile * width : first + (tile + 1) * width, j] = flat[at : at + width]
                    at += width
        out[form.tiled :] = flat[at:].reshape(sources, -1).T
    elif isinstance(form, Diagonal):
        out[range(rows), range(rows)] = form.weights
    elif isinstance(form, Sparse):
        for j in range(sources):
            for n in range(form.start[j], form.start[j + 1]):
                out[form.target[n], j] += form.weights[n]
    else:
        channels, height, width = form.shape
        (sy, sx), own = form.stride, form.constants
        taps = own.get("_taps", form.runs.taps)
        phases = own.get("_phase", np.array([0, len(taps)])).tolist()
        for j in range(sources):
            c, y, x = (int(k) for k in np.unravel_index(j, form.shape_in))
            p = y % sy * sx + x % sx
            for run in range(phases[p], phases[p + 1]):
                row = y // sy + int(own["_down"][run])
                for tap in range(int(taps[run])):
                    column = x // sx + int(own["_right"][run]) + tap
                    if not (0 <= row < height and 0 <= column < width):
                        continue
                    for o in range(form.kernel.shape[2]):
                        at = np.ravel_multi_index((int(form.first[c]) + o, row, column), form.shape)
                        out[at, j] += own[""][c, int(own["_start"][run]) + tap, o]
        if form.rest is not None:
            rest = matrix(form.rest, rows, sources)
            out += rest.reshape(height * width, channels, sources).transpose(1, 0, 2).reshape(rows, sources)
    return out


def convolution(node: nir.NIRNode, shape: tuple[int, ...]) -> tuple[sparse.csr_matrix, tuple[int, ...]]:
    """The matrix of a node, and its output's shape."""
    nodes = {"in": nir.Input(np.array(shape)), "node": node, "out": nir.Output(None)}
    flat = flatten(graph_of(nodes, [("in", "node"), ("node", "out")], {"dt": 1e-3})).nodes["node"]
    found = matrix_of(flat)
    assert isinstance(found, sparse.csr_matrix)
    return found, flat.shape


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, shape)


WINDOWS = {
    "plain": ((2, 9, 8), lambda: nir.Conv2d((9, 8), weights(5, 2, 3, 3), 1, 0, 1, 1, np.zeros(5))),
    "padded": ((2, 8, 9), lambda: nir.Conv2d((8, 9), weights(4, 2, 3, 5), 1, (1, 2), 1, 1, np.zeros(4))),
    "strided": ((2, 9, 9), lambda: nir.Conv2d((9, 9), weights(4, 2, 3, 3), (2, 3), 1, 1, 1, np.zeros(4))),
    "dilated": ((2, 12, 12), lambda: nir.Conv2d((12, 12), weights(4, 2, 3, 3), 1, 0, 2, 1, np.zeros(4))),
    "groups": ((4, 8, 8), lambda: nir.Conv2d((8, 8), weights(8, 2, 3, 3), 1, 0, 1, 2, np.zeros(8))),
    "line": ((3, 30), lambda: nir.Conv1d(30, weights(4, 3, 5), 1, 0, 1, 1, np.zeros(4))),
    "pooling": ((3, 8, 8), lambda: nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str) -> None:
    shape, make = WINDOWS[name]
    found, shape_out = convolution(make(), shape)
    for own in (found, (100 * found).astype(np.int32)):
        form = form_of(own, shape, shape_out)
        assert isinstance(form, Stencil) and form.rest is None
        assert form.kernel.size <= 4 * 5 * 5 * 5 * 2
        np.testing.assert_array_equal(matrix(form, *own.shape), own.toarray())


def test_a_border_that_is_rounded_otherwise_is_kept_apart_in_integers_alone() -> None:
    shape, make = WINDOWS["padded"]
    found, shape_out = convolution(make(), shape)
    own = (100 * found).astype(np.int32).tolil()
    own[0] = own[0] * 2
    form = form_of(own.tocsr(), shape, shape_out)
    assert isinstance(form, Stencil) and form.rest is not None
    np.testing.assert_array_equal(matrix(form, *own.shape), own.toarray())
    floats = form_of(own.tocsr().astype(float), shape, shape_out)
    assert not isinstance(floats, Stencil)
    np.testing.assert_array_equal(matrix(floats, *own.shape), own.toarray())


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("limit", [100, 1000, 100_000])
def test_dense_or_sparse_by_what_is_smaller(share: float, limit: int) -> None:
    random = np.random.default_rng(1)
    full = random.integers(1, limit, (70, 90)) * (random.random((70, 90)) < share)
    form = form_of(sparse.csr_matrix(full.astype(np.int32)), (90,), (70,))
    np.testing.assert_array_equal(matrix(form, 70, 90), full)
    kind = np.min_scalar_type(-limit)
    assert form.constants[""].dtype == kind
    bytes_dense, bytes_sparse = full.size * kind.itemsize, np.count_nonzero(full) * (kind.itemsize + 1) + 91
    assert size_of(form) <= min(bytes_dense, bytes_sparse) + 2 * 91


def test_the_diagonal() -> None:
    assert isinstance(form_of(sparse.identity(5, format="csr"), (5,), (5,)), Diagonal)
    form = form_of(sparse.diags(np.arange(1.0, 6), format="csr"), (5,), (5,))
    np.testing.assert_array_equal(matrix(form, 5, 5), np.diag(np.arange(1.0, 6)))
    # As many entries as rows, each row once, and yet no diagonal.
    column = sparse.csr_matrix(np.eye(5)[:, [2]] @ np.ones((1, 5)) + 0).T.tocsr()
    np.testing.assert_array_equal(matrix(form_of(column, (5,), (5,)), 5, 5), column.toarray())
