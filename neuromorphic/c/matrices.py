"""Weight matrices in C. The smallest of several forms is chosen for each matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.graph import Shape

STRIDES = range(1, 9)
"""Strides of a sliding window that are tried."""
ENTRIES_LOOKED_AT = 100_000
"""The stride is found from at least this number of synapses, and at most twice as many, where there are more."""
LINE_BYTES = 64
"""Bytes of a cache line of most processors."""
TILE_LINES = 4
"""Largest width of a tile of a dense matrix, in cache lines. The sums of this many vectors stay in registers."""


def smallest_signed(values: NDArray) -> NDArray:
    """An array of any shape: integers in the smallest signed type that holds them, floats unchanged."""
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for number in (np.int8, np.int16, np.int32):
        if np.iinfo(number).min <= low and high <= np.iinfo(number).max:
            return np.ascontiguousarray(values.astype(number))
    return np.ascontiguousarray(values.astype(np.int64))


def smallest_unsigned(values: NDArray) -> NDArray:
    """Indices, an array of any shape, in the smallest unsigned type that holds them."""
    high = int(values.max(initial=0))
    return values.astype(np.uint8 if high < 2**8 else np.uint16 if high < 2**16 else np.uint32)


@dataclass(frozen=True, eq=False)
class Dense:
    """A dense matrix, shape (n, M) for n sources and M targets, stored in tiles of targets.

    A tile has the targets whose weights fill :data:`TILE_LINES` cache lines; the last tile may be narrower. Its sums
    stay in registers while the rows of the active sources are added. Within a tile, the rows of all sources follow each
    other in memory. Targets beyond the last whole cache line come at the end, row by row.
    """

    weights: NDArray

    @property
    def lanes(self) -> int:
        """Number of targets in a cache line."""
        return LINE_BYTES // max(self.weights.itemsize, 2)

    @property
    def tiles(self) -> tuple[tuple[int, int, int], ...]:
        """(first target, targets in a tile, number of tiles), for the tiles of full width and for the narrower last
        one."""
        whole, rest = divmod(int(self.weights.shape[1]) // self.lanes, TILE_LINES)
        wide = self.lanes * TILE_LINES
        kinds = (0, wide, whole), (whole * wide, rest * self.lanes, int(rest > 0))
        return tuple((first, width, count) for first, width, count in kinds if count)

    @property
    def tiled(self) -> int:
        """Number of targets that are in tiles."""
        return sum(width * count for _, width, count in self.tiles)

    @cached_property
    def constants(self) -> dict[str, NDArray]:
        """Arrays by name."""
        parts = []
        for first, width, count in self.tiles:
            own = self.weights[:, first : first + width * count].reshape(-1, count, width)
            parts.append(own.transpose(1, 0, 2).reshape(-1))
        return {"": np.concatenate([*parts, self.weights[:, self.tiled :].reshape(-1)])}


@dataclass(frozen=True, eq=False)
class Sparse:
    """A sparse matrix by source: source i has the synapses from ``start[i]`` to ``start[i + 1]``, which lead to
    ``target`` with ``weights``."""

    start: NDArray
    target: NDArray
    weights: NDArray

    @cached_property
    def constants(self) -> dict[str, NDArray]:
        """Arrays by name."""
        return {"": self.weights, "_target": self.target, "_start": self.start}


@dataclass(frozen=True, eq=False)
class Diagonal:
    """A diagonal matrix: source i leads to target i. There is one weight for each source, or one for all."""

    weights: NDArray

    @cached_property
    def constants(self) -> dict[str, NDArray]:
        """Arrays by name."""
        return {"": self.weights}


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of a sliding window: taps whose targets are next to each other in memory (channels last).

    Source (y, x) has the phase p = (y mod sy) sx + x mod sx, and the runs from ``first[p]`` to ``first[p + 1]``. Run r
    leads to ``taps[r]`` places, the first of which is (y // sy + down[r], x // sx + right[r]). Their taps are
    ``order[start[r]]``, ``order[start[r] + 1]`` and so on.
    """

    order: NDArray
    first: NDArray
    start: NDArray
    taps: NDArray
    down: NDArray
    right: NDArray

    @property
    def uniform(self) -> bool:
        """Whether all runs have the same length."""
        return bool((self.taps == self.taps[0]).all())


