"""Synaptic operations: what a run's messages made synapses do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.network import Network
from neuromorphic.compiler.operators import Kron, Operator, expanded


def synaptic_operations(network: Network, sent: Mapping[str, NDArray]) -> dict[str, int]:
    """Synapses that a message other than 0 passed, by the population that they lead to.

    A message that would arrive after the last step does not count; an output that is just what a population sends has
    no synapses.

    Args:
        network: Float: what is quantised to 0 is a synapse still.
        sent: Messages of every population and input, shape (..., T, n).
    """
    counts = {population.name: 0 for population in network.populations}
    for projection in network.projections:
        if network.is_direct(projection):
            continue
        messages = np.asarray(sent[projection.source])
        for delay, operator in projection.taps.items():
            arriving = messages[..., : messages.shape[-2] - delay, :] if delay else messages
            active = np.count_nonzero(arriving.reshape(-1, messages.shape[-1]), axis=0)
            counts[projection.target] += int(active @ fan_out(operator))
    return counts


def fan_out(operator: Operator) -> NDArray[np.int64]:
    """Synapses of each source: entries other than 0 in each column."""
    if isinstance(operator, Kron):
        left, right = fan_out(operator.left), np.count_nonzero(operator.right, axis=0)
        return np.kron(left, right)
    matrix = expanded(operator, 0)
    return np.bincount(matrix.indices[matrix.data != 0], minlength=matrix.shape[1]).astype(np.int64)
