"""``firing_rate``: the regulariser of firing rates."""

from __future__ import annotations

from torch import Tensor

from gshn.distributed import global_mean, global_sum
from gshn.encoders.spiking import SpikeTrains
from gshn.losses.base import PairStates

KINDS = {
    "firing_rate": {
        "weight": 1.0,
        "order": 5,
        "needs": "rates",
        # Spikes per neuron and step.
        "options": {"firing_rate_target": {"default": 0.1, "low": 0, "high": 1, "above": True, "below": True}},
        "help": "penalty on mean firing rates above firing_rate_target",
    }
}


def firing_rate_penalty(spikes: SpikeTrains, target: float, share: Tensor | None = None) -> Tensor:
    """Penalise layers whose mean firing rate exceeds a target.

    L = sum_k max(0, rate_k / target - 1)^2, with rate_k the mean of layer k's spikes over steps, nodes and channels.

    Args:
        spikes: Spikes of every layer.
        target: Spikes per neuron and step.
        share: Weight of each node in the mean, shape (N,); None: equal weights.
    """
    rates = [mean_rate(layer, share) for layer in spikes.layers]
    return sum((rate / target - 1).clamp(min=0) ** 2 for rate in rates)  # type: ignore[return-value]


def mean_rate(layer: Tensor, share: Tensor | None) -> Tensor:
    """Mean of a layer's spikes, shape (T, N, C), over everybody's nodes, each with its ``share``; 0 without nodes."""
    if share is None:
        return global_mean(layer)
    # Sums of whole numbers first, which float32 holds exactly.
    steps, _, channels = layer.shape
    spikes = global_sum(layer.sum(dim=(0, 2)) * share)
    return spikes / (global_sum(share) * steps * channels).clamp(min=1)


def loss(name: str, states: PairStates) -> Tensor:
    """See :func:`firing_rate_penalty`."""
    return firing_rate_penalty(states.spikes, states.weights.firing_rate_target)
