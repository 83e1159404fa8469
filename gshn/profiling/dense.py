"""Counting what PyTorch computes in a call, operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from neuromorphic.execution.native import by_operators
from neuromorphic.profiling.energy import Operations

aten = torch.ops.aten

PER_OUTPUT = {
    1: (
        aten.add, aten.add_, aten.sub, aten.rsub, aten.mul, aten.mul_, aten.div, aten.div_, aten.neg, aten.abs,
        aten.exp, aten.log, aten.sqrt, aten.rsqrt, aten.reciprocal, aten.pow, aten.sin, aten.cos, aten.tanh,
        aten.sigmoid, aten.erf, aten.relu, aten.relu_, aten.leaky_relu, aten.gelu, aten.silu, aten.hardtanh,
        aten.hardtanh_, aten.clamp, aten.clamp_min, aten.clamp_max, aten.maximum, aten.minimum,
    ),
    2: (aten.native_batch_norm, aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training,
        aten.addcmul, aten.lerp),
    # A maximum, a difference, an exponential, a sum, a division.
    5: (aten._softmax, aten._log_softmax, aten._safe_softmax),
    # Two sums, a difference, a product with the deviation, and the affine map.
    6: (aten.native_layer_norm, aten.native_group_norm),
}  # fmt: skip
"""Arithmetic operators and how often they compute for each number that they give."""

PER_INPUT = (aten.sum, aten.mean, aten.amax, aten.max, aten.prod, aten.linalg_vector_norm)
"""Operators that reduce: one computation for each number that they take."""

SCATTERS = {aten.index_add: 3, aten.index_add_: 3, aten.scatter_add: 3, aten.scatter_add_: 3,
            aten.scatter_reduce: 3, aten.scatter_reduce_: 3}  # fmt: skip
"""Operators that aggregate over a graph's edges, and the place of what they add among their arguments."""


def _per_output(times: int) -> Callable[..., int]:
    def count(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
        out = out_val[0] if isinstance(out_val, tuple | list) else out_val
        return times * out.numel() if isinstance(out, Tensor) and out.is_floating_point() else 0

    count._get_raw = True  # type: ignore[attr-defined]  # tensors, and not their shapes
    return count


def _of_argument(place: int) -> Callable[..., int]:
    def count(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
        x = args[place]
        return x.numel() if isinstance(x, Tensor) and x.is_floating_point() else 0

    count._get_raw = True  # type: ignore[attr-defined]
    return count


def _windows(x: Tensor, out: Tensor, pairs: Callable[[int, int, int], int]) -> int:
    """Numbers in all windows; ``pairs`` gives those of one axis, by its number (0, 1) and sizes before and after."""
    if not out.is_floating_point():
        return 0
    return pairs(0, x.shape[-2], out.shape[-2]) * pairs(1, x.shape[-1], out.shape[-1]) * out.shape[:-2].numel()


def _of_pooling(x: Tensor, size: list[int], *rest: Any, out_val: Any = None, **kwargs: Any) -> int:
    """avg_pool2d and max_pool2d: what lies in the padding is not a number."""
    out = out_val[0] if isinstance(out_val, tuple | list) else out_val
    stride, padding, dilation = (*rest, *((),) * 3)[:3]
    # In the place of max_pool2d's dilation avg_pool2d has a bool.
    dilation = dilation if isinstance(dilation, tuple | list) else ()

    def pairs(axis: int, before: int, after: int) -> int:
        kernel = _axis(size, axis, 1)
        step, pad, apart = (_axis(v, axis, d) for v, d in ((stride, kernel), (padding, 0), (dilation, 1)))
        return sum(0 <= k * step + tap * apart - pad < before for k in range(after) for tap in range(kernel))

    return _windows(x, out, pairs)


def _of_adaptive_pooling(x: Tensor, *_: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Windows of nearly the same size, which overlap where the sizes do not divide."""
    return _windows(
        x,
        out_val,
        lambda _, before, after: sum(-(-(k + 1) * before // after) - k * before // after for k in range(after)),
    )


_of_pooling._get_raw = _of_adaptive_pooling._get_raw = True  # type: ignore[attr-defined]


def _axis(values: Any, axis: int, default: int) -> int:
    """One of two numbers; a single one stands for both."""
    return int(values[min(axis, len(values) - 1)]) if values else default


ARITHMETIC: dict[Any, Callable[..., int]] = {
    **{operator: _per_output(times) for times, operators in PER_OUTPUT.items() for operator in operators},
    **{operator: _of_argument(0) for operator in PER_INPUT},
    # Windows may overlap: one computation for each number in each window.
    aten.avg_pool2d: _of_pooling,
    aten.max_pool2d_with_indices: _of_pooling,
    aten._adaptive_avg_pool2d: _of_adaptive_pooling,
    **{operator: _of_argument(place) for operator, place in SCATTERS.items()},
}


@torch.no_grad()
def count_operations(call: Callable[[], object]) -> Operations:
    """Count the multiply-accumulates and other arithmetic of a call on the CPU or a GPU.

    Matrix products, convolutions and attention by :class:`torch.utils.flop_counter.FlopCounterMode`, two flops a
    multiply-accumulate; all other arithmetic by :data:`ARITHMETIC`, graph aggregation included. Zeros count as any
    number, also those that a convolution is padded with; the bias of a product is taken as part of it. Moving and
    comparing numbers, and embeddings, which are look-ups, do not count.
    """
    counter = FlopCounterMode(display=False, custom_mapping=ARITHMETIC)
    # Attention by its definition: its fused CPU kernel is unknown to the counter.
    with sdpa_kernel(SDPBackend.MATH), by_operators(), counter:
        call()
    flops = counter.get_flop_counts().get("Global", {})
    elementwise = sum(count for operator, count in flops.items() if operator in ARITHMETIC)
    return Operations(mac=(sum(flops.values()) - elementwise) / 2, elementwise=elementwise)
