"""LIF kernels that write the potentials forward and read them backward, to compare with computing them anew."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _forward(x_ptr, s_ptr, w_ptr, m, T: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    v = tl.full([BLOCK], 0, tl.float32)
    xs = ()
    for t in tl.static_range(T):
        xs = xs + (tl.load(x_ptr + t * tl.cast(m, tl.int64) + i),)
    for t in tl.static_range(T):
        w = v + 0.5 * (0.0 - v + 2.0 * xs[t])
        v = tl.where(w > 1.0, 0.0, w)
        tl.store(s_ptr + t * tl.cast(m, tl.int64) + i, (w > 1.0).to(tl.float32))
        tl.store(w_ptr + t * tl.cast(m, tl.int64) + i, w)


@triton.jit
def _backward(w_ptr, g_ptr, out_ptr, m, T: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    after = tl.full([BLOCK], 0, tl.float32)
    ws, gs = (), ()
    for t in tl.static_range(T):
        ws = ws + (tl.load(w_ptr + t * tl.cast(m, tl.int64) + i),)
        gs = gs + (tl.load(g_ptr + t * tl.cast(m, tl.int64) + i),)
    for k in tl.static_range(T):
        w = ws[T - 1 - k]
        z = 3.141592653589793 * (w - 1.0)
        own = gs[T - 1 - k] * (1.0 / (1.0 + z * z)) + tl.where(w > 1.0, 0.0, after)
        tl.store(out_ptr + (T - 1 - k) * tl.cast(m, tl.int64) + i, own)
        after = 0.5 * own


def forward(x: Tensor, elements: int, warps: int) -> tuple[Tensor, Tensor]:
    """Spikes and potentials of currents of shape (T, M), of w = v / 2 + x; M is a multiple of the block."""
    block = 32 * elements * warps
    spikes, w = torch.empty_like(x), torch.empty_like(x)
    _forward[(x.shape[1] // block,)](
        x, spikes, w, x.shape[1], T=len(x), BLOCK=block, num_warps=warps, enable_fp_fusion=False
    )
    return spikes, w


def backward(w: Tensor, gradient: Tensor, elements: int, warps: int) -> Tensor:
    """The currents' gradient, by the surrogate atan of slope 2."""
    block = 32 * elements * warps
    out = torch.empty_like(w)
    _backward[(w.shape[1] // block,)](
        w, gradient, out, w.shape[1], T=len(w), BLOCK=block, num_warps=warps, enable_fp_fusion=False
    )
    return out
