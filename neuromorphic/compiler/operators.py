"""Synapses as linear maps that are cheaper than their matrix: a graph's kron(A, W) with A and W kept apart.

Lava's ``Sparse`` and neuromorphic chips hold every synapse, E M K for E edges of a graph and a weight of (M, K);
:meth:`Kron.expand` and :meth:`FixedKron.expand` give that matrix. A CPU need not: messages are transformed once a node
and passed once an edge, with E + M K numbers in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

EXACT_IN_FLOAT32, EXACT_IN_FLOAT64 = 2**24, 2**53
"""Sums of integers below these limits are exact in floats, in any order. NumPy multiplies matrices of floats far faster
than matrices of integers."""
LARGE = 100_000
"""Least number of products in a step for which preparing a matrix pays."""
FULL = 0.25
"""Least share of nonzero entries at which a matrix is multiplied as a dense one."""
FEW = 0.2
"""Largest share of nonzero messages at which taking only those is faster than multiplying by the whole matrix."""
MAX_CLASSES = 64
"""Largest number of distinct values of A for which a quantised kron(A, W) stays a product."""


@dataclass(frozen=True, eq=False)
class Kron:
    """The linear map kron(left, right): y[n', m] = sum_n left[n', n] sum_k right[m, k] x[n, k].

    Element n K + k of a vector is channel k of node n.

    Attributes:
        left: Weights between nodes, shape (N', N), each pair at most once.
        right: Weights between channels, float64, shape (M, K).
    """

    left: sparse.csr_matrix
    right: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix, (N' M, N K)."""
        return self.left.shape[0] * self.right.shape[0], self.left.shape[1] * self.right.shape[1]

    @property
    def nnz(self) -> int:
        """Synapses of the matrix: its entries other than 0."""
        return int(np.count_nonzero(self.left.data)) * int(np.count_nonzero(self.right))

    @cached_property
    def _passes_first(self) -> bool:
        """Whether passing messages before transforming them takes fewer multiplications than after."""
        (targets, sources), (m, k) = self.left.shape, self.right.shape
        return self.left.nnz * k + targets * m * k < self.left.nnz * m + sources * m * k

    @cached_property
    def is_identity(self) -> bool:
        """Whether ``left`` is the identity."""
        targets, sources = self.left.shape
        return (
            targets == sources == self.left.nnz
            and bool((self.left.data == 1).all())
            and np.array_equal(self.left.indices, np.arange(targets))
            and np.array_equal(self.left.indptr, np.arange(targets + 1))
        )

    def dot(self, x: NDArray) -> Floats:
        """The product with a vector of any number type, shape (N K,) -> (N' M,) or (B, N K) -> (B, N' M).

        A vector's product does not depend on the others of a batch. BLAS, whose order of additions depends on the
        number of rows, is therefore called for each vector by itself.
        """
        x, right = np.asarray(x, np.float64), self.right.T
        messages = x.reshape(samples_of(x), self.left.shape[1], len(right))
        if self.is_identity:
            y = messages @ right
        elif self._passes_first:
            y = _pass(self.left, messages) @ right
        else:
            y = _pass(self.left, messages @ right)
        return y.reshape(*x.shape[:-1], self.shape[0])

    __matmul__ = dot

    def expand(self) -> sparse.csr_matrix:
        """The matrix, with an entry for every synapse."""
        return _expand(self.left, self.left.data[:, None, None] * self.right)

    def scale_rows(self, gain: Floats) -> Kron | sparse.csr_matrix:
        """The map whose output is multiplied by ``gain``, shape (N' M,).

        A ``Kron`` where the gain is the same for all nodes, or for all channels of each node; otherwise the matrix.
        """
        by_node = gain.reshape(self.left.shape[0], self.right.shape[0])
        if (by_node == by_node[:1]).all():
            return Kron(self.left, self.right * by_node[:1].T) if len(by_node) else self
        if (by_node == by_node[:, :1]).all():
            return Kron(_scaled(self.left, by_node[:, 0]), self.right)
        return _scaled(self.expand(), gain)

    def signed_row_sums(self) -> tuple[Floats, Floats]:
        """Sums of the positive and of the negative entries in each row, shape (N' M,) each."""
        left_positive, left_negative = signed_row_sums(self.left)
        right_positive, right_negative = np.maximum(self.right, 0).sum(axis=1), np.minimum(self.right, 0).sum(axis=1)
        left_positive, left_negative = left_positive[:, None], left_negative[:, None]
        positive = left_positive * right_positive + left_negative * right_negative
        negative = left_positive * right_negative + left_negative * right_positive
        return positive.reshape(-1), negative.reshape(-1)

    def largest(self) -> float:
        """Largest absolute value of an entry."""
        return float(np.abs(self.left.data).max(initial=0.0) * np.abs(self.right).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class FixedKron:
    """An integer matrix of blocks: block (n', n) is one of C integer matrices, that of the pair's class, or 0.

    It is kron(left, right) with every entry rounded: the sum over the distinct values a_c of left of
    kron(left == a_c, rounded(a_c right)). kron(rounded(left), rounded(right)) would have other entries.

    Attributes:
        classes: The class of each pair of nodes, shape (N', N); class 0 is stored too, as an explicit zero.
        weights: The classes' matrices, int32, shape (C, M, K).
    """

    classes: sparse.csr_matrix
    weights: Ints

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix, (N' M, N K)."""
        return self.classes.shape[0] * self.weights.shape[1], self.classes.shape[1] * self.weights.shape[2]

    @property
    def nnz(self) -> int:
        """Synapses of the matrix: its entries other than 0."""
        pairs = np.bincount(self.classes.data, minlength=len(self.weights))
        return int(pairs @ np.count_nonzero(self.weights, axis=(1, 2)))

    def expand(self) -> sparse.csr_matrix:
        """The matrix, with an entry for every synapse."""
        return _expand(self.classes, self.weights[self.classes.data])

    def absolute_row_sums(self) -> NDArray[np.int64]:
        """Sums of the absolute values in each row, shape (N' M,)."""
        by_class = np.abs(self.weights.astype(np.int64)).sum(axis=2)
        targets = np.repeat(np.arange(self.classes.shape[0]), np.diff(self.classes.indptr))
        sums = np.zeros((self.classes.shape[0], self.weights.shape[1]), np.int64)
        np.add.at(sums, targets, by_class[self.classes.data])
        return sums.reshape(-1)

    @cached_property
    def _largest_row_sum(self) -> int:
        return int(self.absolute_row_sums().max(initial=0))

    @cached_property
    def _plans(self) -> dict[type, _Plan]:
        return {}

    def dot(self, x: NDArray) -> NDArray:
        """The product with a vector of integers or spikes, shape (N K,) -> (N' M,), or each of B; exactly."""
        x = np.asarray(x)
        # At least that of spikes: silence takes no form of its own.
        bound = self._largest_row_sum * max(int(largest_of(x)), 1)
        number = exact_number(bound)
        if number not in self._plans:
            self._plans[number] = _plan(self, number)
        messages: NDArray = x.astype(number).reshape(samples_of(x), self.classes.shape[1], self.weights.shape[2])
        y = self._plans[number].run(messages)
        return as_integers(y, bound, x.dtype).reshape(*x.shape[:-1], self.shape[0])

    __matmul__ = dot


@dataclass(frozen=True, eq=False)
class Repeated:
    """kron(I, W): the same synapses for each of B samples. A vector holds the samples' messages one after the other.

    Attributes:
        operator: W, shape (M, n), which is in memory once.
        times: B.
    """

    operator: Kron | FixedKron | sparse.csr_matrix
    times: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix, (B M, B n)."""
        return self.times * self.operator.shape[0], self.times * self.operator.shape[1]

    @property
    def nnz(self) -> int:
        """Entries of the matrix, B times those of W."""
        return self.times * int(self.operator.nnz)

    def dot(self, x: NDArray) -> NDArray:
        """The product with a vector, shape (B n,) -> (B M,). Samples do not change each other's result, bit for bit."""
        x = np.asarray(x).reshape(self.times, -1)
        y = self.operator.dot(x) if isinstance(self.operator, Kron | FixedKron) else self.operator.dot(x.T).T
        return y.reshape(-1)

    __matmul__ = dot

    def expand(self) -> sparse.csr_matrix:
        """The matrix, with an entry for every synapse of every sample."""
        return expanded(block_diagonal([self.operator] * self.times), 0)


Operator: TypeAlias = "Kron | FixedKron | Repeated | sparse.csr_matrix"
"""All have ``shape``, ``nnz`` and ``dot``; :func:`expanded` gives any of them as a matrix."""


def samples_of(x: NDArray) -> int:
    """B of vectors of shape (B, n); 1 of a vector."""
    return len(x) if x.ndim > 1 else 1


def largest_of(x: NDArray) -> float:
    """Largest absolute value; 0 where there is none."""
    if x.dtype == bool:
        return float(x.any())
    return float(max(x.max(), -x.min())) if x.size else 0.0


def exact_number(bound: int) -> type:
    """The fastest number type in which integers with sums up to ``bound`` are added exactly, in any order."""
    if bound < EXACT_IN_FLOAT32:
        return np.float32
    return np.float64 if bound < EXACT_IN_FLOAT64 else np.int64


def sums_of(messages: np.dtype) -> np.dtype:
    """Type of sums of integers: that of the messages, int32 at least, where they may wrap around; int64 of spikes."""
    return np.dtype(np.int64) if messages.kind == "b" else np.result_type(messages, np.int32)


def as_integers(y: NDArray, bound: int, messages: np.dtype) -> NDArray:
    """Sums up to ``bound`` as integers, see :func:`sums_of`."""
    return (y if bound < 2**31 else y.astype(np.int64)).astype(sums_of(messages))


def _pass(left: sparse.csr_matrix, messages: NDArray) -> NDArray:
    """Pass messages along a graph's edges, shape (B, N, C) -> (B, N', C)."""
    if len(messages) == 1:
        return (left @ messages[0])[None]
    samples, nodes, channels = messages.shape
    by_node = messages.transpose(1, 0, 2).reshape(nodes, samples * channels)
    passed = (left @ by_node).reshape(left.shape[0], samples, channels)
    return np.ascontiguousarray(passed.transpose(1, 0, 2))


@dataclass(frozen=True, eq=False)
class _Plan:
    """How a :class:`FixedKron` is computed: gather rows, one stack for each class; transform each stack; scatter.

    A class with fewer targets than sources sums over the sources while gathering; any other class sums while
    scattering. So the weights are applied to as few rows as possible.
    """

    gather: sparse.csr_matrix
    weights: list[tuple[slice, NDArray]]
    scatter: sparse.csr_matrix

    def run(self, x: NDArray) -> NDArray:
        """Shape (B, N, K) -> (B, N', M)."""
        samples, nodes, k = x.shape
        rows = self.gather @ x.transpose(1, 0, 2).reshape(nodes, samples * k)
        m = self.weights[0][1].shape[1]
        out = np.empty((len(rows) * samples, m), rows.dtype)
        rows = rows.reshape(len(out), k)
        for own, weight in self.weights:
            its = slice(own.start * samples, own.stop * samples)
            np.matmul(rows[its], weight, out=out[its])
        y = self.scatter @ out.reshape(self.gather.shape[0], samples * m)
        return y.reshape(self.scatter.shape[0], samples, m).transpose(1, 0, 2)


def _plan(fixed: FixedKron, number: type) -> _Plan:
    """Choose each class's side, in arithmetic of type ``number``."""
    gathers, scatters, weights, begin = [], [], [], 0
    targets, sources = fixed.classes.shape
    pairs = fixed.classes.tocoo()
    for index, weight in enumerate(fixed.weights):
        own = pairs.data == index
        row, column = pairs.row[own], pairs.col[own]
        rows, row_number = np.unique(row, return_inverse=True)
        columns, column_number = np.unique(column, return_inverse=True)
        ones: NDArray = np.ones(len(row), number)
        if len(rows) <= len(columns):
            size = len(rows)
            gathers.append(sparse.csr_matrix((ones, (row_number, column)), (size, sources)))
            scatters.append(sparse.csr_matrix((ones[:size], (rows, np.arange(size))), (targets, size)))
        else:
            size = len(columns)
            gathers.append(sparse.csr_matrix((ones[:size], (np.arange(size), columns)), (size, sources)))
            scatters.append(sparse.csr_matrix((ones, (row, column_number)), (targets, size)))
        weights.append((slice(begin, begin + size), np.ascontiguousarray(weight.T.astype(number))))
        begin += size
    return _Plan(sparse.vstack(gathers, "csr"), weights, sparse.hstack(scatters, "csr"))


def _expand(left: sparse.csr_matrix, blocks: NDArray) -> sparse.csr_matrix:
    """A matrix from the block of each entry of ``left``, shape (E, M, K)."""
    (targets, sources), (_, m, k) = left.shape, blocks.shape
    matrix = sparse.bsr_matrix((blocks, left.indices, left.indptr), shape=(targets * m, sources * k)).tocsr()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _scaled(matrix: sparse.csr_matrix, gain: NDArray) -> sparse.csr_matrix:
    """Rows multiplied by ``gain``."""
    data = matrix.data * np.repeat(gain, np.diff(matrix.indptr))
    return sparse.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A matrix in the forms that multiply messages fastest, each made when it is first needed.

    Floats are multiplied by SciPy, which adds terms in the order of the sources in all of these forms, and leaves out
    only zeros. So a sample's product is the same in every form and batch, bit for bit. BLAS is used for integers only:
    its order of additions depends on the number of rows, and sums of integers are exact in any order.

    Attributes:
        matrix: Matrix of one sample, shape (M, n), float64 or int32, sorted, as products of matrices are not.
        times: Samples B.
    """

    matrix: sparse.csr_matrix
    times: int = 1

    def dot(self, x: NDArray) -> NDArray:
        """The product with a vector, shape (B n,) -> (B M,): float64, or for integers the type of :func:`sums_of`."""
        integers = self.matrix.dtype.kind != "f"
        if self.times == 1 and self.matrix.nnz < LARGE:
            y = self._form(np.int64 if integers else np.float64).dot(x)
            return y.astype(sums_of(x.dtype)) if integers else y
        x = x.reshape(self.times, -1)
        if not integers:
            return self._multiply(x, np.float64).reshape(-1)
        # At least that of spikes: silence takes no form of its own.
        bound = self._largest_row_sum * max(int(largest_of(x)), 1)
        return as_integers(self._multiply(x, exact_number(bound)), bound, x.dtype).reshape(-1)

    @cached_property
    def _largest_row_sum(self) -> int:
        return int(np.asarray(abs(self.matrix).sum(axis=1, dtype=np.int64)).max(initial=0))

    @cached_property
    def _forms(self) -> dict[type, Any]:
        return {}

    def _form(self, number: type) -> Any:
        """The transposed dense matrix of a full one, a large one by columns if there is one sample, else by rows."""
        if number not in self._forms:
            form = self.matrix.astype(number, copy=False)
            if form.nnz * self.times >= LARGE:
                if form.nnz >= FULL * form.shape[0] * form.shape[1]:
                    form = np.ascontiguousarray(form.toarray().T)
                elif self.times == 1:
                    form = form.tocsc()
            self._forms[number] = form
        return self._forms[number]

    def _multiply(self, x: NDArray, number: type) -> NDArray:
        """Messages of shape (B, n) -> (B, M), in arithmetic of type ``number``."""
        form = self._form(number)
        if isinstance(form, np.ndarray):
            exact = self.matrix.dtype.kind != "f" and number is not np.int64
            blas = exact and np.count_nonzero(x) > FEW * x.size
            return x.astype(number) @ form if blas else _sparse(x, number) @ form
        if form.format == "csc" and len(active := np.flatnonzero(x)) <= FEW * x.size:
            return form[:, active].dot(x[0, active].astype(number))[None]
        return form.dot(x.T.astype(number)).T


def _sparse(x: NDArray, number: type) -> sparse.csr_matrix:
    """Messages of shape (B, n) as a sparse matrix, four times as fast as by SciPy's constructor."""
    samples, sources = x.shape
    there = np.flatnonzero(x if x.dtype == bool else x != 0)
    starts = np.searchsorted(there, np.arange(samples + 1) * sources)
    index = np.int32 if x.size < 2**31 else np.int64  # Given, so that SciPy does not search for it.
    columns = (there % max(sources, 1)).astype(index)
    return sparse.csr_matrix((x.reshape(-1)[there].astype(number), columns, starts.astype(index)), shape=x.shape)


def prepared(operator: Operator) -> Operator | Prepared:
    """The operator in a form that multiplies the messages of many steps fast."""
    inner, times = (operator.operator, operator.times) if isinstance(operator, Repeated) else (operator, 1)
    if isinstance(inner, Kron | FixedKron):
        return operator
    return Prepared(inner if inner.has_sorted_indices else inner.sorted_indices(), times)


def expanded(operator: Operator | None, size: int) -> sparse.csr_matrix:
    """An operator as a matrix; None is the identity on ``size`` elements."""
    if operator is None:
        return sparse.identity(size, format="csr")
    return operator.expand() if isinstance(operator, Kron | FixedKron | Repeated) else operator


def within(operator: Operator, shape: tuple[int, int]) -> Operator:
    """A larger operator of the given shape with this one in its upper left corner, and zeros elsewhere."""
    if operator.shape == shape:
        return operator
    if isinstance(operator, Kron | FixedKron):
        left, block = (
            (operator.left, operator.right.shape)
            if isinstance(operator, Kron)
            else (operator.classes, operator.weights.shape[1:])
        )
        nodes = shape[0] // block[0], shape[1] // block[1]
        if (nodes[0] * block[0], nodes[1] * block[1]) == shape:
            wider = _within(left, nodes)
            return Kron(wider, operator.right) if isinstance(operator, Kron) else FixedKron(wider, operator.weights)
    return _within(expanded(operator, 0), shape)


def _within(matrix: sparse.csr_matrix, shape: tuple[int, int]) -> sparse.csr_matrix:
    indptr = np.pad(matrix.indptr, (0, shape[0] - matrix.shape[0]), mode="edge")
    return sparse.csr_matrix((matrix.data, matrix.indices, indptr), shape=shape)


def add(a: Operator | None, b: Operator | None, size: int) -> sparse.csr_matrix:
    """a + b, with ``size`` rows."""
    return (expanded(a, size) + expanded(b, size)).tocsr()


def compose(a: Operator, b: Operator | None) -> Operator:
    """a b."""
    if b is None:
        return a
    return (expanded(a, 0) @ expanded(b, 0)).tocsr()


def scale_rows(operator: Operator | None, gain: Floats) -> Operator:
    """diag(gain) operator."""
    if operator is None:
        return sparse.diags(gain, format="csr")
    return operator.scale_rows(gain) if isinstance(operator, Kron) else _scaled(expanded(operator, 0), gain)


def block_diagonal(blocks: Sequence[Operator]) -> Operator:
    """The block-diagonal operator, as by ``scipy.sparse.block_diag``, but without the larger COO format in between.

    Kronecker products with the same right factor become one product, whose left factor is block-diagonal.
    """
    first = blocks[0]
    if isinstance(first, Kron):
        same = [b.left for b in blocks if isinstance(b, Kron) and np.array_equal(b.right, first.right)]
        if len(same) == len(blocks):
            return Kron(expanded(block_diagonal(same), 0), first.right)
    matrices = [expanded(block, 0) for block in blocks]
    rows, columns = (sum(block.shape[axis] for block in matrices) for axis in (0, 1))
    entries = sum(block.nnz for block in matrices)
    index = np.int32 if max(entries, columns) < 2**31 else np.int64
    data, indices = np.empty(entries, matrices[0].dtype), np.empty(entries, index)
    indptr = np.zeros(rows + 1, index)
    row = column = entry = 0
    for block in matrices:
        stop = entry + block.nnz
        data[entry:stop] = block.data
        np.add(block.indices, column, out=indices[entry:stop], casting="same_kind")
        indptr[row + 1 : row + 1 + block.shape[0]] = block.indptr[1:].astype(index) + entry
        row, column, entry = row + block.shape[0], column + block.shape[1], stop
    return sparse.csr_matrix((data, indices, indptr), shape=(rows, columns))


def signed_row_sums(operator: Kron | sparse.csr_matrix) -> tuple[Floats, Floats]:
    """Sums of the positive and of the negative entries in each row, shape (M,) each."""
    if isinstance(operator, Kron):
        return operator.signed_row_sums()
    positive, negative = (
        np.asarray(part.sum(axis=1)).reshape(-1) for part in (operator.maximum(0), operator.minimum(0))
    )
    return positive, negative


def even_integers(values: Floats, unit: float) -> Ints:
    """``unit`` times values, rounded to even integers: an 8-bit weight of mixed sign is even."""
    return (2 * np.round(values * (unit / 2))).astype(np.int32)


def quantize_kron(kron: Kron, unit: float) -> FixedKron | None:
    """Round each entry of the matrix to an even integer, ``unit`` units per 1.

    Returns:
        None if ``left`` has more than :data:`MAX_CLASSES` distinct values, each of which needs a matrix of its own.
    """
    values, number = np.unique(kron.left.data, return_inverse=True)
    if len(values) > MAX_CLASSES:
        return None
    if not len(values):
        values = np.zeros(1)  # No pairs, of one class.
    rounded = even_integers(values[:, None, None] * kron.right, unit)
    weights, merged = distinct(rounded)
    classes = merged[number].astype(np.int32)
    return FixedKron(sparse.csr_matrix((classes, kron.left.indices, kron.left.indptr), shape=kron.left.shape), weights)


def distinct(matrices: Ints) -> tuple[Ints, Ints]:
    """What ``numpy.unique(matrices, axis=0, return_inverse=True)`` gives, which makes a field of each entry."""
    rows = [matrix.reshape(-1).tolist() for matrix in matrices]
    kept: list[int] = []
    number = np.zeros(len(rows), np.int32)
    for k in sorted(range(len(rows)), key=rows.__getitem__):
        if not kept or rows[k] != rows[kept[-1]]:
            kept.append(k)
        number[k] = len(kept) - 1
    return matrices[kept], number


def rounding_error(kron: Kron, fixed: FixedKron, unit: float) -> float:
    """Largest |rounded - unit exact| of an entry; ``fixed`` comes from :func:`quantize_kron`."""
    values, first = np.unique(kron.left.data, return_index=True)
    error = fixed.weights[fixed.classes.data[first]] - unit * (values[:, None, None] * kron.right)
    return float(np.abs(error).max(initial=0.0))
