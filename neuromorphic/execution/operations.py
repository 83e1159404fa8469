"""Counts of spikes, synaptic operations and neuron updates in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.network import GRADED, LIF, SUBTRACT, Network, Population
from neuromorphic.compiler.operators import Kron, Operator, expanded

DYNAMIC = (LIF, SUBTRACT, GRADED)
"""Kinds of populations whose neurons have a state, which is updated in every step."""

NOT_COUNTED = {
    "biases": "bias_additions are part of the neurons' updates, by count and by price",
    "delays": "delayed_messages are kept in memory; keeping and fetching them is no operation and has no price",
}
"""What biases and delays cost, for reports: both are counted apart, neither is among the synaptic operations."""


@dataclass(frozen=True)
class LayerCount:
    """Counts for one population and the synapses that lead to it, summed over samples and steps. Counts can be added.

    A synapse is a nonzero weight between two neurons, one for each delay. Linear nodes in a row are folded into it. An
    operation is a nonzero message at a synapse, counted in the step in which it is sent. It is an accumulate (AC) if
    the source spikes, and a multiply-accumulate (MAC) if the source sends numbers. Messages of an input that are 1 or
    -1 count as spikes. NeuroBench (Yik et al., Nature Communications 16, 1545, 2025) decides that for all messages of a
    run together; here it is decided for each message, so that samples and steps add up. An output that repeats a
    population has no synapses.

    Attributes:
        neurons: Number of neurons, over all samples.
        spikes: Number of nonzero messages that the population sent.
        neuron_updates: Neurons times steps; 0 for an output.
        bias_additions: Number of nonzero biases that were added to neurons or outputs, over all steps. They include the
            biases of linear nodes, and those that folding makes of v_leak, v_reset and a start at 0. They are no
            operations: energy models include those of neurons in the update.
        delayed_messages: Number of messages that are kept for later steps: for each source neuron, those of as many
            steps as its longest delay to this population. A loop without a Delay node has a delay of one step. They are
            no operations, and energy models leave them out.
        state_values: Number of values that are kept from step to step: potentials, and currents that last longer than a
            step.
        synapses: Number of synapses, over all samples.
        dense_operations: Number of operations if every message were nonzero.
        effective_macs: Number of operations by sources that send numbers.
        effective_acs: Number of operations by sources that spike.
        possible_synapses: Number of synapses if every source were connected to every neuron. A pair with several delays
            counts once for each.
        cells: Number of messages that the population sent, zeros included.
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
    bias_additions: int = 0
    delayed_messages: int = 0

    @property
    def synaptic_operations(self) -> int:
        """Effective operations: MACs and ACs."""
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
    """Counts of each population.

    Args:
        network: The float network. A weight that is quantised to 0 still counts as a synapse.
        sent: Messages of every population and input, shape (T, n) or (B, T, n) for B samples.
    """
    messages = {name: x if x.ndim == 3 else x[None] for name, x in ((n, np.asarray(v)) for n, v in sent.items())}
    counts = {p.name: count_neurons(p, messages[p.name]) for p in network.populations}
    spikes = {p.name: p.spikes for p in network.populations}
    for projection in network.projections:
        if not network.is_direct(projection):
            source = projection.source
            counts[projection.target] += count_synapses(projection.taps, messages[source], spikes.get(source))
    return counts


def count_neurons(population: Population, sent: NDArray) -> LayerCount:
    """Count a population that sent messages of shape (B, T, n)."""
    samples, steps, _ = sent.shape
    neurons = samples * population.size
    dynamic = population.kind in DYNAMIC
    bias = population.bias
    until = [*(min(start, steps) for start in bias.start[1:]), steps]
    return LayerCount(
        neurons=neurons,
        spikes=int(np.count_nonzero(sent)),
        neuron_updates=neurons * steps if dynamic else 0,
        state_values=samples * (population.size + int(np.count_nonzero(population.du != 1))) if dynamic else 0,
        cells=sent.size,
        bias_additions=samples
        * sum(
            max(end - start, 0) * int(np.count_nonzero(values))
            for start, end, values in zip(bias.start, until, bias.values, strict=False)
        ),
    )


def count_synapses(taps: Mapping[int, Operator], sent: NDArray, spikes: bool | None = None) -> LayerCount:
    """Count the synapses of a projection, which gets messages of shape (B, T, n).

    Args:
        taps: Their weights, by delay in steps.
        sent: The messages.
        spikes: Whether the source spikes; None of an input, where each message says it.
    """
    samples, steps, sources = sent.shape
    rows = sent.reshape(-1, sources)
    fans = {delay: fan_out(operator) for delay, operator in taps.items()}
    per_source = np.sum(list(fans.values()), axis=0)
    synapses = int(per_source.sum())
    operations = int(np.count_nonzero(rows, axis=0) @ per_source)
    if spikes is None:
        accumulates = int(np.count_nonzero(np.abs(rows) == 1, axis=0) @ per_source)
    else:
        accumulates = operations if spikes else 0
    pairs = int(np.prod(next(iter(taps.values())).shape))
    kept = np.max([delay * (fan > 0) for delay, fan in fans.items()], axis=0)
    return LayerCount(
        synapses=samples * synapses,
        dense_operations=samples * steps * synapses,
        effective_macs=operations - accumulates,
        effective_acs=accumulates,
        possible_synapses=samples * (pairs + synapses - connected(taps, synapses)),
        delayed_messages=samples * int(kept.sum()),
    )


def connected(taps: Mapping[int, Operator], synapses: int) -> int:
    """Pairs of a source and a neuron with a synapse, of any delay."""
    if len(taps) == 1:
        return synapses
    found: sparse.csr_matrix = sum(expanded(operator, 0) != 0 for operator in taps.values())
    return int(np.count_nonzero(found.data))


def fan_out(operator: Operator) -> NDArray[np.int64]:
    """Synapses of each source: entries other than 0 in each column."""
    if isinstance(operator, Kron):
        left, right = fan_out(operator.left), np.count_nonzero(operator.right, axis=0)
        return np.kron(left, right)
    matrix = expanded(operator, 0)
    return np.bincount(matrix.indices[matrix.data != 0], minlength=matrix.shape[1]).astype(np.int64)
