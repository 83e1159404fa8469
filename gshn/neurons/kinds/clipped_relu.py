"""The fair twin without spikes: bounded as firing rates are, under the same penalty on its mean."""

from __future__ import annotations

from torch import Tensor

from gshn.neurons.kinds.base import Neuron
from gshn.neurons.lif import LIFParameters, Spike

KINDS = {"clipped_relu": {"spikes": False, "rates": True, "help": "min(1, max(0, current))"}}


class ClippedReLU(Neuron):
    """min(1, max(0, current)), in one step."""

    def __call__(self, current: Tensor) -> Tensor:
        """Activations in [0, 1]."""
        return current.clamp(0.0, 1.0)


def make(name: str, p: LIFParameters, spike: Spike) -> ClippedReLU:
    """See :mod:`gshn.neurons.kinds`; ``spike`` is not used."""
    return ClippedReLU(p)
