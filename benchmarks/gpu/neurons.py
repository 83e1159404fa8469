"""Section ``lif``: multi-step LIF, forward and backward, against SpikingJelly, torch.compile and a bare copy.

Inputs [16, 2048, 256] and 16 times as many neurons, float32; w = v / 2 + x, a spike where w > 1, which resets v to 0.
Every candidate is timed in turn in every round, by CUDA events; medians.

eager, one: a call that is waited for, launches and autograd's bookkeeping included; eager: five in a row.
graph: the same call replayed as a CUDA graph: what the GPU does, without the launches. ``cold`` with another buffer
    written in between, so that nothing is in the L2 cache.
bound: 2.5 times a copy of the same buffer by a kernel: 5 passes, forward one read and one write, backward two reads
    and one write. At the smaller size buffers are of the order of the L2 cache.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu import spikingjelly
from benchmarks.gpu.measuring import Bench
from gshn.neurons.lif import LIFParameters, lif_sequence, spike_function
from gshn.neurons.multistep import backward_by_operators, forward_by_operators, gpu_kernels, lif

P = LIFParameters(tau=2e-4, dt=1e-4, r=2.0)
SPIKE = spike_function("atan", 2.0)
SIZES = ((16, 32768, 256), (16, 2048, 256))
QUICK_SIZES = ((16, 16, 16), (16, 8, 16))
PASSES = 5
Call = Callable[[Tensor], Tensor]


class Compiled(torch.autograd.Function):
    """Forward and backward as one function of all steps each, compiled: what ran on GPUs before the Triton kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _compiled(forward_by_operators)(x, P)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _compiled(backward_by_operators)(ctx.saved_tensors[0], gradients[0], P, SPIKE)


_made: dict[Callable[..., Any], Callable[..., Any]] = {}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if function not in _made:
        _made[function] = torch.compile(function, fullgraph=True, dynamic=False)
    return _made[function]


def candidates(bench: Bench) -> dict[str, Callable[[], Call]]:
    """Makers of what is compared."""
    made: dict[str, Callable[[], Call]] = {
        "ours": lambda: lambda x: lif(x, P, SPIKE),
        "step loop": lambda: lambda x: lif_sequence(x, P, SPIKE)[0],
        "torch.compile, loop": lambda: torch.compile(
            lambda x: lif_sequence(x, P, SPIKE)[0], fullgraph=True, dynamic=False
        ),
        "torch.compile, whole sequence": lambda: Compiled.apply,
    }
    if bench.wheels is not None:
        backend = "cupy" if bench.device == "cuda" else "torch"
        made["SpikingJelly 0.0.0.0.14, cupy"] = partial(spikingjelly.cupy_backend, bench.wheels, backend)
    made |= {
        f"SpikingJelly 2.0.0, {name}": partial(spikingjelly.current_backend, name)
        for name in ("triton", "cuda", "torch")
    }
    return made


def events(bench: Bench, call: Callable[[], object], before: Callable[[], object] | None, calls: int) -> float:
    """Milliseconds of a call, the mean of ``calls`` in a row."""
    if before is not None:
        before()
    if bench.device != "cuda":
        begun = time.perf_counter()
        for _ in range(calls):
            call()
        return 1e3 * (time.perf_counter() - begun) / calls
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls


def in_turn(
    bench: Bench,
    subjects: Mapping[str, Callable[[], object]],
    rounds: int,
    calls: int = 1,
    before: Callable[[], object] | None = None,
) -> dict[str, float]:
    """Median milliseconds of each; all take their turn in every round, after one that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in subjects}
    for k in range(rounds + 1):
        for name, call in subjects.items():
            taken = events(bench, call, before, calls)
            if k:
                spent[name].append(taken)
    return {name: statistics.median(times) for name, times in spent.items()}


def captured(call: Callable[[], object]) -> Callable[[], None]:
    """A call as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            call()
    except Exception as error:  # ending a broken capture fails too, and says only that it is broken
        raise error.__context__ or error from None
    return graph.replay


def run(bench: Bench) -> None:
    """Every size."""
    makers, subjects = candidates(bench), {}
    for name, make in makers.items():
        bench.attempt(lambda make=make, name=name: _made_in(subjects, name, make), what="lif", subject=name)
    for size in QUICK_SIZES if bench.quick else SIZES:
        measure(bench, size, subjects, 2 if bench.quick else 21)
        gc.collect()
        bench.free()


def _made_in(subjects: dict[str, Call], name: str, make: Callable[[], Call]) -> dict[str, Any]:
    subjects[name] = make()
    return {}


def measure(bench: Bench, size: tuple[int, ...], subjects: Mapping[str, Call], rounds: int) -> None:
    """Spikes, gradients, eager times, times of graphs and of the kernels alone, at one size."""
    random = torch.Generator().manual_seed(0)
    on_cpu = torch.randn(size, generator=random) + 0.5
    gradient_on_cpu = torch.randn(size, generator=random)
    x, gradient = on_cpu.to(bench.device, copy=True).requires_grad_(), gradient_on_cpu.to(bench.device)

    def train(call: Call) -> Tensor:
        leaf = x.detach().requires_grad_()  # anew: a graph cannot capture what autograd began on another stream
        return torch.autograd.grad(call(leaf), leaf, gradient)[0]

    usable = compared(bench, subjects, x, gradient, on_cpu, gradient_on_cpu)
    bench.free()
    one, other, free = torch.empty_like(gradient), torch.empty_like(gradient), x.detach()
    # Not copy_: in a graph it becomes a memcpy node, which took 1.4 times as long as the same copy outside of one.
    copy = lambda: torch.neg(free, out=one)  # noqa: E731
    bounds = {"copy": copy, "two reads and a write": lambda: torch.add(free, gradient, out=other)}
    calls: dict[str, Callable[[], object]] = {**bounds, **{name: partial(train, usable[name]) for name in usable}}
    for what, row in (("lif, eager, one", 1), ("lif, eager", 5)):
        times = in_turn(bench, calls, rounds, row)
        bound = PASSES / 2 * times["copy"]
        for name, taken in times.items():
            bench.row(what=what, size=list(size), subject=name, milliseconds=taken, over_bound=taken / bound)
    replayed(bench, size, calls, x.numel() * x.element_size(), rounds)
    bench.free()
    kernels(bench, size, free, gradient, rounds)


