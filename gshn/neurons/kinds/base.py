"""What a neuron is to the discrete path."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gshn.neurons.lif import LIFParameters


@dataclass(frozen=True)
class Neuron(ABC):
    """Currents of all steps -> outputs of all steps.

    Attributes:
        p: Threshold and time constants. Of a neuron without a membrane they still say where currents start, and how
            spiked text learning's traces decay.
    """

    p: LIFParameters

    @property
    def spikes(self) -> bool:
        """Whether the outputs are spikes."""
        return False

    @abstractmethod
    def __call__(self, current: Tensor) -> Tensor:
        """Outputs for currents of shape (T, ..., C), of the same shape."""

    def nir_fields(self, neurons: int) -> dict[str, Any]:
        """Fields of the NIR node, ``type`` included, of ``neurons`` spiking neurons."""
        raise NotImplementedError
