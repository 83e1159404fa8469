"""What a run costs: operations and modelled energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np

from neuromorphic.execution.operations import NOT_COUNTED, LayerCount
from neuromorphic.profiling.energy import EnergyModel, Operations, Workload, energy_rows, microjoules, total_of
from neuromorphic.profiling.layers import layer_operations, layer_row
from neuromorphic.profiling.neurobench import neurobench
from neuromorphic.results.run import Run
from neuromorphic.results.tables import Table, versions

SCHEMA = 2
"""Raised whenever a key of the report changes its meaning or goes."""


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    """Spikes, operations and energy of a run, by layer: the result of :meth:`neuromorphic.SpikingNetwork.profile`.

    A layer is a neuron node, or an output, with the synapses that lead to it. Linear nodes in a row are folded into
    these synapses. Energies are modelled, in joules, for one sample of T steps on average.

    Attributes:
        run: The run that was counted.
        models: Energy models by name.
        others: Profiles of other networks on the same input, which it is compared with.
    """

    run: Run
    models: Mapping[str, EnergyModel]
    others: tuple[Profile, ...] = ()

    @property
    def layers(self) -> dict[str, LayerCount]:
        """Counts by layer, summed over samples and steps."""
        return self.run.counts

    @cached_property
    def operations(self) -> dict[str, Operations]:
        """Operations of one sample, by layer."""
        samples, spiking = self.run.shape[0], self.run.graph.spiking
        return {name: layer_operations(count, samples, name in spiking) for name, count in self.layers.items()}

    @cached_property
    def energy(self) -> list[dict[str, Any]]:
        """Joules of one sample, a row for each energy model and layer: ``joules_low`` and ``joules_high``."""
        return energy_rows({name: Workload.dense(own) for name, own in self.operations.items()}, self.models)

    @property
    def joules(self) -> dict[str, tuple[float, float]]:
        """Joules of one sample over all layers, by energy model: lowest and highest estimate."""
        totals = {name: total_of(self.energy, name) for name in self.models}
        return {name: (own["joules_low"], own["joules_high"]) for name, own in totals.items()}

    @cached_property
    def neurobench(self) -> dict[str, Any]:
        """Under NeuroBench's names and by its definitions, see :func:`neuromorphic.profiling.neurobench.neurobench`."""
        return neurobench(self.run.graph, self.run.signals.inputs, self.run.simulation.record)

    def summary(self) -> dict[str, Any]:
        """The network in one row, of one sample: what a comparison shows."""
        batch, total = self.run.shape[0], sum(self.layers.values(), LayerCount())
        spiking = [self.layers[name] for name in self.run.graph.spiking]
        cells, spikes = (sum(getattr(count, key) for count in spiking) for key in ("cells", "spikes"))
        return {
            "nir": self.run.source,
            "neurons": sum(self.run.graph.nodes[name].size for name in self.run.graph.neurons),
            "synapses": total.synapses // batch,
            "spikes": spikes / batch,
            "firing_rate": spikes / cells if cells else 0.0,
            "synaptic_operations": total.synaptic_operations / batch,
            "neuron_updates": total.neuron_updates / batch,
            "neurobench": self.neurobench,
            "joules_per_sample": {name: total_of(self.energy, name) for name in self.models},
        }

    def report(self) -> dict[str, Any]:
        """Everything, as plain JSON types. ``compared`` has a row for each network where there are several."""
        batch, steps = self.run.shape
        total = sum(self.layers.values(), LayerCount())
        spiking = [count for name, count in self.layers.items() if name in self.run.graph.spiking]
        cells, spikes = sum(count.cells for count in spiking), sum(count.spikes for count in spiking)
        records = self.run.simulation.record
        sent = records.outputs | records.potentials | records.spikes
        per_step = {name: np.count_nonzero(np.moveaxis(sent[name], 1, 0).reshape(steps, -1), axis=1) for name in sent}
        return {
            "schema": SCHEMA,
            "nir": self.run.source,
            "samples": batch,
            "steps": steps,
            "dt": self.run.graph.dt,
            "backend": self.run.backend,
            "precision": self.run.precision,
            "layers": [
                layer_row(name, count, per_step[name], self.run.precision, batch, "sample")
                for name, count in self.layers.items()
            ],
            "operations_per_sample": {name: asdict(own) for name, own in self.operations.items()},
            "not_counted": NOT_COUNTED,
            "energy": self.energy,
            "energy_models": {name: asdict(model) for name, model in self.models.items()},
            "totals": {
                "spikes": spikes,
                "synaptic_operations": total.synaptic_operations,
                "effective_macs": total.effective_macs,
                "effective_acs": total.effective_acs,
                "dense_operations": total.dense_operations,
                "neuron_updates": total.neuron_updates,
                "firing_rate": spikes / cells if cells else 0.0,
                "joules_per_sample": {name: total_of(self.energy, name) for name in self.models},
            },
            "neurobench": self.neurobench,
            "compared": [own.summary() for own in (self, *self.others)] if self.others else [],
            "versions": versions("gshn", "nir", "numpy"),
        }

    def table(self) -> Table:
        """A table with a row for each layer."""
        batch, steps = self.run.shape
        rows = [
            (name, f"{count.neurons // batch:,}", f"{count.spikes:,}",
             f"{count.spikes / count.cells if count.cells else 0:.4f}", f"{count.synaptic_operations:,}",
             f"{count.neuron_updates:,}", *(microjoules(row) for row in self.energy if row["part"] == name))
            for name, count in self.layers.items()
        ]  # fmt: skip
        columns = ("layer", "neurons", "spikes", "firing rate", "synaptic operations", "neuron updates")
        energies = (f"{name}, µJ" for name in self.models)
        title = f"{self.run.source}: {batch} x {steps} steps, {self.run.backend}, {self.run.precision}"
        notes = [f"{name}: {microjoules(total_of(self.energy, name))} µJ per sample, all layers; it leaves out "
                 f"{model.leaves_out}" for name, model in self.models.items()]  # fmt: skip
        return Table(title, (*columns, *energies), rows, notes)

    def comparison(self) -> Table:
        """A column for each network: this one, and those it is compared with. Whole paths would fill the table."""
        own = [self.summary(), *(other.summary() for other in self.others)]
        operations = [summary["neurobench"]["synaptic_operations"] for summary in own]
        rows = [
            ("neurons", *(f"{o['neurons']:,}" for o in own)),
            ("synapses", *(f"{o['synapses']:,}" for o in own)),
            ("spikes", *(f"{o['spikes']:,.0f}" for o in own)),
            ("firing rate", *(f"{o['firing_rate']:.4f}" for o in own)),
            ("effective MACs", *(f"{o['Effective_MACs']:,.0f}" for o in operations)),
            ("effective ACs", *(f"{o['Effective_ACs']:,.0f}" for o in operations)),
            ("neuron updates", *(f"{o['neuron_updates']:,.0f}" for o in own)),
            *((f"{name}, µJ", *(microjoules(o["joules_per_sample"][name]) for o in own)) for name in self.models),
        ]
        return Table("the same input on each, of one sample", ("", *path_ends([o["nir"] for o in own])), rows)

    def print(self) -> None:
        """Print layers and energies to the terminal."""
        table = self.table()
        counts = len(table.columns) - len(self.models)
        Table(table.title, table.columns[:counts], [row[:counts] for row in table.rows]).print()
        rows = [(row[0], *row[counts:]) for row in table.rows]
        rows.append(("all", *(microjoules(total_of(self.energy, name)) for name in self.models)))
        Table("microjoules per sample, by energy model", ("layer", *self.models), rows).print()
        if self.others:
            self.comparison().print()

    def page(self) -> str:
        """One HTML page that needs no other file."""
        title = escape(f"Spikes, operations and energy: {self.run.source}")
        style = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem}td,th{padding:.25rem .6rem;text-align:right}"
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
            f"</head><body><h1>{title}</h1>{self._repr_html_()}</body></html>\n"
        )

    def __repr__(self) -> str:
        total = sum(self.layers.values(), LayerCount())
        spikes = sum(self.layers[name].spikes for name in self.run.graph.spiking)
        energy = ", ".join(f"{name} {microjoules(total_of(self.energy, name))}" for name in self.models)
        return (
            f"<Profile of {self.run.source}: {spikes:,} spikes, {total.synaptic_operations:,} synaptic operations; "
            f"microjoules per sample: {energy}>"
        )

    def _repr_html_(self) -> str:
        return self.table().html() + (self.comparison().html() if self.others else "")


def path_ends(sources: Sequence[str]) -> list[str]:
    """The ends of paths, as long as it takes to tell different ones apart: file names, as a rule."""
    parts = [source.split("/") for source in sources]
    for count in range(1, max(map(len, parts))):
        ends = ["/".join(own[-count:]) for own in parts]
        if len(set(ends)) == len(set(sources)):
            return ends
    return list(sources)
