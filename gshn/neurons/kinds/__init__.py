"""Neurons of the discrete path, a file for each kind (:mod:`gshn.registry`): ``model.spiking.neuron`` names one.

A file has ``make(name, p, spike)``, which makes the neuron: ``name`` is the whole text of the configuration.
"""

from __future__ import annotations

from gshn.config import SpikingConfig
from gshn.neurons.kinds.base import Neuron
from gshn.neurons.lif import LIFParameters, spike_function
from gshn.registry import NEURONS

__all__ = ["Neuron", "make_neuron"]


def make_neuron(config: SpikingConfig) -> Neuron:
    """The neuron that a configuration names.

    Raises:
        ConfigError: there is none, or its options cannot be used.
    """
    p = LIFParameters(tau=config.tau, dt=config.dt, v_threshold=config.v_threshold)
    spike = spike_function(config.surrogate, config.slope)
    neuron: Neuron = NEURONS.function(config.neuron)(config.neuron, p, spike)
    return neuron
