"""The twin without spikes that spiking is compared with: neither bounded nor penalised."""

from __future__ import annotations

from torch import Tensor, relu

from gshn.neurons.kinds.base import Neuron
from gshn.neurons.lif import LIFParameters, Spike

KINDS = {"relu": {"spikes": False, "rates": False, "help": "max(0, current)"}}


class ReLU(Neuron):
    """max(0, current), in one step."""

    def __call__(self, current: Tensor) -> Tensor:
        """Activations, at least 0."""
        return relu(current)


def make(name: str, p: LIFParameters, spike: Spike) -> ReLU:
    """See :mod:`gshn.neurons.kinds`; ``spike`` is not used."""
    return ReLU(p)
