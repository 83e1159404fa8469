"""Quantisation-aware training: synapses of the spiking path, rounded as the fixed-point compiler rounds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gshn.errors import ConfigError
from neuromorphic.lava.lava_dl import has_lava_dl, import_lava_dl
from neuromorphic.requirements import INSTALL_LAVA

if TYPE_CHECKING:
    from gshn.encoders.aggregation import Aggregation

LEVELS = 127
"""Number of steps from 0 to the largest weight: signed 8-bit weights are the even integers in +-254."""

Round = Callable[[Tensor, Tensor], Tensor]
"""Rounds its first argument to multiples of its second, with the gradient of the identity."""


def slayer_rounding() -> Round:
    """lava-dl's ``slayer.utils.quantize.quantize``.

    ``quantize_hook_fx`` beside it, which slayer's blocks use, does not fit: its step is a constant, and it lets
    integers up to +-512 through, twice what 8 bits hold.

    Raises:
        ConfigError: lava-dl is not installed.
    """
    if not has_lava_dl():
        raise ConfigError(f"config key 'model.spiking.quantize' is True: training needs lava-dl for it: {INSTALL_LAVA}")
    return import_lava_dl("lava.lib.dl.slayer.utils.quantize").quantize


def weight_step(weight: Tensor, factor: Tensor | float = 1.0) -> Tensor:
    """Step between neighbouring 8-bit weights, max |factor W| / 127, shape ().

    The step of the compiler (:mod:`neuromorphic.compiler.quantize`). No gradient passes it.
    """
    largest = (weight.detach().abs().max() * factor) / LEVELS
    # All weights are 0: any step will do.
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def quantized_aggregation(spikes: Tensor, weight: Tensor, aggregate: Aggregation, rounding: Round) -> Tensor:
    """Synaptic sums of spikes over the rounded synapses of a scene graph, shape (T, N, K) -> (T, N, C).

    out[t, i] = sum_j Q(A[i, j] W) s[t, j],  Q(M) = step round(M / step),  step = max |A| max |W| / 127

    A chip holds kron(A, W). Every product A[i, j] W[k, l] is rounded separately, to multiples of one step, which the
    largest product of the whole packed network determines. It is not enough to round W: a segment with many neighbours
    has small A[i, j], so the relative rounding error of its synapses is larger. A degree-normalised A has few distinct
    values; each value is one matrix product over the rows in which it occurs.

    Args:
        spikes: s, shape (T, N, K).
        weight: W, shape (C, K).
        aggregate: A, with few distinct values.
        rounding: Rounds to multiples of a step.
    """
    source, target = aggregate.edge_index
    a = aggregate.weight.to(spikes.dtype)
    step = weight_step(weight, a.abs().max()) if len(a) else weight_step(weight)
    out = spikes.new_zeros(*spikes.shape[:2], weight.shape[0])
    values, which = a.unique(return_inverse=True)
    for v, value in enumerate(values):
        edges = (which == v).nonzero().squeeze(1)
        rows, row = target[edges].unique(return_inverse=True)
        sums = spikes.new_zeros(spikes.shape[0], len(rows), spikes.shape[2])
        sums = sums.index_add(1, row, spikes.index_select(1, source[edges]))
        out = out.index_add(1, rows, sums @ rounding(value * weight, step).T)
    return out
