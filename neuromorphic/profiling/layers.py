"""Rows of reports: spikes, operations and memory of each layer."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from neuromorphic.backends import Precision
from neuromorphic.execution.operations import LayerCount
from neuromorphic.profiling.energy import Operations

STATE_BYTES: dict[Precision, int] = {"float": 4, "fixed": 3}
"""Bytes of a potential or a current: float32, or the 24 bits of Loihi."""
WEIGHT_BYTES: dict[Precision, int] = {"float": 4, "fixed": 1}


def layer_row(
    name: str, count: LayerCount, spikes_per_step: NDArray, precision: Precision, samples: int, unit: str
) -> dict[str, Any]:
    """Row of a layer: counts over all samples and steps, and the mean memory of one sample.

    Args:
        name: Name of the layer.
        count: Counts over all samples.
        spikes_per_step: Spikes in each step over all samples, shape (T,).
        precision: ``float`` or ``fixed``; it determines the bytes of a number.
        samples: Number of samples.
        unit: Name of a sample, such as ``image``.
    """
    return {
        "name": name,
        "neurons": count.neurons,
        "spikes": count.spikes,
        "spikes_per_step": spikes_per_step.tolist(),
        "firing_rate": count.spikes / count.cells if count.cells else 0.0,
        "synaptic_operations": count.synaptic_operations,
        "effective_macs": count.effective_macs,
        "effective_acs": count.effective_acs,
        "dense_operations": count.dense_operations,
        "neuron_updates": count.neuron_updates,
        "bias_additions": count.bias_additions,
        "delayed_messages": count.delayed_messages,
        "synapses": count.synapses,
        "activation_sparsity": count.activation_sparsity,
        "connection_sparsity": count.connection_sparsity,
        f"weight_bytes_per_{unit}": count.synapses / samples * WEIGHT_BYTES[precision],
        f"state_bytes_per_{unit}": count.state_values / samples * STATE_BYTES[precision],
    }


def layer_operations(count: LayerCount, samples: int, spiking: bool) -> Operations:
    """Mean operations of one sample for a layer of neurons with one synapse for each weight.

    Graded messages are sent like spikes. An output has no neurons and sends no messages.
    """
    sent = count.spikes if count.neuron_updates or spiking else 0
    total = Operations(
        mac=count.effective_macs,
        ac=count.effective_acs,
        neuron_update=count.neuron_updates,
        firing=sent if spiking else 0,
        spike=sent,
    )
    return total * (1 / samples)
