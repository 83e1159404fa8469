"""Sessions of the C back end. Their states are read and set in the form of the simulators in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.c.library import Library, as_simulated
from neuromorphic.c.plan import Cells, Source, plan
from neuromorphic.compiler.quantize import FixedNetwork
from neuromorphic.errors import ArgumentError
from neuromorphic.execution.folded import FoldedMachine
from neuromorphic.execution.machine import Arrays


class CMachine(FoldedMachine):
    """A folded network in C. Its states are those of :class:`~neuromorphic.execution.folded.PopulationsMachine`.

    Raises:
        PackagesMissingError: there is no C compiler.
        UnsupportedGraphError: sums could leave 63 bits.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        network, limits = self.network, None
        if isinstance(network, FixedNetwork) and self.ranges is not None:
            most = {name: np.array(self.ranges.messages[name] * (1 + 1e-9)) for name in network.inputs}
            limits = {name: int(network.messages(name, value)) for name, value in most.items()}
        self.library = Library(plan(network, limits, exact=True))
        self._steps = 0
        self._states = self.library.states(self.batch)

    def advance(self, flat: Mapping[str, NDArray[np.float64]]) -> tuple[Arrays, Arrays]:
        """See :class:`~neuromorphic.execution.folded.FoldedMachine`."""
        sent, traces = self.library.steps(self._states, flat, self.potentials)
        self._steps += next(iter(flat.values())).shape[1]
        return as_simulated(self.network, sent, traces)

    def state(self) -> Arrays:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        out = {name: values.copy() for name, values in self.start.items()}
        out["step"] = np.array(self._steps)
        for key, cells in self._cells():
            out[f"{key}/{cells.population.name}"][:] = self.library.field(self._states, f"{cells.id}_{key}")
        for source in self._remembered():
            rows = self.library.field(self._states, f"{source.id}_past").reshape(self.batch, source.depth, -1)
            rows = np.roll(rows, -int(self.library.field(self._states, f"{source.id}_slot")[0, 0]), axis=1)
            if source.spikes:
                rows = np.unpackbits(rows, axis=2, count=source.size, bitorder="little")
            out[f"past/{source.name}"][:] = rows
        return out

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """See :class:`~neuromorphic.execution.machine.Machine`.

        Raises:
            ArgumentError: a value is larger than the network can reach.
        """
        states = self.library.states(self.batch)

        def put(field: str, values: NDArray, name: str) -> None:
            own = self.library.field(states, field)
            own[:] = values
            if not np.array_equal(own, values):
                raise ArgumentError(
                    f"the state's '{name}' holds what no {own.dtype} is; give one of a session of this network"
                )

        for key, cells in self._cells():
            name = f"{key}/{cells.population.name}"
            put(f"{cells.id}_{key}", state[name], name)
        for source in self._remembered():
            name = f"past/{source.name}"
            rows = state[name]
            if source.spikes:
                rows = np.packbits(rows.astype(bool), axis=2, bitorder="little")
            put(f"{source.id}_past", rows.reshape(self.batch, -1), name)
        self._steps = int(state["step"])
        self.library.set_clocks(states, self._steps)
        self._states = states

    def _cells(self) -> list[tuple[str, Cells]]:
        """The state variables, ``u`` or ``v``, each with its population."""
        neurons = self.library.plan.neurons
        return [("v", cells) for cells in neurons] + [("u", cells) for cells in neurons if cells.memory]

    def _remembered(self) -> list[Source]:
        """Sources whose messages are read in later steps."""
        return [source for source in self.library.plan.sources.values() if source.depth]
