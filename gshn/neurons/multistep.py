"""All steps of LIF neurons in one call, forward and backward.

Autograd keeps several tensors of the input's size for each step and walks back through them one operation at a time.
Here the backward pass computes the potentials anew from the input, so that nothing but the input is kept; and each pass
is one kernel: forward reads the input and writes the spikes, backward reads the input and the spikes' gradient and
writes the input's. On the CPU it is C (:mod:`gshn.neurons.native`), on CUDA what ``torch.compile`` makes of the
functions below; where neither can be had they run operation by operation, with the same spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gshn.neurons import native
from gshn.neurons.lif import LIFParameters, Spike

Kernels = tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]


def potentials(x: Tensor, p: LIFParameters) -> tuple[list[Tensor], list[Tensor]]:
    """w and whether w > v_threshold, of every step; see :func:`gshn.neurons.lif.lif_step`, whose order of operations
    this keeps: spikes have to be equal to the last bit."""
    v = torch.zeros_like(x[0])
    before_reset, fired = [], []
    for current in x.unbind(0):
        w = v + (p.dt / p.tau) * (p.v_leak - v + p.r * current)
        s = w > p.v_threshold
        v = torch.where(s, p.v_reset, w)
        before_reset.append(w)
        fired.append(s)
    return before_reset, fired


@lru_cache
def kernels(p: LIFParameters, spike: Spike, compile_them: bool) -> Kernels:
    """Forward and backward of neurons, on inputs of shape (T, M).

    forward: s[t] = w[t] > v_threshold
    backward: dL/dw[t] = dL/ds[t] s'(w[t] - v_threshold) + (1 - s[t]) (1 - dt/tau) dL/dw[t+1];
    dL/dI[t] = r dt/tau dL/dw[t]
    """

    def forward(x: Tensor) -> Tensor:
        return torch.stack([s.to(x.dtype) for s in potentials(x, p)[1]])

    def backward(x: Tensor, gradient: Tensor) -> Tensor:
        before_reset, fired = potentials(x, p)
        after = torch.zeros_like(x[0])
        out = []
        for w, s, g in zip(reversed(before_reset), reversed(fired), reversed(gradient.unbind(0)), strict=True):
            own = g * spike.derivative(w - p.v_threshold) + torch.where(s, 0.0, after)
            out.append(p.dt / p.tau * p.r * own)
            after = (1 - p.dt / p.tau) * own
        return torch.stack(out[::-1])

    if compile_them:
        # Dynamic: nodes and tokens vary from batch to batch. T is unrolled, and each T compiled for itself.
        return (torch.compile(forward, fullgraph=True, dynamic=True),
                torch.compile(backward, fullgraph=True, dynamic=True))  # fmt: skip
    return forward, backward


class MultiStepLIF(torch.autograd.Function):
    """Spikes of all steps; only the input is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: LIFParameters, spike: Spike) -> Tensor:
        """Spikes of inputs of shape (T, M)."""
        ctx.save_for_backward(x)
        ctx.settings = p, spike
        return native.forward(x, p) if native.usable(x) else kernels(p, spike, x.is_cuda)[0](x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the input."""
        (x,), gradient = ctx.saved_tensors, gradients[0].contiguous()
        p, spike = ctx.settings
        if native.usable(x):
            return native.backward(x, gradient, p, spike), None, None
        return kernels(p, spike, x.is_cuda)[1](x, gradient), None, None


def lif(current: Tensor, p: LIFParameters, spike: Spike) -> Tensor:
    """Spikes of LIF neurons for the current of every step, from rest: :func:`gshn.neurons.lif.lif_sequence`, faster.

    Args:
        current: Shape (T, ...).
        p: Parameters.
        spike: Heaviside function with surrogate derivative.

    Returns:
        Spikes in {0, 1}, shape (T, ...), in the current's dtype.
    """
    spikes: Tensor = MultiStepLIF.apply(current.reshape(len(current), -1), p, spike)
    return spikes.reshape(current.shape)
