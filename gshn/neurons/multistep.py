"""All steps of LIF neurons in one call, forward and backward.

Autograd keeps several tensors of the input's size for each step and walks back through them one operation at a time.
Here the backward pass computes the potentials anew from the input, so that nothing but the input is kept (on a GPU of
more than 16 steps: and every 16th potential); and each pass is one kernel: forward reads the input and writes the
spikes, backward reads the input and the spikes' gradient and writes the input's. On the CPU it is C
(:mod:`neuromorphic.execution.native`), on GPUs Triton (:mod:`gshn.neurons.triton_kernels`); where neither is available
the functions below run operation by operation, with the same spikes.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gshn.neurons.lif import LIFParameters, Spike
from neuromorphic.execution import native


@cache
def gpu_kernels() -> ModuleType | None:
    """The kernels for GPUs; None where Triton is not installed."""
    try:
        from gshn.neurons import triton_kernels
    except ImportError:
        return None
    return triton_kernels


def _on_gpu(x: Tensor) -> ModuleType | None:
    """The kernels for GPUs if they can take inputs of shape (T, M)."""
    kernels = gpu_kernels() if x.is_cuda and not native.only_operators() else None
    return kernels if kernels is not None and x.dtype in kernels.NUMBERS else None


def potentials(x: Tensor, p: LIFParameters) -> tuple[list[Tensor], list[Tensor]]:
    """w and whether w > v_threshold, in every step, each of shape (M,), for inputs of shape (T, M).

    The order of operations is that of :func:`gshn.neurons.lif.lif_step`, so that spikes are equal to the last bit.
    """
    v = torch.zeros_like(x[0])
    before_reset, fired = [], []
    for current in x.unbind(0):
        w = v + (p.dt / p.tau) * (p.v_leak - v + p.r * current)
        s = w > p.v_threshold
        v = torch.where(s, p.v_reset, w)
        before_reset.append(w)
        fired.append(s)
    return before_reset, fired


def forward_by_operators(x: Tensor, p: LIFParameters) -> Tensor:
    """s[t] = w[t] > v_threshold, for inputs of shape (T, M)."""
    return torch.stack([s.to(x.dtype) for s in potentials(x, p)[1]])


def backward_by_operators(x: Tensor, gradient: Tensor, p: LIFParameters, spike: Spike) -> Tensor:
    """The input's gradient from that of the spikes, both of shape (T, M).

    dL/dw[t] = dL/ds[t] s'(w[t] - v_threshold) + (1 - s[t]) (1 - dt/tau) dL/dw[t+1];  dL/dI[t] = r dt/tau dL/dw[t]
    """
    before_reset, fired = potentials(x, p)
    after = torch.zeros_like(x[0])
    out = []
    for w, s, g in zip(reversed(before_reset), reversed(fired), reversed(gradient.unbind(0)), strict=True):
        own = g * spike.derivative(w - p.v_threshold) + torch.where(s, 0.0, after)
        out.append(p.dt / p.tau * p.r * own)
        after = (1 - p.dt / p.tau) * own
    return torch.stack(out[::-1])


class MultiStepLIF(torch.autograd.Function):
    """Spikes of all steps; what is kept for the backward pass: see above."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: LIFParameters, spike: Spike) -> Tensor:
        """Spikes of inputs of shape (T, M)."""
        ctx.settings, ctx.gpu, kept = (p, spike), _on_gpu(x), None
        spikes: Tensor
        if ctx.gpu is not None:
            x = x if x.shape[1] < 2 or x.stride(1) == 1 else x.contiguous()
            spikes, kept = ctx.gpu.forward(x, p, ctx.needs_input_grad[0])
        elif native.usable(x):
            spikes = native.forward(x, p)
        else:
            spikes = forward_by_operators(x, p)
        ctx.save_for_backward(x, kept)
        return spikes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the input, shape (T, M), from that of the spikes."""
        (x, kept), gradient = ctx.saved_tensors, gradients[0].contiguous()
        if ctx.gpu is not None:
            return ctx.gpu.backward(x, kept, gradient, *ctx.settings), None, None
        if native.usable(x):
            return native.backward(x, gradient, *ctx.settings), None, None
        return backward_by_operators(x, gradient, *ctx.settings), None, None


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
