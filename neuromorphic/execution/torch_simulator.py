"""NIR semantics in PyTorch: what the reference gives, with every loop-free part evaluated over all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neuromorphic.execution.record import Record, check_inputs
from neuromorphic.graph import RESET_BY_SUBTRACTION, Graph, Node

Parameters = dict[str, "Tensor | float"]
Step = Callable[[Tensor, Tensor], None]


def simulate_torch(
    graph: Graph,
    inputs: Mapping[str, NDArray],
    potentials: Collection[str] = (),
    dtype: torch.dtype = torch.float64,
    device: str | torch.device | None = None,
) -> Record:
    """Run a graph from rest, as :func:`neuromorphic.execution.reference.simulate` does.

    Args:
        graph: The graph.
        inputs: By Input node, shape (B, T, *shape).
        potentials: Spiking neurons whose membrane potentials are recorded too.
        dtype: float64 gives the reference's spikes; float32 is faster and may move a spike that is a near tie.
        device: Where to compute; by default the CPU.

    Returns:
        The record.

    Raises:
        UnsupportedGraphError: the inputs do not fit.
    """
    batch, steps = check_inputs(graph, inputs)
    wanted = {n for n in graph.neurons if n in potentials or not graph.nodes[n].is_spiking}
    with torch.inference_mode():
        run = _Run(graph, batch, steps, wanted, dtype, device)
        for name in graph.inputs:
            run.out[name] = torch.as_tensor(np.asarray(inputs[name]), dtype=dtype, device=device).transpose(0, 1)
        for component in components(graph):
            run.component(component)

    def array(x: Tensor) -> NDArray:
        return x.transpose(0, 1).contiguous().cpu().numpy()

    return Record(
        outputs={n: array(run.total(n)).astype(np.float64, copy=False) for n in graph.outputs},
        spikes={n: array(run.out[n] > 0) for n in graph.spiking},
        potentials={n: array(run.v[n]).astype(np.float64, copy=False) for n in graph.neurons if n in wanted},
    )


def components(graph: Graph) -> list[tuple[str, ...]]:
    """Strongly connected components, each after those it reads (Tarjan's algorithm, along the sources)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: list[str] = []
    held: set[str] = set()
    found: list[tuple[str, ...]] = []
    for root in graph.nodes:
        if root in index:
            continue
        stack = [(root, iter(graph.sources[root]))]
        index[root] = low[root] = len(index)
        open_.append(root)
        held.add(root)
        while stack:
            name, rest = stack[-1]
            for source in rest:
                if source not in index:
                    index[source] = low[source] = len(index)
                    open_.append(source)
                    held.add(source)
                    stack.append((source, iter(graph.sources[source])))
                    break
                if source in held:
                    low[name] = min(low[name], index[source])
            else:
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[name])
                if low[name] == index[name]:
                    at = open_.index(name)
                    found.append(tuple(open_[at:]))
                    held -= set(open_[at:])
                    del open_[at:]
    return found


