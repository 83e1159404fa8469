"""Counting what a run made neurons and synapses do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.network import GRADED, LIF, SUBTRACT, Network, Population
from neuromorphic.compiler.operators import Kron, Operator, expanded

DYNAMIC = (LIF, SUBTRACT, GRADED)
"""Kinds of populations whose neurons have a state, updated in every step."""


@dataclass(frozen=True)
class LayerCount:
    """Of one population and the synapses that lead to it, summed over samples and steps; counts can be added.

    A synapse is a weight other than 0 between two neurons. An operation is a synapse passed by a message; it is a
    multiply-accumulate (MAC) where the messages of the source are numbers, and an accumulate (AC) where they are all
    0 or 1 (or -1), as NeuroBench has it (Yik et al., Nature Communications 16, 1545, 2025). A message that would arrive
    after the last step does not count; an output that is just what a population sends has no synapses; what a bias adds
    is part of the neuron's update.

    Attributes:
        neurons: Over all samples.
        spikes: Messages other than 0 that the population sent.
        neuron_updates: Neurons times steps; 0 where neurons have no state.
        state_values: Numbers that are kept from step to step: potentials, and currents where they do not vanish at
            once.
        synapses: Over all samples.
        dense_operations: Operations if every message were other than 0.
        effective_macs: Operations by messages other than 0, of sources that send numbers.
        effective_acs: Likewise, of sources that send spikes.
        possible_synapses: If every source were connected to every neuron.
        cells: Messages that the population sent, zeros included.
    """

    neurons: int = 0
    spikes: int = 0
    neuron_updates: int = 0
    state_values: int = 0
    synapses: int = 0
    dense_operations: int = 0
    effective_macs: int = 0
    effective_acs: int = 0
    possible_synapses: int = 0
    cells: int = 0

    @property
    def synaptic_operations(self) -> int:
        """Effective operations, MACs and ACs."""
        return self.effective_macs + self.effective_acs

    @property
    def activation_sparsity(self) -> float:
        """Share of zeros among the messages that the population sent."""
        return 1 - self.spikes / self.cells if self.cells else 0.0

    @property
    def connection_sparsity(self) -> float:
        """Share of the possible synapses that do not exist."""
        return 1 - self.synapses / self.possible_synapses if self.possible_synapses else 0.0

    def __add__(self, other: LayerCount) -> LayerCount:
        return LayerCount(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def count_layers(network: Network, sent: Mapping[str, NDArray]) -> dict[str, LayerCount]:
    """Count, by population.

    Args:
        network: Float: what is quantised to 0 is a synapse still.
        sent: Messages of every population and input, shape (T, n) or (B, T, n) for B samples.
    """
    messages = {name: x if x.ndim == 3 else x[None] for name, x in ((n, np.asarray(v)) for n, v in sent.items())}
    counts = {p.name: count_neurons(p, messages[p.name]) for p in network.populations}
    for projection in network.projections:
        if not network.is_direct(projection):
            for delay, operator in projection.taps.items():
                counts[projection.target] += count_synapses(operator, messages[projection.source], delay)
    return counts


def count_neurons(population: Population, sent: NDArray) -> LayerCount:
    """Count a population that sent messages of shape (B, T, n)."""
    samples, steps, _ = sent.shape
    neurons = samples * population.size
    dynamic = population.kind in DYNAMIC
    return LayerCount(
        neurons=neurons,
        spikes=int(np.count_nonzero(sent)),
        neuron_updates=neurons * steps if dynamic else 0,
        state_values=samples * (population.size + int(np.count_nonzero(population.du != 1))) if dynamic else 0,
        cells=sent.size,
    )


def count_synapses(operator: Operator, sent: NDArray, delay: int = 0) -> LayerCount:
    """Count synapses that get messages of shape (B, T, n), ``delay`` steps later."""
    samples, steps, sources = sent.shape
    arriving = sent[:, : max(steps - delay, 0)].reshape(-1, sources)
    per_source = fan_out(operator)
    synapses = int(per_source.sum())
    operations = int(np.count_nonzero(arriving, axis=0) @ per_source)
    binary = sent.dtype == bool or bool(((sent == 0) | (np.abs(sent) == 1)).all())
    return LayerCount(
        synapses=samples * synapses,
        dense_operations=len(arriving) * synapses,
        effective_macs=0 if binary else operations,
        effective_acs=operations if binary else 0,
        possible_synapses=samples * operator.shape[0] * operator.shape[1],
    )


def fan_out(operator: Operator) -> NDArray[np.int64]:
    """Synapses of each source: entries other than 0 in each column."""
    if isinstance(operator, Kron):
        left, right = fan_out(operator.left), np.count_nonzero(operator.right, axis=0)
        return np.kron(left, right)
    matrix = expanded(operator, 0)
    return np.bincount(matrix.indices[matrix.data != 0], minlength=matrix.shape[1]).astype(np.int64)
