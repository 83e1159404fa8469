"""Print the conversion report as tables of at most 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neuromorphic.conversion.chips import CHIPS

SHOWN = 8
"""Largest number of neurons that are listed one by one."""


def print_conversion(report: Mapping[str, Any], model: str, console: Console | None = None) -> None:
    """Print a report of :func:`~neuromorphic.conversion.report.conversion_report`."""
    console = console or Console(highlight=False, emoji=False)
    given = report["input"]
    spans = {tuple(span) for span in given["range"].values()}
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    kind = "the given input" if given["given"] else "a unit input, as none is given: 1 in every element"
    console.print(f"{escape(model)} on {CHIPS[report['target']].title}, dt = {report['dt']:g} s")
    console.print(f"run on {escape(kind)}, {given['samples']} x {given['steps']} steps")
    console.print(f"'whatever comes' means inputs from {low:g} to {high:g}\n")
    print_nodes(report["nodes"], console)
    print_layers(report["layers"], console)
    print_parameters(report["layers"], console)
    print_registers(report["layers"], console)
    print_firing(report["layers"], console)
    print_cores(report, console)
    for key, title, style in (("notes", "to know", "yellow"), ("breaks", "what breaks a limit", "red")):
        if report[key]:
            console.print(f"[bold]{title}[/bold]")
        for finding in report[key]:
            console.print(
                f"  '{escape(finding['node'])}': {escape(finding['what'])}; {escape(finding['mend'])}", style=style
            )
    chip = CHIPS[report["target"]]
    used = f"{report['total_cores']:,} of {chip.cores.value} cores, by estimate"
    verdict = f"fits {chip.title}: {used}" if report["fits"] else f"does not fit {chip.title} ({used})"
    console.print(f"[bold]{verdict}[/bold]")


def table(first: str, columns: Sequence[str]) -> Table:
    """A table with a column of text and columns of numbers."""
    out = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    out.add_column(first, overflow="fold")
    for column in columns:
        out.add_column(column, justify="right", overflow="fold")
    return out


def show(title: str, shown: Table, console: Console) -> None:
    """Print a table under its title."""
    console.print(f"[bold]{title}[/bold]")
    console.print(shown)


def print_nodes(nodes: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print input and output of each node."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("node", "gets", "sends", "units of parameters"):
        shown.add_column(column, overflow="fold")
    for own in nodes:
        units = ", ".join(f"{key} {unit}" for key, unit in own["parameters"].items())
        gets, sends = (
            f"{' x '.join(map(str, own[shape])) or '1'} {own[signal]}"
            for shape, signal in (("shape_in", "gets"), ("shape", "sends"))
        )
        shown.add_row(f"{escape(own['node'])} [dim]{own['kind']}[/dim]", gets, sends, units)
    show("what each node gets and sends in a step", shown, console)


def print_layers(layers: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print in words how each node was converted."""
    for name, layer in layers.items():
        parts, neurons = len(layer["parts"]), layer["neurons"]
        words = [f"{layer['kind']}, {neurons:,} neuron{'s' * (neurons != 1)} in {parts} population{'s' * (parts != 1)}"]
        if layer["reset"]:
            words[0] += f", reset {layer['reset']}"
        if layer["folded"]:
            words.append(f"folded: {', '.join(layer['folded'])}")
        console.print(f"[bold]{escape(name)}[/bold] {'; '.join(words)}")
    console.print()


def print_parameters(layers: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print parameters before and after the conversion, in NIR's units."""
    shown = table("node", ("before", "integers", "after", "error", "mean"))
    for name, layer in layers.items():
        shown.add_row(f"[bold]{escape(name)}[/bold]")
        for key, own in layer["parameters"].items():
            exponent = f" 2^{span([own['weight_exp'][0], own['weight_exp'][-1]])}" if own.get("weight_exp") else ""
            register = f"{own['register']} " if "register" in own else ""
            shown.add_row(
                f"  {escape(key.replace('weights from ', 'from '))}",
                span(own["before"]),
                f"{register}{span(own['integers'])}{exponent}",
                span(own["after"]),
                f"{own['largest_error']:.0e}",
                f"{own['mean_error']:.0e}",
            )
    show("parameters in NIR's units, least .. largest, and the largest and the mean error", shown, console)


def print_registers(layers: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print the worst case and the observed range of the registers, and overflows."""
    shown = table("node", ("worst u", "worst v", "worst sum", "seen u", "seen v", "wrapped", "clipped"))
    for name, layer in layers.items():
        worst, seen = layer["worst_case"], layer["observed"]
        shown.add_row(
            escape(name),
            *(percent(worst[key]) for key in ("current", "potential", "accumulator")),
            *(percent(seen[key]) for key in ("current", "potential")),
            f"{seen['overflow']['wrapped']:,}",
            f"{seen['overflow']['saturated']:,}",
        )
    show("registers: how much of the range of current, potential and synaptic sum is taken", shown, console)


def print_firing(layers: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print spikes before and after the conversion, and neurons that never or always fire for all inputs in range."""
    shown = table("node", ("float", "fixed", "equal", "never", "always"))
    shown.add_column("which (fixed)", overflow="fold")
    for name, layer in layers.items():
        if "spikes" not in layer:
            continue
        spikes = layer["spikes"]
        which = [
            f"{what} {numbers(layer[key]['fixed'])}"
            for key, what in (("never_fire", "never"), ("always_fire", "always"))
            if layer[key]["fixed"]
        ]
        shown.add_row(
            escape(name),
            f"{spikes['float']:,}",
            f"{spikes['fixed']:,}",
            f"{100 * spikes['agreement']:.2f} %",
            *(f"{len(layer[key]['fixed']):,}" for key in ("never_fire", "always_fire")),
            "; ".join(which),
        )
    if shown.row_count:
        show("spikes in float and in fixed point; neurons that never or always fire, whatever comes", shown, console)


def print_cores(report: Mapping[str, Any], console: Console) -> None:
    """Print the resources of the chip that nodes take."""
    chip = CHIPS[report["target"]]
    shown = table("node", ("neurons", "synapses", "input axons", "fan-in", "memory, KB", "cores"))
    for name, own in report["cores"].items():
        shown.add_row(
            escape(name),
            *(f"{own[key]:,}" for key in ("neurons", "synapses", "axons", "largest_fan_in")),
            f"{own['memory'] / 1024:,.1f}",
            f"{own['cores']:,}",
        )
    shown.add_row(
        f"[dim]{chip.title}, a core[/dim]",
        f"[dim]{chip.neurons.value:,}[/dim]",
        "",
        f"[dim]{chip.axons.value:,}[/dim]",
        f"[dim]{chip.axons.value:,}[/dim]",
        f"[dim]{chip.memory.value / 1024:,.0f}[/dim]",
        f"[dim]{chip.cores.value}[/dim]",
    )
    show(f"cores of {chip.title}, by estimate", shown, console)


def span(values: Sequence[float]) -> str:
    """A range as text, or its one value."""
    low, high = values
    return number(low) if low == high else f"{number(low)}..{number(high)}"


def number(value: float) -> str:
    """A number as text: three digits, or all digits of an integer."""
    if isinstance(value, int) or (value == round(value) and abs(value) < 1e6):
        return str(int(value))
    return f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share of a register as text."""
    if share is None:
        return "no bound"
    return f"{100 * share:,.1f} %" if share < 100 else f"{share:,.0f} x"


def numbers(found: Sequence[int]) -> str:
    """Numbers of the first neurons as text."""
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return ", ".join(map(str, found[:SHOWN])) + more
