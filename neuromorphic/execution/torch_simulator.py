"""NIR's semantics in PyTorch, with the results of the reference. Parts without loops take all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neuromorphic.arguments import printed
from neuromorphic.errors import ArgumentError
from neuromorphic.execution import native
from neuromorphic.execution.machine import Arrays, Machine
from neuromorphic.execution.native import UniformLIF
from neuromorphic.execution.record import Record, check_inputs
from neuromorphic.execution.reference import rest
from neuromorphic.graph import RESET_BY_SUBTRACTION, Graph, Node
from neuromorphic.graph.order import components
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
        potentials: Names of the spiking nodes whose membrane potentials are recorded too.
        dtype: With float64, spikes are the reference's except in ties (:mod:`neuromorphic.execution.ties`), because the
            BLAS adds in another order. float32 is faster, and may move a spike whose potential is near the threshold.
        device: Where to compute; by default the CPU.

    Returns:
        The record.

    Raises:
        ArgumentError, UnsupportedGraphError: see :func:`neuromorphic.execution.record.check_inputs`.
    """
    batch, _ = check_inputs(graph, inputs, potentials)
    if not any(dtype is known for known in (torch.float32, torch.float64)):
        raise ArgumentError(f"dtype is {printed(dtype)}; give torch.float64 or torch.float32")
    try:
        torch.empty(0, device=device)
    except Exception as error:  # AssertionError where there is no CUDA, RuntimeError, TypeError, ...
        raise ArgumentError(f"device {printed(device)} cannot be used ({reason(error)})") from None
    return _Run(graph, batch, potentials, dtype, device).run(inputs)


class TorchMachine(Machine):
    """A session's machine with the reference's semantics and state, in PyTorch's float64 on the CPU.

    Args:
        graph: The graph.
        batch: Number of samples B.
        potentials: Names of the spiking nodes whose membrane potentials are recorded too.
    """

    def __init__(self, graph: Graph, batch: int, potentials: Collection[str] = ()) -> None:
        self.start = rest(graph, batch)
        self._run = _Run(graph, batch, potentials, torch.float64, None)
        self.restore(self.start)

    def run(self, inputs: Mapping[str, NDArray]) -> Record:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        record = self._run.run(inputs)
        self._step += next(iter(inputs.values())).shape[1]
        return record

    def state(self) -> Arrays:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        assert self._run.state is not None
        out = {"step": np.array(self._step)}
        for name, values in self._run.state.items():
            out[name] = (values.transpose(0, 1) if name.startswith("past/") else values).cpu().numpy().copy()
        return out

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        self._step = int(state["step"])
        self._run.state = {
            name: torch.tensor(values.swapaxes(0, 1).copy() if name.startswith("past/") else values)
            for name, values in state.items()
            if name != "step"
        }


