"""NIR semantics in PyTorch: what the reference gives, with every loop-free part evaluated over all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neuromorphic.arguments import printed
from neuromorphic.errors import ArgumentError
from neuromorphic.execution import native
from neuromorphic.execution.native import UniformLIF
from neuromorphic.execution.record import Record, check_inputs
from neuromorphic.graph import RESET_BY_SUBTRACTION, Graph, Node, components
from neuromorphic.hdf5 import reason

Step = Callable[[Tensor, int], None]


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
        dtype: float64 gives the reference's spikes but for ties (:mod:`neuromorphic.execution.ties`), as the BLAS adds
            in an order of its own; float32 is faster and may move a spike that is a near tie.
        device: Where to compute; by default the CPU.

    Returns:
        The record.

    Raises:
        ArgumentError, UnsupportedGraphError: see :func:`neuromorphic.execution.record.check_inputs`.
    """
    batch, steps = check_inputs(graph, inputs, potentials)
    if not any(dtype is known for known in (torch.float32, torch.float64)):
        raise ArgumentError(f"dtype is {printed(dtype)}; give torch.float64 or torch.float32")
    try:
        torch.empty(0, device=device)
    except Exception as error:  # AssertionError where there is no CUDA, RuntimeError, TypeError, ...
        raise ArgumentError(f"device {printed(device)} cannot be used ({reason(error)})") from None
    membranes = {n for n in graph.neurons if graph.nodes[n].has_membrane}
    wanted = {n for n in membranes if n in potentials or not graph.nodes[n].is_spiking}
    with torch.inference_mode():
        run = _Run(graph, batch, steps, wanted, dtype, device)
        for name in graph.inputs:
            run.out[name] = torch.as_tensor(np.asarray(inputs[name]), dtype=dtype, device=device).transpose(0, 1)
        for component in components(graph.sources):
            run.component(component)

    def array(x: Tensor) -> NDArray:
        return x.transpose(0, 1).contiguous().cpu().numpy()

    return Record(
        outputs={n: array(run.total(n)).astype(np.float64, copy=False) for n in graph.outputs},
        spikes={n: array(run.sent[n]) for n in graph.spiking},
        potentials={n: array(run.v[n]).astype(np.float64, copy=False) for n in graph.neurons if n in wanted},
    )


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
        self.sent: dict[str, Tensor] = {}
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
        if (p := self.uniform(name)) is not None:
            x = self.total(name)
            flat = x.reshape(self.steps, -1)
            if native.usable(flat, steps=self.steps):
                self.out[name] = native.forward(flat, p).view(x.shape)
                self.sent[name] = self.out[name] > 0
                return
        step = self.stepper(name)
        for t, x in enumerate(self.total(name).unbind(0)):
            step(x, t)
        self.finish(name)

    def uniform(self, name: str) -> UniformLIF | None:
        """Parameters of LIF neurons that are all alike and are reset to a value, of which no potential is asked for."""
        node, q = self.graph.nodes[name], self.graph.nodes[name].parameters
        if node.kind != "LIF" or name in self.wanted or node.reset == RESET_BY_SUBTRACTION:
            return None
        found = {key: np.unique(q[key]) for key in ("tau", "r", "v_leak", "v_threshold", "v_reset")}
        if any(len(values) != 1 for values in found.values()):
            return None
        one = {key: float(values[0]) for key, values in found.items()}
        if not 0 < self.graph.dt <= one["tau"] or not one["v_threshold"] > one["v_reset"]:
            return None
        return UniformLIF(dt=self.graph.dt, **one)

    def loop(self, names: set[str]) -> None:
        """Step the neurons of a loop together, as :class:`~neuromorphic.graph.Graph` says."""
        graph = self.graph
        inner = [component for component in graph.components if names.issuperset(component)]
        neurons = [n for component in inner for n in component]
        linear = [n for n in graph.linear if n in names]
        delays = {n: graph.nodes[n].parameters["delay"] for n in linear if graph.nodes[n].kind == "Delay"}
        maps = {n: self.map(graph.nodes[n]) for n in linear if n not in delays}
        masks = {n: [(int(d), self.tensor(delays[n] == d)) for d in np.unique(delays[n])] for n in delays}
        past = {n: self.zeros(self.steps, self.batch, *graph.nodes[n].shape) for n in delays}
        steppers = {n: self.stepper(n) for n in neurons}
        newest = {n: self.zeros(self.batch, *graph.nodes[n].shape) for n in (*neurons, *linear)}
        outside = {s for n in names for s in graph.sources[n] if s not in names}

        ways = [[n for n in graph.within_a_step(component) if n in linear] for component in inner]
        after = [n for n in graph.within_a_step(delays) if n in linear]

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

            for component, way in zip(inner, ways, strict=True):
                evaluate(way)
                got = {n: total(n) for n in component}  # of all, before any of them has its new output
                for n, x in got.items():
                    steppers[n](x, t)
                    newest[n] = self.sent[n][t].to(self.dtype)
            evaluate(after)
            for n in delays:
                past[n][t] = total(n)
        for n in neurons:
            self.finish(n)
        for n in linear:  # on the final outputs: what stands outside the loop reads those
            self.linear(n)

    def stepper(self, name: str) -> Step:
        """A neuron's step: takes its input, shape (B, *shape), and the step's number; in reference.advance's order.

        What it sends is row t of ``sent[name]``: spikes as bool, or potentials.
        """
        node, dt, q = self.graph.nodes[name], self.graph.dt, self.graph.nodes[name].parameters
        shape = (self.batch, *node.shape)
        spiking = node.is_spiking
        number = torch.bool if spiking else self.dtype
        sent = self.sent[name] = torch.zeros((self.steps, *shape), dtype=number, device=self.device)
        rows = sent.unbind(0)
        if node.kind == "Threshold":
            threshold = self.parameter(q["threshold"])

            def compare(x: Tensor, t: int) -> None:
                torch.gt(x, threshold, out=rows[t])

            return compare
        v, i, change = (self.zeros(*shape) for _ in range(3))
        r, leak = self.parameter(q["r"]), self.parameter(q.get("v_leak", np.zeros(1)))
        tau_mem, tau_syn = q.get("tau", q.get("tau_mem")), q.get("tau_syn")
        dv = None if tau_mem is None else self.parameter(dt / tau_mem)
        du = None if tau_syn is None else self.parameter(dt / tau_syn)
        w_in = self.parameter(q.get("w_in", np.ones(1)))
        threshold = self.parameter(q.get("v_threshold", np.zeros(1)))
        v_reset = self.parameter(q.get("v_reset", np.zeros(1)))
        one_reset = v_reset.ndim == 0
        subtract = node.reset == RESET_BY_SUBTRACTION
        trace = None
        if name in self.wanted:
            self.v[name] = self.zeros(self.steps, *shape) if spiking else sent
            trace = self.v[name].unbind(0)

        def step(x: Tensor, t: int) -> None:
            if du is not None:
                torch.mul(x, w_in, out=change)
                i.add_(change.sub_(i).mul_(du))
                x = i
            if dv is None:
                v.add_(torch.mul(x, r, out=change))
            else:
                torch.sub(leak, v, out=change)
                v.add_(change.add_(x * r).mul_(dv))
            row = rows[t]
            if not spiking:
                row.copy_(v)
                return
            torch.gt(v, threshold, out=row)
            if subtract:
                v.copy_(torch.where(row, v - threshold, v))
            elif one_reset:
                v.masked_fill_(row, v_reset)
            else:
                torch.where(row, v_reset, v, out=v)
            if trace is not None:
                trace[t].copy_(v)

        return step

    def parameter(self, values: NDArray) -> Tensor:
        """A parameter, of no dimension where all neurons have the same."""
        flat = np.asarray(values).reshape(-1)
        same = flat.size > 0 and bool((flat == flat[0]).all())
        return torch.tensor(flat[0] if same else np.ascontiguousarray(values), dtype=self.dtype, device=self.device)

    def finish(self, name: str) -> None:
        """Once all steps are done: what a neuron sent, as numbers."""
        self.out[name] = self.sent[name].to(self.dtype)

    def map(self, node: Node) -> Callable[[Tensor], Tensor]:
        """A linear node's map, shape (n, *shape_in) -> (n, *shape); the equations are reference.linear_map's."""
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
    """Sum, one after the other, in the order of reference.add."""
    first, *others = terms
    if len(others) > 1:
        first, *others = torch.stack([first, *others]).sort(dim=0).values.unbind(0)
    for other in others:
        first = first + other
    return first