class _Run:
    """Signals of one run, time first: ``out`` and ``v`` by node, shape (T, B, *shape)."""

    def __init__(
        self,
        graph: Graph,
        batch: int,
        steps: int,
        wanted: set[str],
        dtype: torch.dtype,
        device: str | torch.device | None,
    ) -> None:
        self.graph, self.batch, self.steps, self.wanted = graph, batch, steps, wanted
        self.dtype, self.device = dtype, device
        self.out: dict[str, Tensor] = {}
        self.v: dict[str, Tensor] = {}

    def zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def total(self, name: str) -> Tensor:
        """Sum over a node's sources, all steps, shape (T, B, *shape_in)."""
        return add(self.out[source] for source in self.graph.sources[name])

    def tensor(self, value: NDArray) -> Tensor:
        return torch.tensor(np.ascontiguousarray(value), dtype=self.dtype, device=self.device)

    def component(self, names: tuple[str, ...]) -> None:
        """Evaluate a component, of which all that it reads is known."""
        name = names[0]
        if len(names) > 1 or name in self.graph.sources[name]:
            self.loop(set(names))
        elif name in self.graph.inputs:
            return
        elif self.graph.nodes[name].is_neuron:
            self.neuron(name)
        else:
            self.linear(name)

    def linear(self, name: str) -> None:
        node, x = self.graph.nodes[name], self.total(name)
        if node.kind != "Delay":
            self.out[name] = self.map(node)(x.reshape(-1, *node.shape_in)).view(self.steps, self.batch, *node.shape)
            return
        delay = node.parameters["delay"]
        distinct = np.unique(delay)
        out = self.zeros(*x.shape)
        for d in distinct.astype(int).tolist():
            if d < self.steps:
                part = x[: self.steps - d]
                out[d:] += part if len(distinct) == 1 else part * self.tensor(delay == d)
        self.out[name] = out

    def neuron(self, name: str) -> None:
        out, step = self.stepper(name)
        for x, y in zip(self.total(name).unbind(0), out.unbind(0), strict=True):
            step(x, y)

    def loop(self, names: set[str]) -> None:
        """Step the neurons of a loop together, as :class:`~neuromorphic.graph.Graph` says."""
        graph = self.graph
        neurons = [n for n in graph.neurons if n in names]
        linear = [n for n in graph.linear if n in names]
        delays = {n: graph.nodes[n].parameters["delay"] for n in linear if graph.nodes[n].kind == "Delay"}
        maps = {n: self.map(graph.nodes[n]) for n in linear if n not in delays}
        masks = {n: [(int(d), self.tensor(delays[n] == d)) for d in np.unique(delays[n])] for n in delays}
        past = {n: self.zeros(self.steps, self.batch, *graph.nodes[n].shape) for n in delays}
        steppers = {n: self.stepper(n)[1] for n in neurons}
        newest = {n: self.zeros(self.batch, *graph.nodes[n].shape) for n in (*neurons, *linear)}
        outside = {s for n in names for s in graph.sources[n] if s not in names}

        def needed(target: Iterable[str]) -> list[str]:
            seen, waiting = set(), list(target)
            while waiting:
                for s in graph.sources[waiting.pop()]:
                    if s in linear and s not in seen:
                        seen.add(s)
                        waiting.append(s)
            return [n for n in linear if n in seen]

        before = {n: needed([n]) for n in neurons}
        after = needed(delays)

        for t in range(self.steps):
            fixed = {s: self.out[s][t] for s in outside}

            def total(name: str, fixed: dict[str, Tensor] = fixed) -> Tensor:
                return add(fixed[s] if s in fixed else newest[s] for s in graph.sources[name])

            def evaluate(order: list[str], t: int = t, total: Callable[[str], Tensor] = total) -> None:
                for n in order:
                    if n in maps:
                        newest[n] = maps[n](total(n))
                        continue
                    y = torch.zeros_like(past[n][t])
                    for d, mask in masks[n]:
                        if d <= t:
                            y += (total(n) if d == 0 else past[n][t - d]) * mask
                    newest[n] = y

            for n in neurons:
                evaluate(before[n])
                y = self.out[n][t]
                steppers[n](total(n), y)
                newest[n] = y
            evaluate(after)
            for n in delays:
                past[n][t] = total(n)
        for n in linear:  # on the final outputs: what stands outside the loop reads those
            self.linear(n)

    def stepper(self, name: str) -> tuple[Tensor, Step]:
        """Buffers of a neuron and its step: input of shape (B, *shape) to output, in reference.advance's order."""
        node, dt = self.graph.nodes[name], self.graph.dt
        shape = (self.batch, *node.shape)
        out = self.out[name] = self.zeros(self.steps, *shape)

        def p(value: NDArray) -> Tensor | float:
            value = np.asarray(value)
            same = value.size > 0 and bool((value == value.flat[0]).all())
            return float(value.flat[0]) if same else self.tensor(value)

        q = node.parameters
        if node.kind == "Threshold":
            threshold = p(q["threshold"])
            return out, lambda x, y: y.copy_(x > threshold) and None  # type: ignore[func-returns-value]
        v, i, tmp = self.zeros(*shape), self.zeros(*shape), self.zeros(*shape)
        r = p(q["r"])
        a = p(dt / q["tau"]) if "tau" in q else p(dt / q["tau_mem"]) if "tau_mem" in q else None
        leak = p(q["v_leak"]) if "v_leak" in q else 0.0
        b, w_in = (p(dt / q["tau_syn"]), p(q["w_in"])) if "tau_syn" in q else (None, 1.0)
        spiking, subtract = node.is_spiking, node.reset == RESET_BY_SUBTRACTION
        threshold = p(q["v_threshold"]) if spiking else 0.0
        v_reset = self.tensor(q["v_reset"]) if spiking else None
        rows = iter(self.v.setdefault(name, self.zeros(self.steps, *shape))) if name in self.wanted else None

        def step(x: Tensor, y: Tensor) -> None:
            if b is not None:
                i.add_((x * w_in).sub_(i).mul_(b))
                x = i
            if a is None:
                v.add_(x * r)
            else:
                torch.mul(x, r, out=tmp)
                v.add_((leak - v).add_(tmp).mul_(a))
            if spiking:
                s = v > threshold
                v.copy_(torch.where(s, v - threshold if subtract else v_reset, v))
                y.copy_(s)
            else:
                y.copy_(v)
            if rows is not None:
                next(rows).copy_(v)

        return out, step

    def map(self, node: Node) -> Callable[[Tensor], Tensor]:
        """A linear node's map, shape (n, *shape_in) -> (n, *shape); the equations are reference.apply's."""
        q = node.parameters
        if node.kind in ("Affine", "Linear"):
            weight = self.tensor(q["weight"])
            bias = self.tensor(q["bias"]) if "bias" in q else None
            if weight.ndim == 2:
                return lambda x: F.linear(x, weight, bias)
            return lambda x: torch.einsum("...nm,b...m->b...n", weight, x) + (0.0 if bias is None else bias)
        if node.kind == "Scale":
            scale = self.tensor(q["scale"])
            return lambda x: scale * x
        if node.kind not in ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"):
            return lambda x: x.reshape(-1, *node.shape)
        pad = [int(n) for axis in reversed(q["padding"]) for n in axis]
        stride, dilation = (tuple(int(n) for n in q[key]) for key in ("stride", "dilation"))
        if "weight" in q:
            weight, bias, groups = self.tensor(q["weight"]), self.tensor(q["bias"]), int(q["groups"])
        else:
            kernel, groups = tuple(int(n) for n in q["kernel_size"]), node.shape[0]
            value = 1.0 / (kernel[0] * kernel[1]) if node.kind == "AvgPool2d" else 1.0
            weight, bias = self.tensor(np.full((groups, 1, *kernel), value)), None

        def slide(x: Tensor) -> Tensor:
            x = F.pad(x if x.ndim == 4 else x[:, :, None], pad)
            return F.conv2d(x, weight, bias, stride, 0, dilation, groups).reshape(-1, *node.shape)

        return slide


def add(terms: Iterable[Tensor]) -> Tensor:
    """Sum, one after the other."""
    first, *others = terms
    for other in others:
        first = first + other
    return first
