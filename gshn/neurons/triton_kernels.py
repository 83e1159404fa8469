"""All steps of LIF neurons in one launch, forward and backward, on GPUs; ``multistep.py`` has the equations.

A program takes BLOCK neurons and keeps their state in registers: forward reads every current and writes every spike
once, backward reads the currents and the spikes' gradients and writes the currents'. The backward pass computes the
potentials of SEGMENT steps at a time anew; of longer sequences, forward keeps the potential before each segment. The
order of operations is that of :func:`gshn.neurons.lif.lif_step`, and is compiled without contraction: spikes are equal
to the CPU's to the last bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from gshn.neurons.lif import LIFParameters, Spike
from neuromorphic.execution.native import SURROGATES

SEGMENT = 16
"""Steps of which a thread's registers hold the potentials."""
NUMBERS = {torch.float32: tl.float32, torch.float64: tl.float64}


class Launch(NamedTuple):
    """How neurons are shared out: each of a program's ``warps`` times 32 threads takes ``elements`` of them."""

    elements: int
    warps: int


FORWARD = Launch(2, 2)
BACKWARD = Launch(1, 1)


@triton.jit
def _step(v, x, A: tl.constexpr, R: tl.constexpr, LEAK: tl.constexpr, THRESHOLD: tl.constexpr, RESET: tl.constexpr):
    w = v + A * (LEAK - v + R * x)
    return w, tl.where(w > THRESHOLD, RESET, w)


@triton.jit
def _reciprocal(q):
    """1 / q of a positive q: a division takes twice the registers, and half as many neurons were under way."""
    y = tl.rsqrt(q)
    return y * y


@triton.jit
def _derivative(u, SURROGATE: tl.constexpr, K: tl.constexpr):
    if SURROGATE == 0:
        z = (1.5707963267948966 * K) * u
        return (K / 2) * _reciprocal(z * z + 1)
    elif SURROGATE == 1:
        z = K * tl.abs(u) + 1
        return _reciprocal(z * z)
    else:
        e = tl.exp(-tl.abs(K * u))  # the derivative is even, and this cannot overflow
        return K * e * _reciprocal((e + 1) * (e + 1))


