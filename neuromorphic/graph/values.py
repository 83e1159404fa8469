"""Values of a NIR node's fields, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import described, not_finite, printed
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph.model import Floats, Shape

MAX_NUMBER = 1e300
"""Largest absolute value of a neuron's parameter; its inverse is the smallest that is not 0."""


SCALE = "weight_scale"
"""Metadata key of nodes with int8 weights: the factor of the weights, see :mod:`neuromorphic.int8`."""


def metadata_of(node: nir.NIRNode) -> Mapping[str, Any]:
    """A node's metadata; empty for the types that have none in nir 1.0.4."""
    return getattr(node, "metadata", {})


def text(value: object) -> str | None:
    """A metadata value as text."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if value is None or isinstance(value, str) else printed(value)


def numbers(name: str, key: str, value: object) -> Floats:
    """A parameter as float64, finite.

    Raises:
        UnsupportedGraphError: it is not an array of finite real numbers.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # A ragged list, or a tensor that PyTorch does not hand out.
        raise UnsupportedGraphError(f"node '{name}': {key} is {described(value)} and no array of numbers") from error
    if array.dtype.kind not in "fiub":
        held = described(value) if array.dtype.kind == "O" else array.dtype
        raise UnsupportedGraphError(f"node '{name}': {key} must be real numbers, got {held}")
    array = array.astype(np.float64, copy=False)
    if found := not_finite(array):
        raise UnsupportedGraphError(f"node '{name}': {key} is {found}; it must be finite")
    return array


def integers(name: str, key: str, value: object, count: int | None, low: int | None) -> tuple[int, ...]:
    """A parameter as ``count`` integers, each at least ``low``. A single value is repeated.

    Raises:
        UnsupportedGraphError: it is not that.
    """
    array = numbers(name, key, value).reshape(-1)
    if (array != np.round(array)).any() or (low is not None and (array < low).any()) or (abs(array) > 2**40).any():
        at_least = "" if low is None else f" of at least {low}"
        raise UnsupportedGraphError(f"node '{name}': {key} must be integers{at_least}, got {array.tolist()}")
    if count is not None and len(array) == 1:
        array = np.repeat(array, count)
    if count is not None and len(array) != count:
        raise UnsupportedGraphError(f"node '{name}': {key} must be {count} integers, got {array.tolist()}")
    return tuple(int(entry) for entry in array)


def check_axes(name: str, key: str, array: NDArray, axes: int) -> None:
    """Check the number of dimensions of an array.

    Raises:
        UnsupportedGraphError: it is not ``axes``.
    """
    if array.ndim != axes:
        raise UnsupportedGraphError(f"node '{name}': {key} needs {axes} dimensions, got shape {array.shape}")


def spread(name: str, key: str, value: object, shape: Shape) -> Floats:
    """A parameter broadcast to a node's shape, float64. None, such as v_reset in NIR 1.0.4, is 0.

    Raises:
        UnsupportedGraphError: it is neither a single number nor of the node's shape.
    """
    array = numbers(name, key, 0.0 if value is None else value)
    if array.size == 1:
        array = array.reshape(())
    elif array.shape != shape:
        raise UnsupportedGraphError(f"node '{name}': {key} has shape {array.shape}, the node's shape is {shape}")
    return np.broadcast_to(array, shape)


def weights(name: str, node: nir.NIRNode) -> Floats:
    """A node's weights as float64. int8 weights are multiplied by the scale in the metadata, if there is one.

    Raises:
        UnsupportedGraphError: they are not finite numbers, or their shape does not fit the scale's.
    """
    weight = numbers(name, "weight", node.weight)
    if SCALE not in metadata_of(node) or np.asarray(node.weight).dtype != np.int8:
        return weight
    scale = numbers(name, SCALE, metadata_of(node)[SCALE])
    try:
        scaled = weight * scale
    except ValueError:
        scaled = np.zeros(())
    if scaled.shape != weight.shape:
        raise UnsupportedGraphError(
            f"node '{name}': metadata '{SCALE}' of shape {scale.shape} does not fit weights of shape {weight.shape}"
        )
    return scaled
