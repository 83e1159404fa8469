"""Parameters of a NIR node, checked."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np

from neuromorphic.arguments import printed
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph.model import PARAMETERS, RESET_TO_V_RESET, RESETS, TIME_CONSTANTS, Node, Shape
from neuromorphic.graph.times import same_time, steps_of_delay
from neuromorphic.graph.values import MAX_NUMBER, check_axes, integers, metadata_of, numbers, spread, text, weights

MAX_SYNAPSES = 2**28
"""Largest number of synapses of a convolution or pooling node, unrolled to a matrix."""


def window(name: str, node: nir.NIRNode) -> dict[str, Any]:
    """Parameters of a convolution or pooling node, as :class:`Node` lists them. Conv1d gets a leading axis of one.

    Raises:
        UnsupportedGraphError: a parameter has a wrong shape or value; the message names node and parameter.
    """
    pooling = isinstance(node, nir.SumPool2d | nir.AvgPool2d)
    axes = 1 if isinstance(node, nir.Conv1d) else 2
    lead = (1,) * (2 - axes)
    p: dict[str, Any] = {}
    if pooling:
        kernel = p["kernel_size"] = integers(name, "kernel_size", node.kernel_size, axes, 1)
    else:
        weight = weights(name, node)
        check_axes(name, "weight", weight, axes + 2)
        if not weight.size:
            raise UnsupportedGraphError(f"node '{name}' has no weights: their shape is {weight.shape}; remove it")
        p["weight"] = weight.reshape(*weight.shape[:2], *lead, *weight.shape[2:])
        kernel = p["weight"].shape[2:]
        (p["groups"],) = integers(name, "groups", node.groups, 1, 1)
        if weight.shape[0] % p["groups"]:
            raise UnsupportedGraphError(
                f"node '{name}': {weight.shape[0]} output channels cannot be split into groups={p['groups']}"
            )
        bias = numbers(name, "bias", 0.0 if node.bias is None else node.bias)
        if bias.size not in (1, weight.shape[0]):
            raise UnsupportedGraphError(f"node '{name}': bias must have {weight.shape[0]} values, got {bias.size}")
        p["bias"] = np.broadcast_to(bias.reshape(-1), weight.shape[0])
    p["stride"] = lead + integers(name, "stride", node.stride, axes, 1)
    p["dilation"] = lead + ((1, 1) if pooling else integers(name, "dilation", node.dilation, axes, 1))
    padding = node.padding
    if isinstance(padding, bytes | str) or np.asarray(padding).dtype.kind in "SUO":
        word = text(np.asarray(padding).reshape(-1)[0] if not isinstance(padding, bytes | str) else padding)
        if word == "same" and set(p["stride"]) != {1}:
            raise UnsupportedGraphError(f"node '{name}': padding 'same' needs a stride of 1, got {node.stride}")
        if word not in ("same", "valid"):
            raise UnsupportedGraphError(
                f"node '{name}': padding {printed(word)} is neither 'same', 'valid' nor a number"
            )
        total = [d * (k - 1) if word == "same" else 0 for d, k in zip(p["dilation"], kernel, strict=True)]
        p["padding"] = tuple((extra // 2, extra - extra // 2) for extra in total)
    else:
        p["padding"] = tuple((n, n) for n in (0,) * len(lead) + integers(name, "padding", padding, axes, 0))
    return p


def check_node(name: str, node: nir.NIRNode, shape_in: Shape, shape: Shape, dt: float, reset: str | None) -> Node:
    """Check the parameters of a node, and spread them over its shape.

    Args:
        name: Name of the node.
        node: The node.
        shape_in: Shape of its input.
        shape: Shape of its output.
        dt: Time step, seconds.
        reset: Reset rule, one of :data:`~neuromorphic.graph.model.RESETS`; None: to v_reset.

    Raises:
        UnsupportedGraphError: a parameter is missing, does not fit the shape, or is out of range.
    """
    kind = type(node).__name__
    metadata = dict(metadata_of(node))
    if isinstance(node, nir.Affine | nir.Linear):
        p: dict[str, Any] = {"weight": weights(name, node)}
        if isinstance(node, nir.Affine):
            p["bias"] = spread(name, "bias", node.bias, shape)
    elif isinstance(node, nir.Conv1d | nir.Conv2d | nir.SumPool2d | nir.AvgPool2d):
        p = window(name, node)
    elif isinstance(node, nir.Scale):
        p = {"scale": spread(name, "scale", node.scale, shape)}
    elif isinstance(node, nir.Delay):
        p = {"delay": steps_of_delay(name, spread(name, "delay", node.delay, shape), dt)}
    elif type(node) in PARAMETERS:
        p = {key: spread(name, key, getattr(node, key, None), shape) for key in PARAMETERS[type(node)]}
        for key, values in p.items():
            size = np.abs(values[values != 0])
            if (size < 1 / MAX_NUMBER).any() or (size > MAX_NUMBER).any():
                raise UnsupportedGraphError(
                    f"node '{name}': {key} has values beyond {1 / MAX_NUMBER:g} to {MAX_NUMBER:g}: no room in float64"
                )
        for key in TIME_CONSTANTS:
            if key in p and not (p[key] > 0).all():
                raise UnsupportedGraphError(f"node '{name}': {key} must be positive, got {p[key].min()}")
            if key in p:  # dt / tau is 1 then, exactly, on every back end.
                p[key] = np.where(same_time(p[key], dt), dt, p[key])
        if "v_reset" in p:
            reset = reset or RESET_TO_V_RESET
            if reset not in RESETS:
                raise UnsupportedGraphError(
                    f"node '{name}': reset rule {printed(reset)} is unknown; it must be one of {', '.join(RESETS)}"
                )
            return Node(kind, shape_in, shape, p, reset, metadata)
    else:
        p = {}
    return Node(kind, shape_in, shape, p, None, metadata)
