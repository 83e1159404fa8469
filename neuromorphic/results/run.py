"""The result of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_names, check_path, listed
from neuromorphic.backends import Backend, Precision, Simulation, simulate
from neuromorphic.errors import ArgumentError
from neuromorphic.execution.operations import NOT_COUNTED, LayerCount
from neuromorphic.execution.record import Record
from neuromorphic.execution.spikes import Agreement, by_node, compare_nodes
from neuromorphic.graph import Graph
from neuromorphic.results.tables import Table, percent, versions
from neuromorphic.signals import Signals, write_outputs

Arrays = dict[str, NDArray]


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """The result of :meth:`neuromorphic.SpikingNetwork.run`.

    Arrays are by node, of shape (B, T, *shape of the node): B samples, T steps. Where the input had no axis B, they
    have none.

    Attributes:
        source: The file that the network was read from, or ``NIR graph``.
        graph: The graph that was run.
        signals: Its inputs.
        backend: The back end that ran it.
        precision: ``float`` or ``fixed``.
        simulation: Signals, counts and times as the back end gave them, always with the axis B.
    """

    source: str
    graph: Graph
    signals: Signals
    backend: Backend
    precision: Precision
    simulation: Simulation

    @property
    def inputs(self) -> Arrays:
        """Inputs by Input node, as they were given."""
        return self._unbatched(self.signals.inputs)

    @cached_property
    def outputs(self) -> Arrays:
        """What each Output node gets in each step, float64, in NIR's units. Spikes are 0 and 1."""
        return self._unbatched(self.simulation.record.outputs)

    @property
    def output(self) -> NDArray:
        """The array of the one Output node.

        Raises:
            ArgumentError: there are several.
        """
        if len(self.graph.outputs) != 1:
            raise ArgumentError(f"the network has the outputs {listed(self.graph.outputs)}; choose one of run.outputs")
        return self.outputs[self.graph.outputs[0]]

    @cached_property
    def spikes(self) -> Arrays:
        """Spikes of every spiking node, by name, bool."""
        return self._unbatched(self.simulation.record.spikes)

    @cached_property
    def potentials(self) -> Arrays:
        """Membrane potentials after each step (after the reset), float64, in NIR's units.

        There are those of I, LI and CubaLI nodes, whose output they are, and of the nodes that
        ``run(..., potentials=...)`` names.
        """
        return self._unbatched(self.simulation.record.potentials)

    @property
    def counts(self) -> dict[str, LayerCount]:
        """Spikes, synaptic operations and updates by neuron node and output, summed over samples and steps."""
        return self.simulation.counts

    @property
    def seconds(self) -> float:
        """Wall time, seconds."""
        return self.simulation.seconds["all"]

    @property
    def overflow(self) -> dict[str, dict[str, int]]:
        """How often a register overflowed, by node, in neurons x steps. Only nodes where one did are there."""
        return self.simulation.overflow

    @property
    def agreement(self) -> float:
        """Share of cells (sample, step, neuron) whose spike equals the float reference's, from 0 to 1.

        The first use runs the reference, which may take longer than the run itself.
        """
        return self._comparison[0].fraction

    @property
    def agreement_by_node(self) -> dict[str, float]:
        """As :attr:`agreement`, by spiking node."""
        return by_node(self.simulation.record.spikes, self._expected.spikes)

    @property
    def first_difference(self) -> dict[str, Any] | None:
        """Node, sample, step and neuron of the first spike that differs from the float reference; None if none does."""
        return self._comparison[1]

    def compare(self) -> float:
        """Compare with the float reference now, so that report and table include it. Returns :attr:`agreement`."""
        return self.agreement

    @cached_property
    def _expected(self) -> Record:
        if self.backend == "numpy" and self.precision == "float":
            return self.simulation.record
        return simulate(self.graph, self.signals.inputs).record

    @cached_property
    def _comparison(self) -> tuple[Agreement, dict[str, Any] | None]:
        return compare_nodes(self.simulation.record.spikes, self._expected.spikes)

    @property
    def _is_compared(self) -> bool:
        return "_expected" in self.__dict__ or (self.backend == "numpy" and self.precision == "float")

    def _unbatched(self, arrays: Mapping[str, NDArray]) -> Arrays:
        return dict(arrays) if self.signals.batched else {name: values[0] for name, values in arrays.items()}

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and steps, (B, T); B is 1 where the input had no such axis."""
        batch, steps = self.signals.inputs[self.graph.inputs[0]].shape[:2]
        return batch, steps

    def report(self) -> dict[str, Any]:
        """Everything but the signals, as plain JSON types. Comparisons with the reference are None until made."""
        batch, steps = self.shape
        spikes, counts = self.simulation.record.spikes, self.counts
        return {
            "nir": self.source,
            "backend": self.backend,
            "precision": self.precision,
            "dt": self.graph.dt,
            "reset": {name: node.reset for name, node in self.graph.nodes.items() if node.reset},
            "batch": batch,
            "steps": steps,
            "neurons": {name: self.graph.nodes[name].size for name in self.graph.spiking},
            "spikes": {name: int(own.sum()) for name, own in spikes.items()},
            "firing_rate": {name: float(own.mean()) for name, own in spikes.items()},
            "synaptic_operations": {name: count.synaptic_operations for name, count in counts.items()},
            "neuron_updates": {name: count.neuron_updates for name, count in counts.items()},
            "bias_additions": {name: count.bias_additions for name, count in counts.items()},
            "delayed_messages": {name: count.delayed_messages for name, count in counts.items()},
            "not_counted": NOT_COUNTED,
            "agreement": self.agreement if self._is_compared else None,
            "node_agreement": self.agreement_by_node if self._is_compared else None,
            "first_difference": self.first_difference if self._is_compared else None,
            "quantization": self.simulation.quantization,
            "overflow": self.overflow,
            "seconds": self.seconds,
            "phases": {name: seconds for name, seconds in self.simulation.seconds.items() if name != "all"},
            "versions": versions("gshn", "nir", "numpy", "torch", "lava-nc"),
        }

    def save(self, path: Path, nodes: Sequence[str] = ()) -> None:
        """Write outputs, and the signals of some nodes, to a file.

        ``.npz`` has ``output`` (an array per Output node where there are several), and what the named nodes sent, under
        their names. Recorded potentials of spiking nodes are called ``NAME.potential``. ``.npy`` has the one output.
        ``.nir``, ``.h5`` and ``.hdf5`` are NIR's own data, the same by node, on a time grid (``nir.read_data``).

        Args:
            path: The file.
            nodes: Nodes, of any kind, that are written, too.

        Raises:
            ArgumentError: the path is none of these, or there is no such node.
            UserError: the file cannot be written.
        """
        nodes = check_names("nodes", nodes, self.graph.nodes)
        write_outputs(
            check_path("path", path),
            self.graph,
            self.simulation.record,
            nodes,
            self.signals.batched,
            self.signals.inputs,
        )

    def table(self, title: str | None = None) -> Table:
        """A table with a row for each neuron node and output."""
        batch, steps = self.shape
        shares = self.agreement_by_node if self._is_compared else {}
        columns = ("node", "neurons", "spikes", "firing rate", "synaptic operations", *(["as float"] if shares else []))
        rows = []
        for name, count in self.counts.items():
            spikes = self.simulation.record.spikes.get(name)
            cells = [f"{self.graph.nodes[name].size:,}", f"{int(spikes.sum()):,}", f"{spikes.mean():.4f}"] \
                if spikes is not None else ["", "", ""]  # fmt: skip
            as_float = [percent(shares[name]) if name in shares else ""] if shares else []
            rows.append((name, *cells, f"{count.synaptic_operations:,}", *as_float))
        said = "not compared with the float reference (--compare, or run.agreement)"
        if self._is_compared:
            said = f"{percent(self.agreement, 4)} of cells (neuron, step) as in the float reference"
            if self.agreement < 1:
                worst = min(shares, key=lambda name: shares[name])
                said += f", least of '{worst}', {percent(shares[worst])}"
        notes = [f"{said}; {self.seconds:.2f} s"]
        apart = {
            what: sum(getattr(count, key) for count in self.counts.values())
            for what, key in (
                ("biases added in updates", "bias_additions"), ("messages kept for delays", "delayed_messages")
            )
        }  # fmt: skip
        if any(apart.values()):
            listing = ", ".join(f"{what} ({count:,})" for what, count in apart.items() if count)
            notes.append(f"counted apart from synaptic operations: {listing}")
        for name, overflow in self.overflow.items():
            listing = ", ".join(f"{count:,} {what}" for what, count in overflow.items() if count)
            notes.append(f"overflow in '{name}' (neurons x steps): {listing}")
        what = f"{title or self.source}: {batch} x {steps} steps, {self.backend}, {self.precision}"
        return Table(what, columns, rows, notes)

    def __repr__(self) -> str:
        batch, steps = self.shape
        fired = sum(int(np.count_nonzero(own)) for own in self.simulation.record.spikes.values())
        operations = sum(count.synaptic_operations for count in self.counts.values())
        agrees = f", {percent(self.agreement)} as float" if self._is_compared else ""
        return (
            f"<Run of {self.source} on {self.backend} ({self.precision}): {batch} x {steps} steps, {fired:,} spikes, "
            f"{operations:,} synaptic operations{agrees}, {self.seconds:.2f} s>"
        )

    def _repr_html_(self) -> str:
        return self.table().html()
