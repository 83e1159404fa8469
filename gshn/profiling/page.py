"""``report.html``: a report as one page that needs no other file, and its summary in the terminal."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.table import Table

from gshn.profiling.plots import accuracy_and_energy, energy_by_part, firing_over_time, png
from neuromorphic.profiling.energy import microjoules

COLUMNS = ("neurons", "spikes", "firing_rate", "synaptic_operations", "effective_macs", "effective_acs",
           "dense_operations", "neuron_updates", "bias_additions", "delayed_messages", "activation_sparsity",
           "connection_sparsity", "weight_bytes_per_image", "state_bytes_per_image")  # fmt: skip


def number(value: object) -> str:
    """A count with separators, a fraction with four digits; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def summary_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """For each energy model: the whole, the spiking path, its share, its twin, and the break-even firing rate.

    The smaller figure of a range is first; for break-even rates that is often the one of the model's high prices.
    """
    rows = []
    for model in report["energy_models"]:
        own = {row["part"]: row for row in report["energy"] if row["model"] == model}
        total = report["totals"]["joules_per_image"][model]
        spiking = own["spiking"]
        shares = [spiking[end] / total[end] for end in ("joules_low", "joules_high")]
        even = [
            "never" if value is None else "always" if value >= 1 else f"{value:.3f}"
            for value in sorted(report["break_even_firing_rate"][model].values(), key=lambda value: value or 0.0)
        ]
        rows.append(
            {
                "model": model,
                "total": microjoules(total),
                "spiking": microjoules(spiking),
                "share": " to ".join(f"{100 * share:.2g} %" for share in sorted(shares)),
                "twin": microjoules(own["relu_twin"]),
                "break_even": even[0] if even[0] == even[1] else " to ".join(even),
            }
        )
    return rows


def html(report: Mapping[str, Any]) -> str:
    """The page."""
    environment = Environment(loader=PackageLoader("gshn.profiling", "."), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"number": number, "microjoules": microjoules}
    plots = {"energy": energy_by_part(report), "firing": firing_over_time(report)}
    accuracies = sorted({name for row in report["compared"] for name in row["accuracy"]})
    if accuracies:
        chosen = "retrieval.t2i_r1" if "retrieval.t2i_r1" in accuracies else accuracies[0]
        plots["curve"] = accuracy_and_energy(report["compared"], chosen)
    images = {name: b64encode(png(figure)).decode() for name, figure in plots.items()}
    flat: dict[str, Any] = {}
    for name, value in report["neurobench"].items():
        flat |= {f"{name}: {key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
    return environment.get_template("page.html.j2").render(
        report=report,
        summary=summary_rows(report),
        parts=[part for part, own in report["operations"].items() if own["in_total"]],
        plots={"curve": None, **images},
        columns=COLUMNS,
        accuracies=accuracies,
        neurobench=flat,
    )


def print_summary(report: Mapping[str, Any], title: str) -> None:
    """Print layers, and energies by model."""
    console = Console(markup=False, emoji=False)
    layers = Table(title=f"{title}: {report['images']} images, T = {report['steps']}", title_justify="left")
    shown = ("name", "neurons", "spikes", "firing_rate", "synaptic_operations", "neuron_updates")
    for name in shown:
        layers.add_column(name.replace("_", " "), justify="left" if name == "name" else "right")
    for layer in report["layers"]:
        layers.add_row(*(number(layer[name]) for name in shown))
    console.print(layers)
    energies = Table(title="microjoules per image, by energy model", title_justify="left")
    for name in ("model", "all parts", "spiking path", "share", "ReLU twin", "break-even rate"):
        energies.add_column(name, justify="left" if name == "model" else "right")
    for row in summary_rows(report):
        energies.add_row(*row.values())
    console.print(energies)
    for name, own in report["measured"].items():
        joules = ", ".join(f"{device} {value:.3g} J" for device, value in own["joules_per_image"].items())
        console.print(
            f"{name}: {1e3 * own['seconds_per_image']:.2f} ms per image; {joules or 'energy not measured'}",
            highlight=False,
        )
    meters = {own["meter"] for own in report["measured"].values()}
    for meter in meters:
        console.print(f"meter: {meter}", highlight=False)
