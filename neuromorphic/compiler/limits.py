"""What chips hold, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """A chip.

    Attributes:
        name: Its name.
        cores: Neuron cores of a chip.
        neurons: Neurons a core, at most.
        axons: Axons that lead into a core, so also the fan-in of a neuron, at most.
        synapse_bytes: Memory for synapses a core.
        delay: Longest synaptic delay in steps.
        source: Where the figures are from, and which of them are not public.
    """

    name: str
    cores: int
    neurons: int
    axons: int
    synapse_bytes: int
    delay: int
    source: str


LIMITS = {
    "loihi1": Limits(
        name="Loihi",
        cores=128,
        neurons=1024,
        axons=4096,
        synapse_bytes=128 * 1024,
        delay=62,
        source="Davies et al., IEEE Micro 38(1), 2018: 1,024 neurons, 4,096 axons, 128 KB of synapses a core",
    ),
    "loihi2": Limits(
        name="Loihi 2",
        cores=128,
        neurons=8192,
        axons=4096,
        synapse_bytes=128 * 1024,
        delay=62,
        source="Intel's Loihi 2 technology brief, 2021: 128 cores, up to 8,192 neurons a core, fewer the more state a "
        "neuron has. Axons and synapse memory a core are not public in this form: Loihi's are taken. Delays: Lava's "
        "models have 6 bits",
    ),
}

RULES = {
    "Input": "from the host",
    "Output": "to the host",
    "Affine": "8-bit weights; the bias from the host, so that it starts in time",
    "Linear": "8-bit weights",
    "Scale": "folded into weights",
    "Conv1d": "unrolled into synapses",
    "Conv2d": "unrolled into synapses",
    "SumPool2d": "unrolled into synapses",
    "AvgPool2d": "unrolled into synapses",
    "Flatten": "nothing to do",
    "Delay": "synaptic delay, to 62 steps",
    "Threshold": "LIF without memory; 1 / 4096 of it stays",
    "IF": "LIF",
    "LIF": "LIF; a tau for each population",
    "CubaLIF": "LIF; a tau_syn and tau_mem for each population",
    "I": "no: sends its potential, Lava has no such process for the chip",
    "LI": "no: as I",
    "CubaLI": "no: as I",
    "NIRGraph": "its nodes",
}
"""What becomes of each primitive on Loihi 2."""
