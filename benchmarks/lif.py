"""Multi-step LIF, forward and backward, against snnTorch, Norse, SpikingJelly, Sinabs and the memory's bandwidth.

    python -m benchmarks.lif --rounds 11 --json lif.json

Inputs of shape [T, 2048, 256], float32, for T = 8 and 16; w = v / 2 + x, a spike where w > 1, which resets v to 0. Each
peer gets the layout and the loop that suit it best (``unbind`` and not ``x[t]``); spikes have to be equal to ours.
``bound`` is 5 passes over memory that is there already: forward reads x and writes s, backward reads x and the gradient
and writes the input's. ``make bench`` tunes glibc's allocator for all of them alike: by default a tensor of 32 MB comes
from mmap, and every page of it faults.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.timing import OURS, Row, medians, rows, run
from gshn.neurons.lif import LIFParameters, lif_sequence, spike_function
from gshn.neurons.multistep import lif

SHAPE = (2048, 256)
P = LIFParameters(tau=2e-4, dt=1e-4, r=2.0)
SPIKE = spike_function("atan", 2.0)


def snntorch() -> Callable[[Tensor], Tensor]:
    """Leaky, with the reset in the same step."""
    from snntorch import Leaky, surrogate

    cell = Leaky(beta=0.5, threshold=1.0, reset_mechanism="zero", reset_delay=False, spike_grad=surrogate.atan())

    def call(x: Tensor) -> Tensor:
        v, out = torch.zeros_like(x[0]), []
        for current in x.unbind(0):
            s, v = cell(current, v)
            out.append(s)
        return torch.stack(out)

    return call


def norse() -> Callable[[Tensor], Tensor]:
    """LIFBoxCell: v + dt / tau (v_leak - v + 2 x)."""
    from norse.torch import LIFBoxCell, LIFBoxParameters

    cell = LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.as_tensor(500.0), v_th=torch.as_tensor(1.0)), dt=1e-3)

    def call(x: Tensor) -> Tensor:
        state, out = None, []
        for current in (2 * x).unbind(0):
            s, state = cell(current, state)
            out.append(s)
        return torch.stack(out)

    return call


def spikingjelly() -> Callable[[Tensor], Tensor]:
    """LIFNode in multi-step mode; on a GPU it takes the fastest of its back ends that is there."""
    from spikingjelly.activation_based import neuron, surrogate

    node = neuron.LIFNode(
        tau=2.0, decay_input=False, v_threshold=1.0, v_reset=0.0, detach_reset=True, step_mode="m",
        surrogate_function=surrogate.ATan(),
    )  # fmt: skip

    def call(x: Tensor) -> Tensor:
        node.reset()
        return node(x)

    return call


def sinabs() -> Callable[[Tensor], Tensor]:
    """LIF with batch first; its time axis is the second."""
    from math import log

    import sinabs.layers
    from sinabs.activation import MembraneReset, SingleSpike

    layer = sinabs.layers.LIF(
        tau_mem=-1 / log(0.5), norm_input=False, spike_fn=SingleSpike, reset_fn=MembraneReset(), train_alphas=False
    )
    for parameter in layer.parameters():
        parameter.requires_grad_(False)

    def call(x: Tensor) -> Tensor:
        layer.reset_states()
        return layer(x.transpose(0, 1)).transpose(0, 1)

    return call


PEERS = {"snntorch": snntorch, "norse": norse, "spikingjelly": spikingjelly, "sinabs": sinabs}


def train(call: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> Tensor:
    """Forward and backward; returns the spikes."""
    x = x.detach().requires_grad_()
    spikes = call(x)
    spikes.backward(gradient)
    if x.is_cuda:
        torch.cuda.synchronize()
    return spikes.detach()


def measure(rounds: int) -> list[Row]:
    """All T, all peers that are installed."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found: list[Row] = []
    for steps in (8, 16):
        random = torch.Generator().manual_seed(0)
        x = (torch.randn(steps, *SHAPE, generator=random) + 0.5).to(device)
        gradient = torch.randn(steps, *SHAPE, generator=random).to(device)
        one, other = torch.empty_like(x), torch.empty_like(x)

        def bound(x: Tensor = x, g: Tensor = gradient, one: Tensor = one, other: Tensor = other) -> None:
            torch.mul(x, 2.0, out=one)
            torch.add(x, g, out=other)
            if x.is_cuda:
                torch.cuda.synchronize()

        calls: dict[str, Callable[[], object]] = {"bound": bound}
        own = train(lambda current: lif(current, P, SPIKE), x, gradient)
        subjects = {
            OURS: lambda current: lif(current, P, SPIKE),
            "step loop": lambda current: lif_sequence(current, P, SPIKE)[0],
        }
        for name, make in PEERS.items():
            try:
                subjects[name] = make()
            except ImportError as error:
                print(f"{name} is left out: {error}; make bench installs it")
                continue
            if isinstance(subjects[name], nn.Module):
                subjects[name].to(device)
            wrong = (train(subjects[name], x, gradient) != own).float().mean()
            if wrong > 1e-5:  # each rounds in its own order; Norse's has a factor more
                raise SystemExit(f"{name}: {100 * wrong:.3f} % of the spikes differ")
        for name, subject in subjects.items():
            calls[name] = lambda subject=subject, x=x, g=gradient: train(subject, x, g)
        found += rows(f"lif, T = {steps}, {device}", medians(calls, rounds))
    return found


if __name__ == "__main__":
    run(__doc__, measure)
