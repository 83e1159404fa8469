"""Time steps and delays of NIR graphs."""

from __future__ import annotations

from collections.abc import Mapping

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import printed
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph.model import TIME_CONSTANTS, Floats
from neuromorphic.graph.nested import check_nir_graph, walk
from neuromorphic.graph.values import metadata_of, numbers

TIME_TOLERANCE = 4 * float(np.finfo(np.float32).eps)
"""Relative difference up to which two times are equal, about 5e-7. Files have seconds in float32 or float64, and
rounding to float32 changes a number by up to 6e-8."""

DEFAULT_DT = 1e-3
"""Time step, seconds, of a graph without dt that needs none: it has no time constants and no delays."""

MAX_DT = 1e30
"""Largest time step, seconds; its inverse is the smallest. Beyond these, results would leave the range of float64."""


def needs_dt(nodes: Mapping[str, nir.NIRNode]) -> bool:
    """Whether a graph depends on dt: it has a time constant or a delay."""
    return any(
        numbers(name, "delay", node.delay).any()
        if isinstance(node, nir.Delay)
        else any(hasattr(node, key) for key in TIME_CONSTANTS)
        for name, node in nodes.items()
    )


def time_step(nir_graph: nir.NIRGraph, default: float | None = None) -> float:
    """The dt of a graph in seconds, from its metadata or, where it has none, from its nodes'.

    Raises:
        ArgumentError: the object is not a NIR graph.
        UnsupportedGraphError: there is no dt and no default, dt is not positive and finite, or nodes differ in it.
    """
    check_nir_graph(nir_graph)
    if "dt" in nir_graph.metadata:
        return checked_time_step(nir_graph.metadata["dt"])
    found = {name: metadata_of(node)["dt"] for name, node in walk(nir_graph) if "dt" in metadata_of(node)}
    if not found and default is not None:
        return default
    if not found:
        raise UnsupportedGraphError(
            "the NIR graph does not say its time step: give --dt SECONDS, or write metadata 'dt'"
        )
    steps = {name: checked_time_step(value) for name, value in found.items()}
    # Of those that are the same but for rounding, whatever the order: what float32 rounded has many digits in float64.
    first = min(steps, key=lambda name: (len(repr(steps[name])), steps[name], name))
    for name, other in steps.items():
        if not same_time(other, steps[first]):
            raise UnsupportedGraphError(
                f"nodes '{first}' and '{name}' differ in metadata 'dt': {steps[first]} and {other}"
            )
    return steps[first]


def same_time(a: Floats | float, b: float) -> NDArray[np.bool_]:
    """Whether times are equal up to rounding to float32, see :data:`TIME_TOLERANCE`; of the shape of ``a``."""
    return np.isclose(a, b, rtol=TIME_TOLERANCE, atol=0.0)


def checked_time_step(value: object) -> float:
    """A time step in seconds, checked.

    Raises:
        UnsupportedGraphError: it is not a positive, finite number, or beyond :data:`MAX_DT`.
    """
    try:
        if isinstance(value, bool | complex):
            raise TypeError
        dt = float(np.asarray(value, np.float64).reshape(()))
    except Exception:  # The value's own, such as a tensor's that PyTorch does not hand out.
        raise UnsupportedGraphError(f"the time step must be a number of seconds, got {printed(value)}") from None
    if not 0 < dt < float("inf"):
        raise UnsupportedGraphError(f"the time step must be positive and finite, got dt={dt}")
    if not 1 / MAX_DT <= dt <= MAX_DT:
        raise UnsupportedGraphError(f"the time step must be within {1 / MAX_DT:g} and {MAX_DT:g} s, got dt={dt}")
    return dt


def steps_of_delay(name: str, seconds: Floats, dt: float) -> Floats:
    """Delays in whole steps, steps = round(seconds / dt).

    The tolerance is :data:`TIME_TOLERANCE`, and never more than a quarter of a step.

    Args:
        name: Name of the node.
        seconds: Its delays, any shape, seconds.
        dt: Time step, seconds.

    Returns:
        Steps, shape of ``seconds``, float64.

    Raises:
        UnsupportedGraphError: a delay is negative, not a whole number of steps, or longer than 2^20 steps.
    """
    steps = np.round(seconds / dt)
    tolerance = np.minimum(TIME_TOLERANCE * np.maximum(steps, 1.0), 0.25)
    if (steps < 0).any() or (abs(seconds / dt - steps) > tolerance).any():
        raise UnsupportedGraphError(f"node '{name}': delays must be whole multiples of dt = {dt}, none negative")
    if steps.max(initial=0) > 2**20:
        raise UnsupportedGraphError(f"node '{name}': a delay of {steps.max():g} steps is too long")
    return steps
