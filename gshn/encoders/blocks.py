"""Comparisons of all with all, a block at a time: memory stays that of a block, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def numbers_per_block(device: torch.device, in_all: int) -> int:
    """How many numbers the largest tensor of a block may have, where without blocks it had ``in_all``.

    On a CPU 4 MiB of float32, or all where all is at most 64 MiB, as a batch of drawn scenes is: a block that is
    all there is need not be computed anew in the backward pass. Larger ones are no faster, and in pieces leave
    holes in glibc's heap. Elsewhere 256 MiB: what costs there is the number of calls.
    """
    if device.type != "cpu":
        return 2**26
    return in_all if in_all <= 2**24 else 2**20


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, block: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        kind = inputs[0].device.type
        ctx.block, ctx.autocast = block, (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        ctx.save_for_backward(*inputs)
        return block(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1:]
        inputs = [x.detach().requires_grad_(need) for x, need in zip(ctx.saved_tensors, needed, strict=True)]
        with torch.enable_grad(), torch.autocast(*ctx.autocast):
            out = ctx.block(*inputs)
        asked = [x for x, need in zip(inputs, needed, strict=True) if need]
        found = iter(torch.autograd.grad(out, asked, gradients, allow_unused=True))
        return None, *(next(found) if need else None for need in needed)


def recomputed(block: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``block(*inputs)``, of which the backward pass keeps the inputs only, and computes the rest anew.

    As :func:`torch.utils.checkpoint.checkpoint`, which keeps more in memory when there are many blocks, and takes two
    seconds to import what it needs.

    Args:
        block: Draws no random numbers, and looks at no other tensor with gradients.
        inputs: At least one.
    """
    out: Tensor = _Recomputed.apply(block, *inputs)
    return out
