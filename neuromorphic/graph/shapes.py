"""Shapes along the edges of a graph. A NIR file need not contain them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping

import nir
import numpy as np

from neuromorphic.arguments import described
from neuromorphic.errors import UnsupportedGraphError, UserNotice
from neuromorphic.graph.model import PARAMETERS, Shape
from neuromorphic.graph.parameters import MAX_SYNAPSES, window
from neuromorphic.graph.values import check_axes, integers, numbers

MAX_ELEMENTS = 2**27
"""Largest number of elements of a node's input or output. A file that claims more is refused before memory is
allocated."""


def infer_shapes(
    nodes: Mapping[str, nir.NIRNode], sources: Mapping[str, Iterable[str]]
) -> dict[str, tuple[Shape, Shape]]:
    """Input and output shape of every node, from the nodes' own parameters and along the edges.

    Some exporters (Rockpool, nirtorch) leave the axes of batch and time in the shape of an Input or Output. They are
    dropped where the neighbouring nodes have the shape without them.

    Returns:
        (input shape, output shape) by node, without the axes of samples and steps.

    Raises:
        UnsupportedGraphError: a shape is not known from any node, or the two ends of an edge differ in shape.
    """
    shapes_in: dict[str, Shape] = {}
    shapes: dict[str, Shape] = {}
    wanted: dict[str, set[Shape]] = {name: set() for name in nodes}
    for name, node in nodes.items():
        own = own_input_shape(name, node)
        if own is not None:
            for source in sources[name]:
                wanted[source].add(own)
            if not isinstance(node, nir.Flatten):
                shapes_in[name] = own
                shapes[name] = output_shape(name, node, own)
    for name in nodes:
        if isinstance(nodes[name], nir.Input) and not sources[name]:
            shapes_in[name] = shapes[name] = without_leading_axes(shapes[name], wanted[name])
    waiting = [name for name in nodes if name not in shapes]
    while waiting:
        left = []
        for name in waiting:
            known = next((shapes[source] for source in sources[name] if source in shapes), None)
            if known is None:
                left.append(name)
            else:
                shapes_in[name] = known
                node = nodes[name]
                shapes[name] = (
                    flattened(name, node, known, wanted[name])
                    if isinstance(node, nir.Flatten)
                    else output_shape(name, node, known)
                )
        if len(left) == len(waiting):
            # Nothing that leads to it says a shape: then what a Flatten says itself has to do.
            said = next((n for n in left if own_input_shape(n, nodes[n]) is not None), None)
            if said is None:
                raise UnsupportedGraphError(
                    f"the shape of node '{left[0]}' can be found neither from it nor from its sources"
                )
            shapes_in[said] = own_input_shape(said, nodes[said]) or ()
            shapes[said] = output_shape(said, nodes[said], shapes_in[said])
            left.remove(said)
        waiting = left
    for name in nodes:
        if isinstance(nodes[name], nir.Output):
            sent = {shapes[source] for source in sources[name]}
            shapes_in[name] = shapes[name] = without_leading_axes(shapes[name], sent)
    for name, shape in shapes_in.items():
        for source in sources[name]:
            if shapes[source] != shape:
                ports = isinstance(nodes[source], nir.Input) or isinstance(nodes[name], nir.Output)
                mend = "; give the shape of one step, without batch and time" if ports else ""
                raise UnsupportedGraphError(
                    f"the edge from '{source}' to '{name}': shapes {shapes[source]} and {shape} differ{mend}"
                )
    for name in nodes:
        if 0 in shapes_in[name] or 0 in shapes[name]:
            raise UnsupportedGraphError(
                f"node '{name}' has no elements: its shapes are {shapes_in[name]} -> {shapes[name]}; remove it"
            )
        if max(np.prod(shapes_in[name], dtype=float), np.prod(shapes[name], dtype=float)) > MAX_ELEMENTS:
            raise UnsupportedGraphError(
                f"node '{name}' has shapes {shapes_in[name]} -> {shapes[name]}, more than {MAX_ELEMENTS} elements"
            )
    return {name: (shapes_in[name], shapes[name]) for name in nodes}


def without_leading_axes(shape: Shape, beside: Collection[Shape]) -> Shape:
    """Shape of a port without leading axes of batch and time (one or two), which its neighbours ``beside`` lack."""
    own, *others = beside or [shape]
    extra = len(shape) - len(own)
    return own if own and not others and extra in (1, 2) and shape[extra:] == own else shape


def own_input_shape(name: str, node: nir.NIRNode) -> Shape | None:
    """Input shape of a node from its own parameters; None where they do not determine it.

    Raises:
        UnsupportedGraphError: a parameter is broken, or the node is not a primitive of NIR.
    """
    if isinstance(node, nir.Input):
        return shape_of(name, shape_in_type(name, node.input_type, "input"))
    if isinstance(node, nir.Output):
        return optional_shape(name, shape_in_type(name, node.output_type, "output"))
    if isinstance(node, nir.Flatten):
        return optional_shape(name, shape_in_type(name, node.input_type, "input"))
    if isinstance(node, nir.Affine | nir.Linear):
        weight = numbers(name, "weight", node.weight)
        if weight.ndim < 2:
            raise UnsupportedGraphError(f"node '{name}': weight needs two dimensions, got shape {weight.shape}")
        return (*weight.shape[:-2], weight.shape[-1])
    if isinstance(node, nir.Conv1d | nir.Conv2d):
        if node.input_shape is None or np.size(node.input_shape) == 0:
            return None
        weight = numbers(name, "weight", node.weight)
        check_axes(name, "weight", weight, 3 if isinstance(node, nir.Conv1d) else 4)
        channels = weight.shape[1] * integers(name, "groups", node.groups, 1, 1)[0]
        return (channels, *integers(name, "input_shape", node.input_shape, weight.ndim - 2, 1))
    if isinstance(node, nir.Scale):
        shape = numbers(name, "scale", node.scale).shape
    elif isinstance(node, nir.Delay):
        shape = numbers(name, "delay", node.delay).shape
    elif type(node) in PARAMETERS:
        shape = max((numbers(name, p, getattr(node, p, 0.0)).shape for p in PARAMETERS[type(node)]), key=np.prod)
    elif isinstance(node, nir.SumPool2d | nir.AvgPool2d):
        return None
    else:
        raise UnsupportedGraphError(f"node '{name}' is a {type(node).__name__}, which is not a primitive of NIR 1.0")
    return shape if int(np.prod(shape)) > 1 else None


def output_shape(name: str, node: nir.NIRNode, shape_in: Shape) -> Shape:
    """Output shape of a node, given its input shape.

    Raises:
        UnsupportedGraphError: parameters and input shape do not fit, or there are too many synapses.
    """
    if isinstance(node, nir.Affine | nir.Linear):
        weight = np.asarray(node.weight)
        return (*weight.shape[:-2], weight.shape[-2])
    if isinstance(node, nir.Flatten):
        shape = flat_shape(shape_in, *flatten_axes(name, node))
        if shape is None:
            raise UnsupportedGraphError(
                f"node '{name}': start_dim={node.start_dim}, end_dim={node.end_dim} do not fit the shape {shape_in}; "
                "axes are counted without batch and time"
            )
        return shape
    if isinstance(node, nir.Conv1d | nir.Conv2d | nir.SumPool2d | nir.AvgPool2d):
        p = window(name, node)
        kernel = p["weight"].shape if "weight" in p else (1, 1, *p["kernel_size"])
        axes = 1 if isinstance(node, nir.Conv1d) else 2
        if len(shape_in) != axes + 1:
            raise UnsupportedGraphError(f"node '{name}' needs an input of {axes + 1} dimensions, got shape {shape_in}")
        groups = p.get("groups", 1)
        if "weight" in p and shape_in[0] != kernel[1] * groups:
            raise UnsupportedGraphError(
                f"node '{name}': {shape_in[0]} input channels, but weight and groups say {kernel[1] * groups}"
            )
        spatial = []
        for size, k, stride, dilation, (before, after) in zip(
            (1, *shape_in[1:])[-2:], kernel[2:], p["stride"], p["dilation"], p["padding"], strict=True
        ):
            room = size + before + after - dilation * (k - 1) - 1
            if room < 0:
                raise UnsupportedGraphError(f"node '{name}': its kernel is larger than its padded input {shape_in}")
            spatial.append(room // stride + 1)
        channels = kernel[0] if "weight" in p else shape_in[0]
        shape = (channels, *spatial[-axes:])
        if np.prod(shape, dtype=float) * np.prod(kernel[1:], dtype=float) > MAX_SYNAPSES:
            raise UnsupportedGraphError(f"node '{name}' has more than {MAX_SYNAPSES} synapses")
        return shape
    return shape_in


def flatten_axes(name: str, node: nir.Flatten) -> tuple[int, int]:
    """First and last axis of a Flatten node, as the node counts them."""
    start, end = (integers(name, key, getattr(node, key), 1, None)[0] for key in ("start_dim", "end_dim"))
    return start, end


def flat_shape(shape: Shape, start: int, end: int) -> Shape | None:
    """``shape`` with the axes from ``start`` to ``end``, both included, joined; None if there are no such axes."""
    axes = len(shape)
    start, end = (axis + axes if axis < 0 else axis for axis in (start, end))
    if not 0 <= start <= end < axes:
        return None
    return (*shape[:start], int(np.prod(shape[start : end + 1], dtype=np.int64)), *shape[end + 1 :])


def flattened(name: str, node: nir.Flatten, shape_in: Shape, wanted: set[Shape]) -> Shape:
    """Output shape of a Flatten node.

    NIR counts its axes without batch and time. Some exporters count them. The second way is used, with a warning, if
    the node's ``input_type`` has these axes, or if only this way gives axes that exist and an output shape that the
    targets accept.

    Args:
        name: Name of the node.
        node: The node.
        shape_in: Shape of its input, without batch and time.
        wanted: Input shapes of its targets; empty if they are not known.

    Raises:
        UnsupportedGraphError: neither way fits.
    """
    start, end = flatten_axes(name, node)
    own = own_input_shape(name, node)
    leading = 0 if own is None else len(own) - len(shape_in)
    if own is not None and (leading < 0 or own[leading:] != shape_in):
        raise UnsupportedGraphError(
            f"node '{name}': its input_type {own} is not the shape {shape_in} of what reaches it; correct one of them"
        )
    literal = flat_shape(shape_in, start, end)
    for axes in [leading] if leading else [1, 2]:
        if not leading and literal is not None and (not wanted or literal in wanted):
            break
        fewer = (max(axis - axes, 0) if axis >= 0 else axis for axis in (start, end))
        shape = flat_shape(shape_in, *fewer)
        if shape is None or (wanted and shape not in wanted):
            continue
        warnings.warn(
            f"node '{name}': start_dim={start}, end_dim={end} count {axes} of batch and time, which NIR leaves out: "
            f"read as {shape_in} -> {shape}",
            UserNotice,
            stacklevel=2,
        )
        return shape
    return literal if literal is not None and not leading else output_shape(name, node, shape_in)


def shape_in_type(name: str, types: object, key: str) -> object:
    """The entry ``key`` of a node's ``input_type`` or ``output_type``; None if there is none.

    Raises:
        UnsupportedGraphError: the type is not a dictionary.
    """
    if types is None:
        return None
    if not isinstance(types, Mapping):
        raise UnsupportedGraphError(f"node '{name}': its {key}_type is {described(types)}; give {{'{key}': shape}}")
    return types.get(key)


def shape_of(name: str, value: object) -> Shape:
    """A shape, from its value in the file.

    Raises:
        UnsupportedGraphError: it is missing, or not a list of positive integers.
    """
    if value is None:
        raise UnsupportedGraphError(f"node '{name}' does not say its shape")
    return integers(name, "shape", value, None, 1)


def optional_shape(name: str, value: object) -> Shape | None:
    """As :func:`shape_of`; None where there is no value."""
    return None if value is None else shape_of(name, value)
