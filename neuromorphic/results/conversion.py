"""The conversion of a network for a chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuromorphic.conversion.chips import CHIPS
from neuromorphic.errors import counted
from neuromorphic.results.tables import Table, percent

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, eq=False, repr=False)
class Conversion:
    """A network converted for a chip: the result of :meth:`neuromorphic.SpikingNetwork.check`. True where it fits.

    Attributes:
        source: The file that the network was read from, or ``NIR graph``.
        details: Everything by key, see :func:`neuromorphic.conversion.report.conversion_report`.
    """

    source: str
    details: dict[str, Any]

    @property
    def fits(self) -> bool:
        """Whether the network fits the chip, on as many cores as it needs."""
        return bool(self.details["fits"])

    def __bool__(self) -> bool:
        return self.fits

    @property
    def breaks(self) -> list[dict[str, str]]:
        """Limits that the network breaks: each with ``node``, ``what`` and ``mend``."""
        return list(self.details["breaks"])

    @property
    def notes(self) -> list[dict[str, str]]:
        """Remarks: each with ``node``, ``what`` and ``mend``."""
        return list(self.details["notes"])

    @property
    def cores(self) -> int:
        """Estimated number of cores."""
        return int(self.details["total_cores"])

    def report(self) -> dict[str, Any]:
        """Everything, as plain JSON types."""
        return {"nir": self.source} | self.details

    def print(self, console: Console | None = None) -> None:
        """Print it to the terminal: every parameter before and after, registers, cores, and what breaks a limit."""
        from neuromorphic.conversion.tables import print_conversion

        print_conversion(self.details, self.source, console)

    def table(self) -> Table:
        """A table with a row for each neuron node."""
        rows = []
        for name, layer in self.details["layers"].items():
            agreement = layer.get("spikes", {}).get("agreement")
            cores = self.details["cores"].get(name, {}).get("cores", "")
            same = "" if agreement is None else percent(agreement)
            rows.append((name, layer["kind"], f"{layer['neurons']:,}", str(len(layer["parts"])), str(cores), same))
        lines = [
            f"'{finding['node']}': {finding['what']}; {finding['mend']}" for finding in (*self.breaks, *self.notes)
        ]
        return Table(repr(self)[1:-1], ("node", "kind", "neurons", "parts", "cores", "spikes as float"), rows, lines)

    def __repr__(self) -> str:
        chip = CHIPS[self.details["target"]]
        verdict = "fits" if self.fits else f"breaks {counted(len(self.breaks), 'limit')}"
        return f"<Conversion of {self.source} for {chip.title}: {verdict}, {self.cores:,} of {chip.cores.value} cores>"

    def _repr_html_(self) -> str:
        return self.table().html()