@triton.jit
def _forward(
    x_ptr, x_stride, s_ptr, v_ptr, neurons, steps,
    A: tl.constexpr, R: tl.constexpr, LEAK: tl.constexpr, THRESHOLD: tl.constexpr, RESET: tl.constexpr,
    KEEP: tl.constexpr, SEGMENT: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, NUMBER: tl.constexpr,
):  # fmt: skip
    stride, m = tl.cast(x_stride, tl.int64), tl.cast(neurons, tl.int64)
    i = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < m
    v = tl.full([BLOCK], 0, NUMBER)
    for first in range(0, steps, SEGMENT):
        if KEEP:
            tl.store(v_ptr + first // SEGMENT * m + i, v, mask=inside)
        # All loads of a segment before its first store, so that they are under way together. Their mask is no `&` of a
        # tensor and a scalar: of that the interpreter of Triton 3.9 makes an integer, which it then refuses as a mask.
        xs = ()
        for k in tl.static_range(SEGMENT):
            there = inside if EVEN else tl.where(first + k < steps, inside, False)
            xs = xs + (tl.load(x_ptr + (first + k) * stride + i, mask=there, other=0.0),)
        for k in tl.static_range(SEGMENT):
            there = inside if EVEN else tl.where(first + k < steps, inside, False)
            w, v = _step(v, xs[k], A, R, LEAK, THRESHOLD, RESET)
            tl.store(s_ptr + (first + k) * m + i, (w > THRESHOLD).to(NUMBER), mask=there)


@triton.jit
def _backward(
    x_ptr, x_stride, g_ptr, v_ptr, out_ptr, neurons, steps,
    A: tl.constexpr, R: tl.constexpr, LEAK: tl.constexpr, THRESHOLD: tl.constexpr, RESET: tl.constexpr,
    SURROGATE: tl.constexpr, K: tl.constexpr,
    KEPT: tl.constexpr, SEGMENT: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, NUMBER: tl.constexpr,
):  # fmt: skip
    stride, m = tl.cast(x_stride, tl.int64), tl.cast(neurons, tl.int64)
    i = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < m
    after = tl.full([BLOCK], 0, NUMBER)
    segments = (steps + SEGMENT - 1) // SEGMENT
    for back in range(segments):
        segment = segments - 1 - back
        first = segment * SEGMENT
        if KEPT:
            v = tl.load(v_ptr + segment * m + i, mask=inside, other=0.0)
        else:
            v = tl.full([BLOCK], 0, NUMBER)
        xs, gs, ws = (), (), ()
        for k in tl.static_range(SEGMENT):
            there = inside if EVEN else tl.where(first + k < steps, inside, False)
            xs = xs + (tl.load(x_ptr + (first + k) * stride + i, mask=there, other=0.0),)
        for k in tl.static_range(SEGMENT):
            there = inside if EVEN else tl.where(first + k < steps, inside, False)
            gs = gs + (tl.load(g_ptr + (first + k) * m + i, mask=there, other=0.0),)
        for k in tl.static_range(SEGMENT):
            w, v = _step(v, xs[k], A, R, LEAK, THRESHOLD, RESET)
            ws = ws + (w,)
        for k in tl.static_range(SEGMENT):  # the steps after the last have no gradient, and hand none on
            there = inside if EVEN else tl.where(first + (SEGMENT - 1 - k) < steps, inside, False)
            w = ws[SEGMENT - 1 - k]
            own = gs[SEGMENT - 1 - k] * _derivative(w - THRESHOLD, SURROGATE, K) + tl.where(w > THRESHOLD, 0.0, after)
            tl.store(out_ptr + (first + (SEGMENT - 1 - k)) * m + i, A * R * own, mask=there)
            after = (1 - A) * own


def _constants(x: Tensor, p: LIFParameters, launch: Launch) -> dict[str, object]:
    steps = len(x)
    segment = min(steps, SEGMENT)
    return {
        "A": p.dt / p.tau, "R": p.r, "LEAK": p.v_leak, "THRESHOLD": p.v_threshold, "RESET": p.v_reset,
        "SEGMENT": segment, "EVEN": steps % segment == 0, "BLOCK": 32 * launch.elements * launch.warps,
        "NUMBER": NUMBERS[x.dtype], "num_warps": launch.warps, "enable_fp_fusion": False,
    }  # fmt: skip


def forward(x: Tensor, p: LIFParameters, keep: bool, launch: Launch = FORWARD) -> tuple[Tensor, Tensor | None]:
    """Spikes, and what :func:`backward` needs besides the inputs.

    Args:
        x: Inputs, shape (T, M), float32 or float64, neighbours in memory along M.
        p: Parameters.
        keep: Whether there will be a backward pass.
        launch: How neurons are shared out.

    Returns:
        Spikes, shape (T, M); and the potentials before each segment, shape (segments, M), None where one segment holds
        all steps.
    """
    steps, m = x.shape
    constants = _constants(x, p, launch)
    spikes = torch.empty_like(x, memory_format=torch.contiguous_format)
    kept = x.new_empty(-(-steps // SEGMENT), m) if keep and steps > SEGMENT else None
    with torch.cuda.device_of(x):
        _forward[(triton.cdiv(m, constants["BLOCK"]),)](
            x, x.stride(0), spikes, spikes if kept is None else kept, m, steps, KEEP=kept is not None, **constants
        )
    return spikes, kept


def backward(
    x: Tensor, kept: Tensor | None, gradient: Tensor, p: LIFParameters, spike: Spike, launch: Launch = BACKWARD
) -> Tensor:
    """Gradient of the inputs, from that of the spikes, which is contiguous; both of shape (T, M).

    Args:
        x, kept: Inputs, and what :func:`forward` kept.
        gradient: Gradient of the spikes.
        p, spike: Parameters and surrogate.
        launch: How neurons are shared out.
    """
    steps, m = x.shape
    constants = _constants(x, p, launch)
    out = torch.empty_like(gradient)
    with torch.cuda.device_of(x):
        _backward[(triton.cdiv(m, constants["BLOCK"]),)](
            x, x.stride(0), gradient, gradient if kept is None else kept, out, m, steps,
            SURROGATE=SURROGATES[spike.name], K=spike.slope, KEPT=kept is not None, **constants,
        )  # fmt: skip
    return out
