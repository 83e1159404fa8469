"""Neurons of the discrete path, a file for each kind: its name is the word of ``model.spiking.neuron``.

A file says in ``SPIKES`` whether the outputs are spikes, over two steps or more, and in ``RATES`` whether the outputs
lie in [0, 1], so that their mean is a firing rate. :mod:`gshn.config` reads both without importing the file. And it has
``make(p, spike)``, which makes the neuron. Another kind takes such a file and no more.
"""

from __future__ import annotations

from importlib import import_module

from gshn.config import SpikingConfig
from gshn.neurons.kinds.base import Neuron
from gshn.neurons.lif import LIFParameters, spike_function

__all__ = ["Neuron", "make_neuron"]


def make_neuron(config: SpikingConfig) -> Neuron:
    """The neuron that a configuration names."""
    p = LIFParameters(tau=config.tau, dt=config.dt, v_threshold=config.v_threshold)
    spike = spike_function(config.surrogate, config.slope)
    neuron: Neuron = import_module(f"{__name__}.{config.neuron}").make(p, spike)
    return neuron
