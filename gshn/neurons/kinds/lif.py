"""Leaky integrate-and-fire neurons: what GSHN is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from gshn.neurons.kinds.base import Neuron
from gshn.neurons.lif import LIFParameters, Spike
from gshn.neurons.multistep import lif

KINDS = {"lif": {"spikes": True, "rates": True, "help": "leaky integrate-and-fire"}}


@dataclass(frozen=True)
class LIF(Neuron):
    """s = LIF(current), see :func:`gshn.neurons.lif.lif_step`; v = 0 before the first step.

    Attributes:
        spike: The threshold, with its surrogate gradient.
    """

    spike: Spike

    @property
    def spikes(self) -> bool:
        """See :class:`~gshn.neurons.kinds.base.Neuron`."""
        return True

    def __call__(self, current: Tensor) -> Tensor:
        """Spikes in {0, 1}."""
        return lif(current, self.p, self.spike)

    def nir_fields(self, neurons: int) -> dict[str, Any]:
        """Fields of ``nir.LIF``, in float64."""
        fields = ("tau", "r", "v_leak", "v_threshold", "v_reset")
        return {"type": "LIF", **{name: np.full(neurons, getattr(self.p, name)) for name in fields}}


def make(name: str, p: LIFParameters, spike: Spike) -> LIF:
    """See :mod:`gshn.neurons.kinds`."""
    return LIF(p, spike)
