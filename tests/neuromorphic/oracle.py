"""NIR semantics once more, slowly: sums by ``numpy.einsum``, loops by asking each neuron for what it sent when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.execution.reference import advance
from neuromorphic.graph import Graph, Node


def simulate_slowly(graph: Graph, inputs: Mapping[str, NDArray]) -> dict[str, NDArray[np.float64]]:
    """What every neuron sends and every Output node gets, shape (B, T, *shape), by the rule of ``Graph`` as it stands.

    From its own component a neuron reads the step before where no delay lies between, from all others this step.
    """
    batch, steps = next(iter(inputs.values())).shape[:2]
    instant = {n: [s for s in graph.sources[n] if not (delay(graph, s) > 0).all()] for n in graph.nodes}

    def upstream(name: str) -> set[str]:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for source in instant[waiting.pop()]:
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)
        return seen

    reach = {name: upstream(name) for name in graph.neurons}
    together = {a: {b for b in graph.neurons if b == a or (a in reach[b] and b in reach[a])} for a in graph.neurons}
    sent: dict[tuple[str, int], tuple[NDArray, NDArray, NDArray]] = {}

    def of_neuron(name: str, t: int) -> tuple[NDArray, NDArray, NDArray]:
        """Output, v and i after step t."""
        zero = np.zeros((batch, *graph.nodes[name].shape))
        if t < 0:
            return zero, zero, zero
        if (name, t) not in sent:
            _, v, i = of_neuron(name, t - 1)
            sent[name, t] = advance(graph.nodes[name], total(name, t, t, together[name]), v, i, graph.dt)
        return sent[name, t]

    def output(name: str, t: int, now: int, readers: set[str]) -> NDArray:
        node = graph.nodes[name]
        if t < 0:
            return np.zeros((batch, *node.shape))
        if name in graph.inputs:
            return inputs[name][:, t]
        if node.is_neuron:
            return of_neuron(name, t - 1 if t == now and name in readers else t)[0]
        if node.kind == "Delay":
            d = node.parameters["delay"]
            return sum(np.where(d == k, total(name, t - int(k), now, readers), 0.0) for k in np.unique(d))
        return apply(node, total(name, t, now, readers))

    def total(name: str, t: int, now: int, readers: set[str]) -> NDArray:
        if t < 0:
            return np.zeros((batch, *graph.nodes[name].shape_in))
        return sum(output(source, t, now, readers) for source in graph.sources[name])

    rows = {name: [of_neuron(name, t)[0] for t in range(steps)] for name in graph.neurons}
    rows |= {name: [total(name, t, t, set()) for t in range(steps)] for name in graph.outputs}
    return {name: np.stack(own, axis=1) for name, own in rows.items()}


def delay(graph: Graph, name: str) -> NDArray:
    node = graph.nodes[name]
    return node.parameters["delay"] if node.kind == "Delay" else np.zeros(1)


def apply(node: Node, x: NDArray) -> NDArray[np.float64]:
    """A linear node's map, shape (B, *shape_in) -> (B, *shape), in whatever order NumPy adds."""
    p = node.parameters
    if node.kind in ("Affine", "Linear"):
        return np.einsum("...nm,b...m->b...n", p["weight"], x) + p.get("bias", 0.0)
    if node.kind == "Scale":
        return p["scale"] * x
    if node.kind in ("Conv1d", "Conv2d"):
        return slide(node, x, lambda patch, group: np.einsum("bcij,ocij->bo", patch, group), p["weight"])
    if node.kind in ("SumPool2d", "AvgPool2d"):
        return slide(
            node, x, lambda patch, _: patch.mean(axis=(2, 3)) if node.kind[0] == "A" else patch.sum(axis=(2, 3))
        )
    return x.reshape(-1, *node.shape)


def slide(node: Node, x: NDArray, window: Callable[[NDArray, Any], NDArray], weight: NDArray | None = None) -> NDArray:
    """Slide a window over the last two axes (Conv1d: over the last), one position after the other."""
    p = node.parameters
    x = x if x.ndim == 4 else x[:, :, None]
    x = np.pad(x, ((0, 0), (0, 0), *p["padding"]))
    out = np.zeros((len(x), *(node.shape if len(node.shape) == 3 else (node.shape[0], 1, node.shape[1]))))
    kernel = p["kernel_size"] if weight is None else weight.shape[2:]
    (sy, sx), (dy, dx), groups = p["stride"], p["dilation"], p.get("groups", 1)
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            patch = x[:, :, row * sy :: dy, column * sx :: dx][:, :, : kernel[0], : kernel[1]]
            if weight is None:
                out[:, :, row, column] = window(patch, None)
                continue
            parts = zip(np.split(patch, groups, axis=1), np.split(weight, groups), strict=True)
            out[:, :, row, column] = np.concatenate([window(*part) for part in parts], axis=1) + p["bias"]
    return out.reshape(len(x), *node.shape)


def add_in_order(weight: NDArray, x: NDArray, bias: float = 0.0) -> float:
    """weight . x + bias in Python's numbers: the terms one after the other, the bias last."""
    y = 0.0
    for w, value in zip(weight.reshape(-1).tolist(), x.reshape(-1).tolist(), strict=True):
        y += w * value
    return y + bias
