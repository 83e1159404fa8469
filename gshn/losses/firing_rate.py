"""Firing-rate regulariser."""

from __future__ import annotations

from torch import Tensor

from gshn.distributed import global_mean
from gshn.encoders.spiking import SpikeTrains


def firing_rate_penalty(spikes: SpikeTrains, target: float) -> Tensor:
    """Penalise layers whose mean firing rate exceeds a target.

    L = sum_k max(0, rate_k / target - 1)^2, with rate_k the mean of layer k's spikes over steps, nodes and channels.

    Args:
        spikes: Spikes of every layer.
        target: Spikes per neuron and step.
    """
    rates = [global_mean(layer) for layer in spikes.layers]
    return sum((rate / target - 1).clamp(min=0) ** 2 for rate in rates)  # type: ignore[return-value]
