"""The comparison of two back ends on the same input."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.execution.record import Record
from neuromorphic.execution.spikes import Agreement, by_node, compare_nodes
from neuromorphic.execution.ties import FOLLOWS, OTHER, TIE, FirstDifference, first_differences
from neuromorphic.graph import Graph
from neuromorphic.results.run import Run
from neuromorphic.results.tables import Table, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-9
"""Largest allowed relative difference of graded values between float back ends, which add in different orders."""


@dataclass(frozen=True)
class SpikeDifference:
    """The first difference, in time and then in the order of updates.

    Attributes:
        node: Neuron node.
        sample, step, neuron: Where; ``neuron`` counts in C order over the node's shape.
        spikes: The neuron's spike in this step, by back end.
        before, after: Its membrane potential before the step and after it, by back end; None for a Threshold, which
            has none.
    """

    node: str
    sample: int
    step: int
    neuron: int
    spikes: tuple[bool, bool]
    before: tuple[float, float] | None
    after: tuple[float, float] | None


def first_spike_difference(ours: Record, theirs: Record) -> SpikeDifference | None:
    """The first place where the spikes of two records differ."""
    _, first = compare_nodes(ours.spikes, theirs.spikes)
    if first is None:
        return None
    node, sample, step, neuron = first["node"], first["sample"], first["step"], first["neuron"]

    def value(values: NDArray, t: int) -> float:
        return float(values[sample, t].reshape(-1)[neuron])

    before = after = None
    if node in ours.potentials:
        records = (ours.potentials[node], theirs.potentials[node])
        before = (0.0, 0.0) if step == 0 else tuple(value(record, step - 1) for record in records)
        after = tuple(value(record, step) for record in records)
    spikes = tuple(bool(value(record.spikes[node], step)) for record in (ours, theirs))
    return SpikeDifference(node, sample, step, neuron, spikes, before, after)  # type: ignore[arg-type]


def deviations(ours: Record, theirs: Record) -> dict[str, float]:
    """Largest difference of graded values, relative to the largest value, by neuron node and output."""
    out = {}
    for name, values in {**theirs.outputs, **theirs.potentials}.items():
        own = {**ours.outputs, **ours.potentials}[name]
        largest = max(float(np.abs(values).max(initial=0.0)), 1e-300)
        out[name] = float(np.abs(own - values).max(initial=0.0)) / largest
    return out


def random_inputs(graph: Graph, batch: int, steps: int, seed: int) -> dict[str, NDArray]:
    """Normally distributed input of mean 0.5 for every Input node."""
    random = np.random.default_rng(seed)
    return {name: random.normal(0.5, 1.0, (batch, steps, *graph.nodes[name].shape)) for name in graph.inputs}


def cause_of(first: FirstDifference, labels: tuple[str, str], is_float: tuple[bool, bool]) -> str:
    """The cause of a first difference, as one line of text."""
    shown = [
        f"{abs(w - first.threshold):.2g} in {label}"
        for w, label, floats in zip(first.potentials, labels, is_float, strict=True)
        if floats
    ]
    apart = (
        f"before the reset the potential is {' and '.join(shown)} from the threshold, and rounding moves it by up to "
        f"{first.rounding:.2g}"
        if shown
        else "integers are not rounded by chance"
    )
    reads = "; what the neuron gets differs" if first.cause == FOLLOWS else ""
    return f"the first difference is {'a tie' if first.cause == TIE else 'no tie'}: {apart}{reads}"


def count_causes(differences: list[FirstDifference]) -> dict[str, int]:
    """The number of neurons whose first difference has each cause. A neuron counts once in each sample."""
    return {cause: sum(d.cause == cause for d in differences) for cause in (TIE, FOLLOWS, OTHER)}


@dataclass(frozen=True, eq=False, repr=False)
class Verification:
    """Two runs of one network on the same input: the result of :meth:`neuromorphic.SpikingNetwork.verify`.

    It is true where all spikes are equal. A difference is called a tie where rounding alone moves the potential over
    its threshold, see :mod:`neuromorphic.execution.ties`.

    Attributes:
        verified: The run that is verified.
        expected: The run that it is compared with. Both have the potentials of all neurons.
    """

    verified: Run
    expected: Run

    @property
    def graph(self) -> Graph:
        """The graph that was run."""
        return self.verified.graph

    @property
    def labels(self) -> tuple[str, str]:
        """Back end and precision of the two, as texts."""
        ours, theirs = (f"{run.backend} ({run.precision})" for run in (self.verified, self.expected))
        return ours, theirs

    @cached_property
    def agreement(self) -> Agreement:
        """How many cells (sample, step, neuron) have equal spikes."""
        return compare_nodes(*(run.simulation.record.spikes for run in (self.verified, self.expected)))[0]

    @cached_property
    def agreement_by_node(self) -> dict[str, float]:
        """Share of cells that are equal, by spiking node."""
        return by_node(self.verified.simulation.record.spikes, self.expected.simulation.record.spikes)

    @cached_property
    def first_difference(self) -> SpikeDifference | None:
        """The first spike that differs, in time and then in the order of updates."""
        return first_spike_difference(self.verified.simulation.record, self.expected.simulation.record)

    @cached_property
    def deviations(self) -> dict[str, float]:
        """Largest difference of potentials and outputs, relative to the largest value, by node."""
        return deviations(self.verified.simulation.record, self.expected.simulation.record)

    @property
    def deviating(self) -> list[str]:
        """Nodes whose graded values differ by more than rounding, between two float back ends."""
        both_float = self.verified.precision == self.expected.precision == "float"
        return [name for name, value in self.deviations.items() if both_float and value > TOLERANCE]

    @property
    def equal(self) -> bool:
        """Whether all spikes are equal and, between float back ends, potentials and outputs up to rounding."""
        return self.first_difference is None and not self.deviating

    def __bool__(self) -> bool:
        return self.equal

    @property
    def _is_float(self) -> tuple[bool, bool]:
        return self.verified.precision == "float", self.expected.precision == "float"

    @cached_property
    def first_differences(self) -> list[FirstDifference]:
        """The first difference of each neuron whose spikes differ, with its cause."""
        if self.first_difference is None:
            return []
        records = (self.verified.simulation.record, self.expected.simulation.record)
        return first_differences(self.graph, self.verified.signals.inputs, records, self._is_float)

    @property
    def cause(self) -> FirstDifference | None:
        """The cause of the first difference; None where there is no difference."""
        first = self.first_difference
        where = first and (first.node, first.sample, first.step, first.neuron)
        return next((d for d in self.first_differences if (d.node, d.sample, d.step, d.neuron) == where), None)

    @property
    def causes(self) -> dict[str, int]:
        """The number of neurons whose first difference has each cause."""
        return count_causes(self.first_differences)

    def report(self) -> dict[str, Any]:
        """Everything, as plain JSON types."""
        first, cause = self.first_difference, self.cause
        return {
            "nir": self.verified.source,
            "against": self.labels[0],
            "backend": self.labels[1],
            "agreement": self.agreement.fraction,
            "node_agreement": self.agreement_by_node,
            "first_difference": first and asdict(first),
            "cause": cause and asdict(cause),
            "causes": self.causes,
            "deviation": self.deviations,
            "overflow": self.verified.overflow,
        }

    def lines(self) -> list[str]:
        """The result in a few lines, without the table of the first difference."""
        ours, theirs = self.labels
        counted = f"{self.agreement.equal:,} of {self.agreement.cells:,} cells (neuron, step)"
        out = [f"{ours} against {theirs}: spikes equal in {counted}"]
        if self.first_difference is not None:
            worse = ", ".join(f"'{n}' {percent(share)}" for n, share in self.agreement_by_node.items() if share < 1)
            out.append(f"by node: {worse}; all others equal")
        return out

    def table(self) -> Table | None:
        """A table of the first difference, a row for each back end; None where there is no difference."""
        first = self.first_difference
        if first is None:
            return None
        where = f"sample {first.sample}, step {first.step}, node '{first.node}', neuron {first.neuron}"
        rows = [
            (label, "yes" if first.spikes[k] else "no",
             *("-" if pair is None else f"{pair[k]:.9g}" for pair in (first.before, first.after)))
            for k, label in enumerate(self.labels)
        ]  # fmt: skip
        notes = [f"threshold {self.graph.nodes[first.node].threshold.reshape(-1)[first.neuron]:.9g}"]
        if self.cause is not None:
            causes = self.causes
            notes += [
                cause_of(self.cause, self.labels, self._is_float),
                f"neurons whose spikes differ: {len(self.first_differences):,}; of their first differences ties "
                f"{causes[TIE]:,}, following a difference of what the neuron gets {causes[FOLLOWS]:,}, neither "
                f"{causes[OTHER]:,}",
            ]
        columns = ("back end", "spike", "potential before", "potential after")
        return Table(f"first difference: {where}", columns, rows, notes)

    def plot(self) -> Figure:
        """Draw what both gave side by side, with the first difference circled; a ``matplotlib.figure.Figure``.

        Raises:
            PackagesMissingError: matplotlib is not installed.
        """
        from neuromorphic.results.plot import plot_difference

        return plot_difference(self)

    def print(self) -> None:
        """Print it to the terminal."""
        from rich.console import Console

        console = Console(markup=False, emoji=False)
        for line in self.lines():
            console.print(line, highlight=False, soft_wrap=True)
        if (table := self.table()) is not None:
            table.print(console)
        for name in self.deviating:
            line = f"values of '{name}' differ by {self.deviations[name]:.3g} of the largest"
            console.print(line, highlight=False, soft_wrap=True)

    def __repr__(self) -> str:
        first = self.first_difference
        where = "" if first is None else f", first in node '{first.node}', step {first.step}, neuron {first.neuron}"
        verdict = "equal" if self.equal else f"{percent(self.agreement.fraction)} of cells (neuron, step) equal{where}"
        return f"<Verification of {self.verified.source}, {' against '.join(self.labels)}: {verdict}>"

    def _repr_html_(self) -> str:
        from html import escape

        table = self.table()
        return "".join(f"<p>{escape(line)}</p>" for line in self.lines()) + (table.html() if table else "")
