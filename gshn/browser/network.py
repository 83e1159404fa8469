"""The tab for a NIR file: its graph, a run on two back ends side by side, and its conversion for a chip."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, cast

from rich.console import Console

import neuromorphic as nm
from gshn.browser import shown
from gshn.browser.photograph import ENERGY
from gshn.browser.shown import Shown
from gshn.errors import DataError
from neuromorphic.backends import Backend, Precision
from neuromorphic.errors import counted

BACKENDS = ("numpy, float", "numpy, fixed", "torch, float", "lava, float", "lava, fixed")
"""What can be chosen: a back end and its arithmetic."""
CHIPS = ("loihi2", "loihi1")
STEPS = 32


@dataclass(frozen=True)
class Settings:
    """How a file is run.

    Attributes:
        left: Back end that the other one is compared with, one of :data:`BACKENDS`.
        right: Back end that is compared with it.
        steps: Number of steps of random input.
        seed: Seed of random input.
        dt: Time step in seconds. None: that of the file.
        reset: ``zero`` or ``subtract``. None: that of the file.
        x: File of inputs (.npz or .npy) in place of random input.
        chip: Target of the conversion, one of :data:`CHIPS`.
    """

    left: str = BACKENDS[0]
    right: str = BACKENDS[1]
    steps: int = STEPS
    seed: int = 0
    dt: float | None = None
    reset: str | None = None
    x: str | Path | None = None
    chip: str = CHIPS[0]


def network(file: str | Path | None, settings: Settings) -> Shown:
    """Draw the graph of a NIR file, run it on two back ends, convert it for a chip, and model its energy.

    Returns:
        The result for the page.

    Raises:
        UserError: the file is missing, or cannot be used.
    """
    if file is None:
        raise DataError("there is no NIR file yet: choose one")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", nm.UserNotice)
        net = nm.load(file, settings.dt, settings.reset)
        net.source = Path(file).name  # the name in tables and reports: the folder is that of the upload
        backend, precision = _chosen(settings.left)
        against, other = _chosen(settings.right)
        verification = net.verify(
            settings.x,
            against,
            other,
            backend=backend,
            backend_precision=precision,
            steps=settings.steps if settings.x is None else None,
            seed=settings.seed,
        )
        energy = net.profile(verification.expected).joules
    table, plotted, drawn = verification.table(), shown.draw(verification.plot()), shown.draw(net.draw())
    sections = {}
    if notices := [str(own.message) for own in told if issubclass(own.category, nm.UserNotice)]:
        sections["Notes"] = "".join(map(shown.paragraph, notices))
    lines = "".join(map(shown.paragraph, verification.lines()))
    first = "" if table is None else shown.scrolling(table.html(), "First difference")
    sides = f"spikes of {settings.left} on the left and {settings.right} on the right"
    rasters = shown.scrolling(shown.image(plotted, f"{sides}: {verdict(verification)}", 780), "Spikes of both")
    sections["Two back ends"] = rasters + lines + first
    sections["Graph"] = shown.image(drawn, f"{counted(len(net.graph.nodes), 'node')} and the edges", 420)
    sections["Nodes"] = shown.scrolling(net.table().html(), "Nodes")
    converted, conversion = _conversion(net, settings)
    sections["Conversion"] = converted
    sections["Energy"] = shown.table(
        "Of this input, by energy model; modelled, not measured", ENERGY, shown.energy_rows(energy)
    )
    report = {
        "verification": verification.report(),
        "conversion": conversion,
        "joules": {name: {"low": low, "high": high} for name, (low, high) in energy.items()},
    }
    return Shown(verdict(verification), sections, plotted, shown.nir_bytes(net), shown.json_text(report))


def _chosen(choice: str) -> tuple[Backend, Precision]:
    backend, _, precision = choice.partition(", ")
    return cast(Backend, backend), cast(Precision, precision)


def verdict(verification: nm.Verification) -> str:
    """The result of the comparison in one line."""
    first = verification.first_difference
    if first is None:
        deviating = verification.deviating
        return f"All spikes are equal{f', but values of {deviating[0]} differ' if deviating else ''}"
    share = f"{100 * verification.agreement.fraction:.2f} % of cells (neuron, step) have equal spikes"
    return f"{share}; the first difference is in node '{first.node}', step {first.step}, neuron {first.neuron}"


def _conversion(net: nm.SpikingNetwork, settings: Settings) -> tuple[str, dict[str, Any] | None]:
    """The conversion report as HTML and as JSON. If the graph cannot be quantised: the reason, and None."""
    try:
        conversion = net.check(settings.chip, settings.x)
    except nm.UserError as error:
        return shown.paragraph(f"It cannot be converted: {error}"), None
    text = io.StringIO()
    conversion.print(Console(file=text, width=100, highlight=False, emoji=False))
    more = shown.scrolling(f"<pre>{escape(text.getvalue())}</pre>", "Conversion report")
    details = f"<details><summary>Every parameter before and after</summary>{more}</details>"
    return shown.scrolling(conversion.table().html(), "Conversion") + details, conversion.report()
