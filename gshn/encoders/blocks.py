"""Pairwise comparisons in blocks: memory is that of one block, in the forward and in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def numbers_per_block(device: torch.device, in_all: int) -> int:
    """Number of elements that the largest tensor of a block may have.

    On a CPU: everything in one block up to 64 MiB of float32 (a batch of drawn scenes), which needs no recomputation in
    the backward pass; else blocks of 4 MiB. Larger blocks are no faster, and fragment glibc's heap. On a GPU: blocks of
    256 MiB, because the cost there is the number of calls.

    Args:
        device: Where the block is computed.
        in_all: Number of elements without blocks.
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
    """``block(*inputs)``; only the inputs are kept for the backward pass, which computes the block again.

    :func:`torch.utils.checkpoint.checkpoint` does the same, but keeps more memory when there are many blocks, and its
    imports take two seconds.

    Args:
        block: A function that draws no random numbers and uses no other tensor with gradients.
        inputs: Its arguments, at least one.
    """
    out: Tensor = _Recomputed.apply(block, *inputs)
    return out
