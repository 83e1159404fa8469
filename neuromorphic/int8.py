"""Weights of 8 bits in NIR files: int8 arrays, with the scale of each output channel in the node's metadata.

NIR has no field for a scale. A node's weights are ``weight * weight_scale``, one scale for each entry of the first axis
(Affine and Linear with more axes: of the second to last). A reader that does not know ``weight_scale`` takes the
integers for the weights; so a file is written this way only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.graph.values import SCALE, metadata_of, numbers

LARGEST = 127
WEIGHTED = (nir.Affine, nir.Linear, nir.Conv1d, nir.Conv2d)


@dataclass(frozen=True)
class Rounding:
    """What rounding to 8 bits did to a node's weights.

    Attributes:
        node: Its flat name.
        weights: How many there are.
        largest_error: The largest error, relative to the largest weight of its channel; at most 1 / 254.
        zeroed: Weights other than 0 that became 0.
    """

    node: str
    weights: int
    largest_error: float
    zeroed: int


def with_int8_weights(graph: nir.NIRGraph) -> tuple[nir.NIRGraph, list[Rounding]]:
    """A copy with weights rounded to 8 bits, q = round(w / s) with s = max |w| / 127 of each output channel.

    Returns:
        The graph, and what became of each node.

    Raises:
        UnsupportedGraphError: weights are not numbers.
    """
    graph = deepcopy(graph)
    return graph, list(round_weights(graph, ""))


def round_weights(graph: nir.NIRGraph, prefix: str) -> Iterator[Rounding]:
    """Round in place."""
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from round_weights(node, f"{prefix}{name}.")
        elif isinstance(node, WEIGHTED) and SCALE not in metadata_of(node):
            weight = numbers(name, "weight", node.weight)
            axis = 0 if isinstance(node, nir.Conv1d | nir.Conv2d) else weight.ndim - 2
            q, scale = rounded(weight, axis)
            error = np.abs(q * scale - weight) / np.where(scale > 0, LARGEST * scale, 1.0)
            node.weight = q
            node.metadata = dict(metadata_of(node)) | {SCALE: scale}
            yield Rounding(
                f"{prefix}{name}", weight.size, float(error.max(initial=0.0)), int(((q == 0) & (weight != 0)).sum())
            )


def rounded(weight: NDArray[np.float64], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Weights as integers in +-127 and the scales of an axis, of as many axes as the weights."""
    others = tuple(k for k in range(weight.ndim) if k > axis or (axis == 0 and k != axis))
    scale = np.abs(weight).max(axis=others, keepdims=True, initial=0.0) / LARGEST
    return np.rint(np.divide(weight, scale, out=np.zeros_like(weight), where=scale > 0)).astype(np.int8), scale