class _Run:
    """Signals of one run, time first: ``out`` and ``v`` by node, shape (T, B, *shape).

    ``state`` has the arrays of :func:`~neuromorphic.execution.reference.rest`, with time first in ``past``. If it is
    None, every run starts from rest and keeps no state.
    """

    def __init__(
        self,
        graph: Graph,
        batch: int,
        potentials: Collection[str],
        dtype: torch.dtype,
        device: str | torch.device | None,
    ) -> None:
        self.graph, self.batch, self.dtype, self.device = graph, batch, dtype, device
        membranes = {n for n in graph.neurons if graph.nodes[n].has_membrane}
        self.wanted = {n for n in membranes if n in potentials or not graph.nodes[n].is_spiking}
        self.components = components(graph.sources)
        self.state: dict[str, Tensor] | None = None
        self.maps: dict[str, Callable[[Tensor], Tensor]] = {}
        self.parameters: dict[tuple[str, str], Tensor] = {}

    def run(self, inputs: Mapping[str, NDArray]) -> Record:
        """Run inputs, by Input node, shape (B, T, *shape)."""
        graph, self.steps = self.graph, next(iter(inputs.values())).shape[1]
        self.out: dict[str, Tensor] = {}
        self.sent: dict[str, Tensor] = {}
        self.v: dict[str, Tensor] = {}
        self.after: dict[str, Tensor] = {}
        with torch.inference_mode():
            for name in graph.inputs:
                x = torch.as_tensor(np.asarray(inputs[name]), dtype=self.dtype, device=self.device)
                self.out[name] = x.transpose(0, 1)
            for component in self.components:
                self.component(component)
        if self.state is not None:
            self.state = {
                name: self.after[name]
                if name in self.after
                else self.sent[name.removeprefix("sent/")][-1].to(self.dtype)
                for name in self.state
            }

        def array(x: Tensor) -> NDArray:
            return x.transpose(0, 1).contiguous().cpu().numpy()

        return Record(
            outputs={n: array(self.total(n)).astype(np.float64, copy=False) for n in graph.outputs},
            spikes={n: array(self.sent[n]) for n in graph.spiking},
            potentials={n: array(self.v[n]).astype(np.float64, copy=False) for n in graph.neurons if n in self.wanted},
        )

    def before(self, key: str, *shape: int) -> Tensor:
        """An array of the state; zeros if there is no state."""
        return self.zeros(*shape) if self.state is None else self.state[key].clone()

    def zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def total(self, name: str) -> Tensor:
        """Sum over a node's sources, all steps, shape (T, B, *shape_in)."""
        return add(self.out[source] for source in self.graph.sources[name])

    def tensor(self, value: NDArray) -> Tensor:
        return torch.tensor(np.ascontiguousarray(value), dtype=self.dtype, device=self.device)

    def component(self, names: tuple[str, ...]) -> None:
        """Evaluate a component, after all nodes that it reads."""
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
            y = self.map_of(name)(x.reshape(-1, *node.shape_in))
            self.out[name] = y.view(self.steps, self.batch, *node.shape)
            return
        delay = node.parameters["delay"]
        distinct, depth = np.unique(delay), int(delay.max(initial=0))
        known = torch.cat([self.before(f"past/{name}", depth, self.batch, *node.shape), x])
        out = self.zeros(*x.shape)
        for d in distinct.astype(int).tolist():
            part = known[depth - d : depth - d + self.steps]
            out += part if len(distinct) == 1 else part * self.tensor(delay == d)
        self.out[name], self.after[f"past/{name}"] = out, known[self.steps :]

    def neuron(self, name: str) -> None:
        if self.state is None and (p := self.uniform(name)) is not None:
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
        """The parameters of LIF neurons, if all are equal, the reset is to v_reset and no potential is recorded."""
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
        maps = {n: self.map_of(n) for n in linear if n not in delays}
        masks = {n: [(int(d), self.tensor(delays[n] == d)) for d in np.unique(delays[n])] for n in delays}
        depth = {n: int(delay.max(initial=0)) for n, delay in delays.items()}
        past = {}  # Inputs of Delay nodes: of as many steps before this run as their delays reach, then of this run.
        for n in delays:
            before = self.before(f"past/{n}", depth[n], self.batch, *graph.nodes[n].shape)
            past[n] = torch.cat([before, self.zeros(self.steps, self.batch, *graph.nodes[n].shape)])
        steppers = {n: self.stepper(n) for n in neurons}
        newest = {n: self.zeros(self.batch, *graph.nodes[n].shape) for n in linear}
        newest |= {n: self.before(f"sent/{n}", self.batch, *graph.nodes[n].shape) for n in neurons}
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
                    y = torch.zeros_like(newest[n])
                    for d, mask in masks[n]:
                        y += (total(n) if d == 0 else past[n][depth[n] + t - d]) * mask
                    newest[n] = y

            for component, way in zip(inner, ways, strict=True):
                evaluate(way)
                got = {n: total(n) for n in component}  # for all nodes, before any of them has its new output
                for n, x in got.items():
                    steppers[n](x, t)
                    newest[n] = self.sent[n][t].to(self.dtype)
            evaluate(after)
            for n in delays:
                past[n][depth[n] + t] = total(n)
        for n in neurons:
            self.finish(n)
        for n in linear:  # from the final outputs, which nodes outside the loop read
            self.linear(n)

    def stepper(self, name: str) -> Step:
        """A function that does one step of a node, given its input, shape (B, *shape), and the number t of the step.

        Operations have the order of :func:`neuromorphic.execution.reference.advance`. The output, spikes as bool or
        potentials, becomes row t of ``sent[name]``.
        """
        node, dt, q = self.graph.nodes[name], self.graph.dt, self.graph.nodes[name].parameters
        shape = (self.batch, *node.shape)
        spiking = node.is_spiking
        number = torch.bool if spiking else self.dtype
        sent = self.sent[name] = torch.zeros((self.steps, *shape), dtype=number, device=self.device)
        rows = sent.unbind(0)
        if node.kind == "Threshold":
            threshold = self.parameter(name, "threshold", q["threshold"])

            def compare(x: Tensor, t: int) -> None:
                torch.gt(x, threshold, out=rows[t])

            return compare
        parameter = partial(self.parameter, name)
        change, v = self.zeros(*shape), self.before(f"v/{name}", *shape)
        r, leak = parameter("r", q["r"]), parameter("v_leak", q.get("v_leak", np.zeros(1)))
        tau_mem, tau_syn = q.get("tau", q.get("tau_mem")), q.get("tau_syn")
        dv = None if tau_mem is None else parameter("dv", dt / tau_mem)
        du = None if tau_syn is None else parameter("du", dt / tau_syn)
        i = self.zeros(0) if du is None else self.before(f"i/{name}", *shape)
        w_in = parameter("w_in", q.get("w_in", np.ones(1)))
        threshold = parameter("v_threshold", q.get("v_threshold", np.zeros(1)))
        v_reset = parameter("v_reset", q.get("v_reset", np.zeros(1)))
        self.after |= {f"v/{name}": v, f"i/{name}": i}  # They are changed in place.
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

    def parameter(self, name: str, key: str, values: NDArray) -> Tensor:
        """A node's parameter, as a scalar if all neurons have the same value."""
        if (name, key) not in self.parameters:
            flat = np.asarray(values).reshape(-1)
            same = flat.size > 0 and bool((flat == flat[0]).all())
            own = flat[0] if same else np.ascontiguousarray(values)
            self.parameters[name, key] = torch.tensor(own, dtype=self.dtype, device=self.device)
        return self.parameters[name, key]

    def finish(self, name: str) -> None:
        """After the last step: the outputs of a neuron node as numbers."""
        self.out[name] = self.sent[name].to(self.dtype)

    def map_of(self, name: str) -> Callable[[Tensor], Tensor]:
        """The map of a linear node, made once."""
        if name not in self.maps:
            self.maps[name] = self.map(self.graph.nodes[name])
        return self.maps[name]

    def map(self, node: Node) -> Callable[[Tensor], Tensor]:
        """A linear node's map, shape (n, *shape_in) -> (n, *shape), by the equations of reference.linear_map."""
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
    """The sum of the terms, in the order of :func:`neuromorphic.execution.reference.add`."""
    first, *others = terms
    if len(others) > 1:
        first, *others = torch.stack([first, *others]).sort(dim=0).values.unbind(0)
    for other in others:
        first = first + other
    return first
