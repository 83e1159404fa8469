"""``python -m neuromorphic.check``: what conversion to a chip does to a NIR graph, and what breaks the chip's limits.

Exit status 0 where the graph fits, 1 where a limit breaks, 2 for bad input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nir
import numpy as np
from rich.console import Console
from rich.table import Table

from gshn.cli import CommandParser, run_command
from gshn.errors import GSHNError
from gshn.files import write_atomically
from neuromorphic.backends import simulate
from neuromorphic.compiler import conversion
from neuromorphic.compiler.limits import LIMITS, RULES
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.quantize import quantize
from neuromorphic.execution import populations
from neuromorphic.graph import Graph, flatten
from neuromorphic.run import add_graph_arguments, load_graph
from neuromorphic.signals import load_inputs

UNIT_STEPS = 32
"""Without an input, scales are chosen for uniform input in [-1, 1] over so many steps."""


def examine(graph: Graph, inputs: dict[str, np.ndarray] | None, target: str) -> dict[str, Any]:
    """The report.

    Keys: ``target``; ``input`` (what scales were chosen for); ``parameters``, ``firing``, ``saturation`` and ``fit``
    (see :mod:`neuromorphic.compiler.conversion`); ``overflow`` and ``agreement`` with float of a run in fixed point.
    """
    given = inputs is not None
    if inputs is None:
        random = np.random.default_rng(0)
        inputs = {name: random.uniform(-1, 1, (1, UNIT_STEPS, *graph.nodes[name].shape)) for name in graph.inputs}
    network = lower(graph)
    samples = {name: x.reshape(-1, *x.shape[2:]).reshape(x.shape[0] * x.shape[1], -1) for name, x in inputs.items()}
    exact = populations.run(network, samples)
    fixed = quantize(network, exact.ranges)
    ours = populations.run(fixed, samples)
    bounds = {name: (float(x.min()), float(x.max())) for name, x in samples.items()} if given else {}
    spiking = [p.name for p in network.populations if p.spikes]
    equal = [ours.sent[name] == exact.sent[name] for name in spiking]
    return {
        "target": target,
        "input": "as given" if given else f"uniform in [-1, 1], {UNIT_STEPS} steps; no bound is taken from it",
        "parameters": conversion.parameters(graph, network, fixed),
        "decays_clipped": {n: r["decay_clipped"] for n, r in fixed.report().items() if r["decay_clipped"]},
        "firing": conversion.firing(network, bounds),
        "saturation": conversion.saturation(fixed, network, bounds),
        "overflow": {name: vars(count) for name, count in ours.overflow.items() if count.any},
        "agreement": float(np.mean(np.concatenate([e.ravel() for e in equal]))) if equal else 1.0,
        "fit": conversion.fit(network, LIMITS[target]),
    }


def show(values: list[float], integers: bool = False) -> str:
    """Smallest and largest of values."""
    if not values:
        return ""
    low, high = (f"{value:,.0f}" if integers else f"{value:.4g}" for value in values)
    return low if low == high else f"{low} .. {high}"


def print_report(report: dict[str, Any]) -> None:
    """Print the report for people."""
    console = Console(highlight=False)
    table = Table("node", "parameter", title=f"parameters, input {report['input']}", title_justify="left")
    for column in ("before", "integers", "after", "error"):
        table.add_column(column, justify="right")
    for name, rows in report["parameters"].items():
        for number, (key, row) in enumerate(rows.items()):
            integers = show(row["integers"], True) + (f" x 2^{row['weight_exp']}" if "weight_exp" in row else "")
            cells = [
                show(row["before"]),
                integers,
                show(row["after"]),
                f"{row['error']:.2g}" if "error" in row else "folded",
            ]
            table.add_row("" if number else name, key, *cells)
        table.add_section()
    console.print(table)
    console.print(f"{100 * report['agreement']:.2f} % of spikes' cells in fixed point are those of float")
    for name, count in report["decays_clipped"].items():
        console.print(f"'{name}': {count} decays clipped to what 12 bits hold")
    for name, which in report["firing"].items():
        for how, neurons in which.items():
            if neurons:
                listed = ", ".join(map(str, neurons[:8])) + (", ..." if len(neurons) > 8 else "")
                console.print(f"'{name}': {len(neurons)} neurons {how} fire: {listed}", style="yellow")
    for name, counts in report["saturation"].items():
        said = ", ".join(f"{count} {how.replace('_', ' ')}" for how, count in counts.items() if count)
        console.print(f"'{name}': of its neurons {said} at the worst input", style="yellow")
    for name, counts in report["overflow"].items():
        said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        console.print(f"'{name}' overflowed (neurons x steps): {said}", style="yellow")
    fit = report["fit"]
    cores = Table("node", title=f"{fit['chip']}: cores, at least", title_justify="left")
    cores.add_column("cores", justify="right")
    for name, count in fit["cores"].items():
        cores.add_row(name, f"{count:,}")
    console.print(cores)
    for line in fit["notes"]:
        console.print(f"note: {line}")
    for line in fit["broken"]:
        console.print(f"breaks: {line}", style="bold red")
    console.print(f"limits: {fit['source']}", style="dim")


def primitives() -> dict[str, tuple[nir.NIRNode, tuple[int, ...]]]:
    """Every primitive that the installed NIR has, with an input shape for it."""
    one, shape = np.ones(2), (2,)
    image = (1, 4, 4)
    window = (np.array([2, 2]), np.array([1, 1]), np.array([0, 0]))
    inner = nir.NIRGraph(
        {"in": nir.Input(np.array(shape)), "node": nir.Scale(one), "out": nir.Output(np.array(shape))},
        [("in", "node"), ("node", "out")],
    )
    tau = 2e-4 * one
    made: dict[str, tuple[nir.NIRNode, tuple[int, ...]]] = {
        "Affine": (nir.Affine(np.eye(2), one), shape),
        "Linear": (nir.Linear(np.eye(2)), shape),
        "Scale": (nir.Scale(one), shape),
        "Conv1d": (nir.Conv1d(4, np.ones((1, 1, 2)), 1, 0, 1, 1, np.zeros(1)), (1, 4)),
        "Conv2d": (nir.Conv2d((4, 4), np.ones((1, 1, 2, 2)), 1, 0, 1, 1, np.zeros(1)), image),
        "SumPool2d": (nir.SumPool2d(*window), image),
        "AvgPool2d": (nir.AvgPool2d(*window), image),
        "Flatten": (nir.Flatten({"input": np.array(image)}, 0, -1), image),
        "Delay": (nir.Delay(1e-4 * one), shape),
        "Threshold": (nir.Threshold(one), shape),
        "I": (nir.I(0.1 * one), shape),
        "IF": (nir.IF(one, one), shape),
        "LI": (nir.LI(tau, one, 0 * one), shape),
        "LIF": (nir.LIF(tau, one, 0 * one, one), shape),
        "CubaLIF": (nir.CubaLIF(tau, tau, one, 0 * one, one), shape),
        "NIRGraph": (inner, shape),
    }
    if hasattr(nir, "CubaLI"):  # Not in nir 1.0.4.
        made["CubaLI"] = nir.CubaLI(tau, tau, one, 0 * one), shape
    return made


def support_table() -> str:
    """The support table in Markdown: every primitive, tried between an Input and a Threshold node.

    The Lava columns try the compiler and the same arithmetic in NumPy; that Lava gives the same spikes is what the
    tests hold random graphs of all primitives to.
    """
    lines = [
        "| primitive | reference | torch | Lava float | Lava fixed | Loihi 2 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    made = primitives()
    for name in (name for name in RULES if name in made):
        node, shape = made[name]
        nodes = {
            "input": nir.Input(np.array(shape)),
            "node": node,
            "neurons": nir.Threshold(np.ones(())),
            "output": nir.Output(None),
        }
        edges = [("input", "node"), ("node", "neurons"), ("neurons", "output")]
        cells = []
        for backend, precision in (("reference", "float"), ("torch", "float"), ("lava", "float"), ("lava", "fixed")):
            try:
                graph = flatten(nir.NIRGraph(nodes, edges, type_check=False), dt=1e-4)
                x = {"input": np.ones((1, 3, *shape))}
                if backend == "lava":
                    network, flat = lower(graph), {"input": x["input"][0]}
                    exact = populations.run(network, flat)
                    populations.run(quantize(network, exact.ranges) if precision == "fixed" else network, flat)
                else:
                    simulate(graph, x, backend, precision)  # type: ignore[arg-type]
                cells.append("yes")
            except (GSHNError, ImportError) as error:
                cells.append(f"no: {error}")
        lines.append(f"| {name} | {' | '.join(cells)} | {RULES[name]} |")
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, examine, print."""
    if sys.argv[1:] == ["--support"]:
        print(support_table())
        return
    parser = CommandParser(prog="python -m neuromorphic.check", description=__doc__)
    add_graph_arguments(parser)
    parser.add_argument("--target", choices=LIMITS, default="loihi2")
    parser.add_argument("--input", type=Path, metavar="IN.npz", help="what scales are chosen for")
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument(
        "--support", action="store_true", help="print the support table of all primitives, and nothing else"
    )
    arguments = parser.parse_args()
    graph = load_graph(arguments)
    inputs = load_inputs(arguments.input, graph).inputs if arguments.input is not None else None
    report = examine(graph, inputs, arguments.target)
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(report, indent=2) + "\n")
    print_report(report)
    if report["fit"]["broken"]:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
