"""``python -m neuromorphic.run``: run a NIR graph, whoever trained it, on one of the back ends."""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from neuromorphic.backends import BACKENDS, PRECISIONS, Simulation, simulate
from neuromorphic.cli import CommandParser, run_command, seconds, whole
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.execution.operations import NOT_COUNTED
from neuromorphic.execution.record import Record
from neuromorphic.execution.spikes import by_node, compare_nodes, save_arrays
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.graph import RESETS, Graph, flatten
from neuromorphic.lava.target import TARGETS, choose_target
from neuromorphic.nir_file import read_nir
from neuromorphic.signals import Signals, load_inputs, output_arrays, with_membrane


def add_graph_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of all commands that take a NIR file."""
    parser.add_argument("--nir", type=Path, required=True, metavar="MODEL.nir", help="the NIR graph")
    parser.add_argument("--dt", type=float, metavar="SECONDS", help="time step (default: the file's metadata)")
    parser.add_argument(
        "--reset", choices=RESETS, help="reset to v_reset, or by subtraction (default: the metadata's, else zero)"
    )


def load_graph(arguments: argparse.Namespace) -> Graph:
    """The graph that the arguments name.

    Raises:
        UserError: the file is no NIR graph, or one that cannot be run.
    """
    try:
        return flatten(read_nir(arguments.nir), arguments.dt, arguments.reset)
    except UnsupportedGraphError as error:
        raise UnsupportedGraphError(f"{arguments.nir}: {error}") from None


def report_of(
    arguments: argparse.Namespace, graph: Graph, signals: Signals, run: Simulation, expected: Record | None
) -> dict[str, Any]:
    """The JSON report of a run; without ``expected`` its ``agreement`` and ``node_agreement`` are None."""
    batch, steps = signals.inputs[graph.inputs[0]].shape[:2]
    spikes = {name: int(record.sum()) for name, record in run.record.spikes.items()}
    agreement, first = (None, None) if expected is None else compare_nodes(run.record.spikes, expected.spikes)
    return {
        "nir": str(arguments.nir),
        "backend": arguments.backend,
        "precision": arguments.precision,
        "dt": graph.dt,
        "reset": {name: node.reset for name, node in graph.nodes.items() if node.reset},
        "batch": batch,
        "steps": steps,
        "neurons": {name: graph.nodes[name].size for name in graph.spiking},
        "spikes": spikes,
        "firing_rate": {name: float(record.mean()) for name, record in run.record.spikes.items()},
        "synaptic_operations": {name: count.synaptic_operations for name, count in run.counts.items()},
        "neuron_updates": {name: count.neuron_updates for name, count in run.counts.items()},
        "bias_additions": {name: count.bias_additions for name, count in run.counts.items()},
        "delayed_messages": {name: count.delayed_messages for name, count in run.counts.items()},
        "not_counted": NOT_COUNTED,
        "agreement": agreement and agreement.fraction,
        "node_agreement": None if expected is None else by_node(run.record.spikes, expected.spikes),
        "first_difference": first,
        "quantization": run.quantization,
        "overflow": run.overflow,
        "seconds": run.seconds["all"],
        "phases": {name: seconds for name, seconds in run.seconds.items() if name != "all"},
        "versions": {"python": platform.python_version()} | versions("gshn", "nir", "numpy", "torch", "lava-nc"),
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    out = {}
    for package in packages:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def print_report(report: dict[str, Any], out: Path) -> None:
    """Print a run, a row per neuron node."""
    title = f"{out}: {report['batch']} x {report['steps']} steps, {report['backend']}, {report['precision']}"
    table = Table("node", title=title, title_justify="left")
    agreement = report["node_agreement"] or {}
    for column in ("neurons", "spikes", "firing rate", "synaptic operations", *(["as float"] if agreement else [])):
        table.add_column(column, justify="right")
    for name, operations in report["synaptic_operations"].items():
        spikes = report["spikes"].get(name)
        rate = report["firing_rate"].get(name)
        neurons = report["neurons"].get(name)
        table.add_row(
            name,
            "" if neurons is None else f"{neurons:,}",
            "" if spikes is None else f"{spikes:,}",
            "" if rate is None else f"{rate:.4f}",
            f"{operations:,}",
            *([f"{100 * agreement[name]:.2f} %" if name in agreement else ""] if agreement else []),
        )
    console = Console(markup=False, emoji=False)
    console.print(table)
    said = "not compared with the float reference (--compare)"
    if report["agreement"] is not None:
        said = f"{100 * report['agreement']:.4f} % of spikes' cells as the float reference"
        if report["agreement"] < 1:
            worst = min(agreement, key=lambda name: agreement[name])
            said += f", least of '{worst}', {100 * agreement[worst]:.2f} %"
    console.print(f"{said}; {report['seconds']:.2f} s", highlight=False)
    additions, delayed = (sum(report[key].values()) for key in ("bias_additions", "delayed_messages"))
    console.print(
        f"no synaptic operations: {additions:,} biases added in updates, {delayed:,} messages kept for delays",
        highlight=False,
    )
    for name, counts in report["overflow"].items():
        said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        console.print(f"overflow in '{name}' (neurons x steps): {said}", style="yellow", highlight=False)


def main() -> None:
    """Parse the arguments, run, write ``OUT.npz`` and the report beside it."""
    parser = CommandParser(prog="python -m neuromorphic.run", description=__doc__)
    add_graph_arguments(parser)
    parser.add_argument("--input", type=Path, required=True, metavar="IN.npz", help="'input', or one by Input node")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.npz", help="a report OUT.json goes beside it")
    parser.add_argument("--backend", choices=BACKENDS, default="reference")
    parser.add_argument("--precision", choices=PRECISIONS, default="float", help="float64, or Loihi's integers")
    parser.add_argument("--steps", type=whole(1), metavar="T", help="cut the input to T steps, or go on with zeros")
    parser.add_argument(
        "--trace", nargs="+", default=[], metavar="NODE", help="neurons to write spikes and potentials of"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also run the float reference, and say how spikes agree; it may take longer than the run itself",
    )
    parser.add_argument(
        "--target", choices=TARGETS, default="simulator", help="of Lava; auto: Loihi 2 where there is one"
    )
    parser.add_argument("--deadline", type=seconds, default=600.0, metavar="SECONDS", help="for a run on Lava")
    arguments = parser.parse_args()
    if arguments.out.suffix != ".npz":
        parser.error(f"--out must name an .npz file, got {arguments.out}")
    report_file = arguments.out.with_suffix(".json")
    for path in (arguments.out, report_file):
        check_destination(path, (arguments.nir, arguments.input))

    target = choose_target(arguments.target)
    if target == "loihi2" and arguments.backend != "lava":
        parser.error("--target loihi2 needs --backend lava")
    graph = load_graph(arguments)
    signals = load_inputs(arguments.input, graph, arguments.steps)
    if unknown := [name for name in arguments.trace if name not in graph.neurons]:
        parser.error(f"--trace: '{unknown[0]}' is no neuron of the graph; it has {', '.join(graph.neurons) or 'none'}")
    trace = tuple(dict.fromkeys(arguments.trace))
    run = simulate(
        graph,
        signals.inputs,
        arguments.backend,
        arguments.precision,
        potentials=with_membrane(graph, trace),
        deadline=arguments.deadline,
        target=target,
    )
    expected: Record | None = None
    if arguments.backend == "reference" and arguments.precision == "float":
        expected = run.record
    elif arguments.compare:
        expected = simulate(graph, signals.inputs).record
    report = report_of(arguments, graph, signals, run, expected)
    save_arrays(arguments.out, output_arrays(graph, run.record, trace, signals.batched))
    write_atomically(report_file, json.dumps(report, indent=2, allow_nan=False) + "\n")
    print_report(report, arguments.out)


if __name__ == "__main__":
    run_command(main)
