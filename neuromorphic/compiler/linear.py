"""Linear NIR nodes as sparse matrices over flat signals."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from neuromorphic.compiler.operators import Kron, Operator
from neuromorphic.graph import Floats, Node

KRON_LEFT, KRON_RIGHT = "kron_left", "kron_right"
"""Metadata of an Affine or Linear node whose weight is kron(left, right); the compiler keeps the two apart."""


def matrix_of(node: Node) -> Operator | None:
    """The matrix of a linear node, from its flat input (C order) to its flat output; None is the identity."""
    p = node.parameters
    if node.kind in ("Affine", "Linear"):
        blocks = p["weight"].reshape(-1, *p["weight"].shape[-2:])
        return kron_of(node) or sparse.csr_matrix(sparse.block_diag([sparse.coo_matrix(block) for block in blocks]))
    if node.kind == "Scale":
        return sparse.diags(p["scale"].reshape(-1), format="csr")
    if node.kind in ("Conv1d", "Conv2d"):
        return unroll(node, p["weight"])
    if node.kind in ("SumPool2d", "AvgPool2d"):
        kernel = p["kernel_size"]
        value = 1.0 / np.prod(kernel) if node.kind == "AvgPool2d" else 1.0
        return unroll(node, np.full((node.shape[0], 1, *kernel), value))
    return None


def bias_of(node: Node) -> Floats | None:
    """The bias of a linear node, shape (size,); None if it is zero or there is none."""
    if "bias" not in node.parameters:
        return None
    bias = node.parameters["bias"]
    if node.kind in ("Conv1d", "Conv2d"):
        bias = np.repeat(bias, node.size // len(bias))
    bias = bias.reshape(-1)
    return bias if bias.any() else None


def kron_of(node: Node) -> Kron | None:
    """The factors of a weight that is a Kronecker product. None if the metadata lack them or they do not match."""
    metadata = node.metadata or {}
    if KRON_LEFT not in metadata or KRON_RIGHT not in metadata:
        return None
    left, right = (np.asarray(metadata[key], np.float64) for key in (KRON_LEFT, KRON_RIGHT))
    if left.ndim != 2 or right.ndim != 2 or not is_kron(node.parameters["weight"], left, right):
        return None
    return Kron(sparse.csr_matrix(left), right)


def is_kron(weight: Floats, left: Floats, right: Floats) -> bool:
    """Whether ``weight == np.kron(left, right)`` in all elements.

    The product is made for one row of ``left`` at a time, which stays in the processor's cache.

    Args:
        weight: Any shape.
        left: Shape (m, n).
        right: Shape (p, q).
    """
    (m, n), (p, q) = left.shape, right.shape
    if weight.shape != (m * p, n * q):
        return False
    rows = weight.reshape(m, p, n, q)
    return all(np.array_equal(row, own[:, None] * right[:, None, :]) for row, own in zip(rows, left, strict=True))


def unroll(node: Node, weight: Floats) -> sparse.csr_matrix:
    """The matrix of a convolution or pooling, from flat input to flat output.

    Args:
        node: A Conv1d, Conv2d, SumPool2d or AvgPool2d node.
        weight: Shape (C_out, C_in / groups, ky, kx); for pooling there is a group for each channel.

    Returns:
        Shape (size, size of the input), without explicit zeros.
    """
    p = node.parameters
    height, width = (1, *node.shape_in[1:])[-2:]
    rows, columns = (1, *node.shape[1:])[-2:]
    channels_out, per_group = weight.shape[:2]
    first_channel = np.arange(channels_out) // (channels_out // (node.shape_in[0] // per_group)) * per_group
    channel_in = first_channel[:, None] + np.arange(per_group)
    data, row_index, column_index = [], [], []
    for ky, kx in np.ndindex(*weight.shape[2:]):
        y = np.arange(rows) * p["stride"][0] + ky * p["dilation"][0] - p["padding"][0][0]
        x = np.arange(columns) * p["stride"][1] + kx * p["dilation"][1] - p["padding"][1][0]
        in_y, in_x = np.flatnonzero((y >= 0) & (y < height)), np.flatnonzero((x >= 0) & (x < width))
        to = (in_y[:, None] * columns + in_x).reshape(-1)
        source = (y[in_y][:, None] * width + x[in_x]).reshape(-1)
        shape = (channels_out, per_group, len(to))
        row_index.append(np.broadcast_to(np.arange(channels_out)[:, None, None] * rows * columns + to, shape))
        column_index.append(np.broadcast_to(channel_in[:, :, None] * height * width + source, shape))
        data.append(np.broadcast_to(weight[:, :, ky, kx][:, :, None], shape))
    values, i, j = (np.concatenate([part.reshape(-1) for part in parts]) for parts in (data, row_index, column_index))
    size_in = int(np.prod(node.shape_in))
    matrix = sparse.csr_matrix((values, (i, j)), shape=(node.size, size_in))
    matrix.eliminate_zeros()
    return matrix