@dataclass(frozen=True, eq=False)
class Stencil:
    """A window that slides over the last two axes, as in convolutions and pooling. The kernel is stored once.

    Source (c, y, x) leads to the targets (first[c] + o, (y - dy[k]) / sy, (x - dx[k]) / sx), where these are whole
    numbers within the target, with the weight kernel[c, k, o]. Sums have the channel last: target (o, y, x) is at
    position (y W + x) O + o.

    Attributes:
        kernel: Shape (C, taps, outputs that a channel reaches).
        dy, dx: Offsets of each tap, shape (taps,).
        first: First output channel of each input channel, shape (C,).
        stride: sy, sx.
        shape_in, shape: (C, H, W) of source and target.
        rest: Synapses that the window does not describe, such as weights that are rounded otherwise at a border;
            targets as above.
    """

    kernel: NDArray
    dy: NDArray
    dx: NDArray
    first: NDArray
    stride: tuple[int, int]
    shape_in: tuple[int, int, int]
    shape: tuple[int, int, int]
    rest: Sparse | None = None

    @cached_property
    def runs(self) -> Runs:
        """The taps in the order in which C goes through them."""
        (sy, sx), channels = self.stride, self.shape[0]
        dy, dx = self.dy.astype(np.int64), self.dx.astype(np.int64)
        phase = dy % sy * sx + dx % sx
        down, right = -(dy // sy), -(dx // sx)
        order = np.lexsort((right, down, phase))
        phase, down, right = phase[order], down[order], right[order]
        # What follows its neighbour on the right in an image whose channels are all reached follows it in memory, too.
        joined = (np.diff(phase) == 0) & (np.diff(down) == 0) & (np.diff(right) == 1)
        joined &= self.kernel.shape[2] == channels
        start = np.flatnonzero(np.concatenate([[True], ~joined]))
        taps = np.diff(np.append(start, len(order)))
        first = np.searchsorted(phase[start], np.arange(sy * sx + 1))
        return Runs(order, first, start, taps, down[start], right[start])

    @cached_property
    def constants(self) -> dict[str, NDArray]:
        """Arrays by name."""
        runs = self.runs
        own = {
            "": np.ascontiguousarray(self.kernel[:, runs.order]),
            "_first": self.first,
            "_start": smallest_unsigned(runs.start),
            "_down": smallest_signed(runs.down),
            "_right": smallest_signed(runs.right),
        }
        if not runs.uniform:
            own["_taps"] = smallest_unsigned(runs.taps)
        if self.stride != (1, 1):
            own["_phase"] = smallest_unsigned(runs.first)
        rest = {} if self.rest is None else {f"_rest{key}": values for key, values in self.rest.constants.items()}
        return own | rest


Form: TypeAlias = Dense | Sparse | Diagonal | Stencil


def size_of(form: Form) -> int:
    """Bytes of the constants of a form."""
    return sum(values.nbytes for values in form.constants.values())


def form_of(matrix: sparse.csr_matrix, shape_in: Shape, shape: Shape) -> Form:
    """The smallest form of a matrix.

    Args:
        matrix: Weights, shape (M, n), float64 or integers.
        shape_in, shape: Shapes of source and target node. If they have two axes or more, a sliding window is tried.
    """
    by_source = sparse.csc_matrix(matrix)
    by_source.sum_duplicates()
    by_source.eliminate_zeros()
    by_source.sort_indices()
    rows, sources = by_source.shape
    data = smallest_signed(by_source.data)
    if rows == sources and all(
        np.array_equal(own, np.arange(len(own))) and len(own) >= rows for own in (by_source.indices, by_source.indptr)
    ):
        return Diagonal(data[:1] if (data == data[0]).all() else data)
    dense = rows * sources * data.itemsize
    if dense < by_source.nnz * (data.itemsize + np.min_scalar_type(rows).itemsize):
        form: Form = Dense(np.ascontiguousarray(by_source.astype(data.dtype).toarray().T))
    else:
        form = sparse_form(by_source)
    if len(shape_in) > 1 and len(shape) > 1:
        window = stencil_form(by_source, image(shape_in), image(shape))
        if window is not None and size_of(window) < size_of(form):
            return window
    return form


def sparse_form(by_source: sparse.csc_matrix) -> Sparse:
    """A matrix by source. Rows within each column must be sorted."""
    start, target = smallest_unsigned(by_source.indptr), smallest_unsigned(by_source.indices)
    return Sparse(start, target, smallest_signed(by_source.data))


def image(shape: Shape) -> tuple[int, int, int]:
    """A shape as (C, H, W). All axes before the last two are joined to C."""
    if len(shape) == 2:  # Conv1d: channels and positions.
        return shape[0], 1, shape[1]
    return int(np.prod(shape[:-2])), shape[-2], shape[-1]


def stencil_form(
    by_source: sparse.csc_matrix, shape_in: tuple[int, int, int], shape: tuple[int, int, int]
) -> Stencil | None:
    """A matrix of shape (M, n) as a sliding window; None if it is not one.

    Only integers may have a :attr:`Stencil.rest`: the sums of floats depend on the order of their terms.
    """
    entries = by_source.tocoo()
    if not entries.nnz:
        return None
    o, y_out, x_out = places(entries.row, shape)
    c, y_in, x_in = places(entries.col, shape_in)
    (sy, dy), (sx, dx) = slide(y_in, y_out, shape_in[1], shape[1]), slide(x_in, x_out, shape_in[2], shape[2])
    width = int(np.ptp(dx)) + 1
    tap = (dy - dy.min()) * width + (dx - dx.min())
    taps = np.flatnonzero(np.bincount(tap))
    number = np.zeros(int(taps[-1]) + 1, np.int32)
    number[taps] = np.arange(len(taps))
    tap = number[tap]
    offsets = dy.min() + taps // width, dx.min() + taps % width
    last, first = np.zeros(shape_in[0], np.int32), np.full(shape_in[0], shape[0], np.int32)
    np.maximum.at(last, c, o + 1)
    np.minimum.at(first, c, o)
    first = np.minimum(first, last)
    reach = int((last - first).max())
    first = np.minimum(first, shape[0] - reach)
    if shape_in[0] * len(taps) * reach > 2 * entries.nnz:
        return None
    kernel = np.zeros((shape_in[0], len(taps), reach), by_source.dtype)
    place = (c * len(taps) + tap) * reach + (o - first[c])
    kernel.reshape(-1)[place] = entries.data
    down, right = (smallest_signed(own) for own in offsets)
    window = Stencil(smallest_signed(kernel), down, right, smallest_unsigned(first), (sy, sx), shape_in, shape)
    if synapses_of(window) == entries.nnz and np.array_equal(kernel.reshape(-1)[place], entries.data):
        return window
    # Where values differ, those in the middle stand: at the borders of padded images rows have scales of their own.
    middle = np.abs(2 * y_out - shape[1] + 1) + np.abs(2 * x_out - shape[2] + 1)
    order = np.argsort(-middle, kind="stable")
    kernel.reshape(-1)[place[order]] = entries.data[order]
    window = replace(window, kernel=smallest_signed(kernel))
    rest = (by_source - expanded(window, by_source.dtype)).tocsc()
    rest.eliminate_zeros()
    if not rest.nnz:
        return window
    if by_source.dtype.kind == "f":
        return None
    o, y, x = np.unravel_index(rest.tocoo().row, shape)
    place = (y * shape[2] + x) * shape[0] + o
    moved = sparse.csc_matrix((rest.tocoo().data, (place, rest.tocoo().col)), rest.shape)
    moved.sort_indices()
    return replace(window, rest=sparse_form(moved))


def places(index: NDArray, shape: tuple[int, int, int]) -> tuple[NDArray, NDArray, NDArray]:
    """Channel, row and column of flat indices, shapes (K,). Several times as fast as numpy.unravel_index."""
    index = index.astype(np.int32, copy=False)
    channel = index // (shape[1] * shape[2])
    inside = index - channel * (shape[1] * shape[2])
    row = inside // shape[2]
    return channel, row, inside - row * shape[2]


def slide(inside: NDArray, out: NDArray, size_in: int, size_out: int) -> tuple[int, NDArray]:
    """Find the stride of a window along an axis: that with the smallest range of offsets ``inside - stride out``.

    Args:
        inside: Positions of sources, shape (K,). Of very many synapses, a part is looked at.
        out: Positions of targets, shape (K,).
        size_in, size_out: Lengths of the axis in source and target.

    Returns:
        The stride, and the offsets, shape (K,).
    """
    strides = [stride for stride in STRIDES if stride <= size_in] if size_out > 1 else [1]
    part = slice(None, None, max(1, len(inside) // ENTRIES_LOOKED_AT))
    best = min(strides, key=lambda stride: int(np.ptp(inside[part] - stride * out[part])))
    return best, inside - best * out


def placements(window: Stencil, tap: int) -> tuple[NDArray, NDArray]:
    """Rows and columns of the targets whose source at a tap is inside the image, not padding."""
    (_, height, width), (_, rows, columns), (sy, sx) = window.shape_in, window.shape, window.stride
    y, x = np.arange(rows), np.arange(columns)
    y_in, x_in = sy * y + int(window.dy[tap]), sx * x + int(window.dx[tap])
    return y[(y_in >= 0) & (y_in < height)], x[(x_in >= 0) & (x_in < width)]


def synapses_of(form: Form) -> int:
    """Number of synapses. For a window: those with a weight other than 0, without its rest."""
    if not isinstance(form, Stencil):
        return int(form.weights.size)
    counts = [np.prod([len(axis) for axis in placements(form, k)]) for k in range(form.kernel.shape[1])]
    return int(np.count_nonzero(form.kernel, axis=(0, 2)) @ np.array(counts))


def expanded(window: Stencil, number: np.dtype) -> sparse.csc_matrix:
    """All synapses of a window, without its rest, shape (M, n)."""
    (channels, height, width), (_, rows, columns) = window.shape_in, window.shape
    (sy, sx), (_, taps, reach) = window.stride, window.kernel.shape
    data, i, j = [], [], []
    for k in range(taps):
        y_out, x_out = placements(window, k)
        y_in, x_in = sy * y_out + int(window.dy[k]), sx * x_out + int(window.dx[k])
        to = (y_out[:, None] * columns + x_out).reshape(-1)
        source = (y_in[:, None] * width + x_in).reshape(-1)
        shape = (channels, reach, len(to))
        output = window.first.astype(np.int64)[:, None] + np.arange(reach)
        i.append(np.broadcast_to(output[:, :, None] * rows * columns + to, shape).reshape(-1))
        j.append(np.broadcast_to(np.arange(channels)[:, None, None] * height * width + source, shape).reshape(-1))
        data.append(np.broadcast_to(window.kernel[:, k, :, None].astype(number), shape).reshape(-1))
    size = (int(np.prod(window.shape)), int(np.prod(window.shape_in)))
    matrix = sparse.csc_matrix((np.concatenate(data), (np.concatenate(i), np.concatenate(j))), size)
    matrix.eliminate_zeros()
    return matrix
