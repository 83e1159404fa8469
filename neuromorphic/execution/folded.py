"""Sessions on folded networks (populations and projections), in float64 or in Loihi's integers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import FixedNetwork, FixedPopulation, Ranges
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.execution.machine import Arrays, Machine
from neuromorphic.execution.populations import Synapses, flat_inputs, run_from, start
from neuromorphic.execution.record import Record, from_populations
from neuromorphic.graph import Graph


class FoldedMachine(Machine):
    """Base class of the machines that run a folded network.

    Args:
        graph: The graph that was folded.
        network: The folded network, float or fixed.
        batch: Number of samples B.
        potentials: Names of the spiking populations whose potentials are recorded.
        ranges: For a fixed network: the ranges that its scales were chosen for.
    """

    def __init__(
        self, graph: Graph, network: Network, batch: int, potentials: Collection[str] = (), ranges: Ranges | None = None
    ) -> None:
        self.graph, self.network, self.batch = graph, network, batch
        self.potentials, self.ranges = potentials, ranges
        self.scales = {f"scale/{p.name}": p.scale for p in network.populations if isinstance(p, FixedPopulation)}
        self.constants = frozenset(self.scales)
        self.start = start(network, batch) | self.scales

    def run(self, inputs: Mapping[str, NDArray]) -> Record:
        """See :class:`~neuromorphic.execution.machine.Machine`.

        Raises:
            UnsupportedGraphError: an input of a fixed network is larger than its scales allow for.
        """
        for name, x in inputs.items():
            limit = self.ranges.messages[name] if self.ranges is not None else np.inf
            if (largest := float(np.abs(x).max(initial=0))) > limit * (1 + 1e-9):
                raise UnsupportedGraphError(
                    f"input '{name}' reaches {largest:g}, and the scales of fixed point were chosen for {limit:g} at "
                    "most; open the session with inputs as large as they get (x=)"
                )
        _, flat = flat_inputs(inputs, batched=True)
        sent, potentials = self.advance(flat)
        network = self.network
        if isinstance(network, FixedNetwork):
            sent = {name: network.values(name, messages) for name, messages in sent.items()}
        sent = {p.name: sent[p.name].astype(bool) if p.spikes else sent[p.name] for p in network.populations}
        return from_populations(self.graph, sent, potentials)

    @abstractmethod
    def advance(self, flat: Mapping[str, NDArray[np.float64]]) -> tuple[Arrays, Arrays]:
        """Do the next T steps.

        Args:
            flat: Inputs by name, shape (B, T, n).

        Returns:
            Messages and potentials by population, shape (B, T, M).
        """


class PopulationsMachine(FoldedMachine):
    """A folded network in NumPy, by :func:`run_from`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.synapses = Synapses(self.network, self.batch)
        self._state: Mapping[str, NDArray] = self.start

    def advance(self, flat: Mapping[str, NDArray[np.float64]]) -> tuple[Arrays, Arrays]:
        """See :class:`FoldedMachine`."""
        run, self._state = run_from(self._state, self.synapses, flat, self.potentials, self.batch)
        return run.sent, run.potentials

    def state(self) -> Arrays:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        return {**self._state, **self.scales}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        self._state = state