def compared(
    bench: Bench, subjects: Mapping[str, Call], x: Tensor, gradient: Tensor, on_cpu: Tensor, gradient_on_cpu: Tensor
) -> dict[str, Call]:
    """Write how far spikes and gradients are from the CPU's; the subjects that run."""
    own = on_cpu.requires_grad_()
    spikes = lif(own, P, SPIKE)
    spikes.backward(gradient_on_cpu)
    assert own.grad is not None
    expected, wanted = spikes.detach().to(bench.device, torch.bool), own.grad.to(bench.device)
    usable: dict[str, Call] = {}

    def compare(name: str, call: Call) -> dict[str, Any]:
        spikes = call(x)
        (out,) = torch.autograd.grad(spikes, x, gradient)
        bench.wait()
        alike = (spikes > 0.5) == expected
        # Where a neuron's spikes differ, so do its gradients: compared where they are the same.
        error = float(((out - wanted) * alike.all(dim=0)).abs().max())
        wrong = int((~alike).sum())
        del spikes, out, alike
        bench.free()
        there = torch.cuda.memory_allocated() / 2**20 if bench.device == "cuda" else 0.0
        torch.autograd.grad(call(x), x, gradient)
        usable[name] = call
        return {"spikes_that_differ": wrong, "of": expected.numel(), "largest_gradient_error": error,
                "firing_rate": float(expected.float().mean()),
                "peak_mib_above_inputs": bench.peak_mib and round(bench.peak_mib - there, 1)}  # fmt: skip

    for name, call in subjects.items():
        bench.attempt(
            partial(compare, name, call), what="lif, compared with the CPU", size=list(on_cpu.shape), subject=name
        )
    return usable


def replayed(
    bench: Bench, size: tuple[int, ...], calls: Mapping[str, Callable[[], object]], buffer: int, rounds: int
) -> None:
    """Times of the calls as CUDA graphs, with warm and with cold cache."""
    graphs: dict[str, Callable[[], object]] = {}

    def capture(name: str) -> dict[str, Any]:
        if name.endswith("cupy"):
            raise RuntimeError("it launches on the default stream, and copies its constants from the host")
        graphs[name] = captured(calls[name])
        return {}

    if bench.device == "cuda":
        for name in calls:
            bench.attempt(partial(capture, name), what="lif, captured", size=list(size), subject=name)
    else:
        graphs |= {name: calls[name] for name in ("copy", "ours")}
    cold = torch.empty(2**28 if bench.device == "cuda" else 1, dtype=torch.uint8, device=bench.device)
    for cache, times in (
        ("warm", in_turn(bench, graphs, rounds, 5)),
        ("cold", in_turn(bench, graphs, rounds, 1, lambda: cold.fill_(1))),
    ):
        bound = PASSES / 2 * times["copy"]
        rate = 2 * buffer / 1e6 / times["copy"]
        bench.row(what="lif, bound", size=list(size), cache=cache, milliseconds=bound, gigabytes_per_second=rate)
        for name, taken in times.items():
            row = {"what": "lif, graph", "size": list(size), "cache": cache, "subject": name}
            bench.row(**row, milliseconds=taken, over_bound=taken / bound)


def kernels(bench: Bench, size: tuple[int, ...], x: Tensor, gradient: Tensor, rounds: int) -> None:
    """Our kernels alone, by how neurons are shared out; and what saving the potentials would cost."""
    own = gpu_kernels()
    if own is None or bench.device != "cuda":
        return
    x, gradient = x.reshape(len(x), -1), gradient.reshape(len(x), -1)
    tried: dict[str, Callable[[], object]] = {}
    for elements, warps in product((1, 2, 4), (1, 2, 4, 8)):
        launch = own.Launch(elements, warps)
        tried[f"forward {elements} x {warps}"] = partial(own.forward, x, P, True, launch)
        tried[f"backward {elements} x {warps}"] = partial(own.backward, x, None, gradient, P, SPIKE, launch)
    from benchmarks.gpu import saved

    w, out = saved.forward(x, 1, 4)[1], torch.empty_like(x)
    for elements in (1, 2, 4):
        tried[f"forward that writes potentials {elements} x 4"] = partial(saved.forward, x, elements, 4)
        tried[f"backward that reads potentials {elements} x 4"] = partial(saved.backward, w, gradient, elements, 4)
    tried["copy"] = lambda: torch.neg(x, out=out)
    tried["copy_"] = lambda: out.copy_(x)
    tried["two reads and a write"] = lambda: torch.add(x, gradient, out=out)
    for name, taken in in_turn(bench, tried, max(5, rounds // 2), 3).items():
        bench.row(what="lif, kernel", size=list(size), subject=name, milliseconds=taken)
