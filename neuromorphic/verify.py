"""``python -m neuromorphic.verify``: the same input to two back ends, and where they part.

Exit status 0 where all spikes are equal (and graded outputs, to rounding), 1 where not, 2 for bad input. A difference
is called a tie where rounding alone moves the potential over its threshold, see
:mod:`neuromorphic.execution.ties`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from neuromorphic.backends import BACKENDS, PRECISIONS, simulate
from neuromorphic.cli import CommandParser, run_command, whole
from neuromorphic.execution.record import Record, check_room
from neuromorphic.execution.spikes import by_node, compare_nodes
from neuromorphic.execution.ties import FOLLOWS, OTHER, TIE, FirstDifference, first_differences
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.graph import Graph
from neuromorphic.run import add_graph_arguments, load_graph
from neuromorphic.signals import load_inputs, with_membrane

TOLERANCE = 1e-9
"""Graded values of float back ends may differ by so much, relative to the largest: sums are done in another order."""


@dataclass(frozen=True)
class Parting:
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


def parting(ours: Record, theirs: Record) -> Parting | None:
    """Where two records' spikes differ first."""
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
    return Parting(node, sample, step, neuron, spikes, before, after)  # type: ignore[arg-type]


def deviation(ours: Record, theirs: Record) -> dict[str, float]:
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


def print_parting(graph: Graph, found: Parting, labels: tuple[str, str]) -> None:
    """Print the first difference as a table."""
    where = f"sample {found.sample}, step {found.step}, node '{found.node}', neuron {found.neuron}"
    table = Table("back end", title=f"first difference: {where}", title_justify="left")
    for column in ("spike", "potential before", "potential after"):
        table.add_column(column, justify="right")
    for k, label in enumerate(labels):
        cells = ["-" if pair is None else f"{pair[k]:.9g}" for pair in (found.before, found.after)]
        table.add_row(label, "yes" if found.spikes[k] else "no", *cells)
    console = Console(markup=False, emoji=False)
    console.print(table)
    threshold = graph.nodes[found.node].threshold
    console.print(f"threshold {threshold.reshape(-1)[found.neuron]:.9g}", highlight=False)


def cause_of(first: FirstDifference, labels: tuple[str, str], is_float: tuple[bool, bool]) -> str:
    """A first difference's cause as a line."""
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


def counts_of(differences: list[FirstDifference]) -> dict[str, int]:
    """How many neurons' first differences have which cause; a neuron of each sample counts."""
    return {cause: sum(d.cause == cause for d in differences) for cause in (TIE, FOLLOWS, OTHER)}


def main() -> None:
    """Parse the arguments, run both back ends, print where they part."""
    parser = CommandParser(prog="python -m neuromorphic.verify", description=__doc__)
    add_graph_arguments(parser)
    parser.add_argument("--against", choices=BACKENDS, required=True, help="back end that is verified")
    parser.add_argument("--precision", choices=PRECISIONS, default="float", help="of --against")
    parser.add_argument("--backend", choices=BACKENDS, default="reference", help="what it is held to")
    parser.add_argument("--backend-precision", choices=PRECISIONS, default="float", help="of --backend")
    parser.add_argument("--input", type=Path, metavar="IN.npz", help="default: random input")
    parser.add_argument("--steps", type=whole(1), metavar="T", help="steps (default: the input's; 32 of random input)")
    parser.add_argument("--seed", type=whole(0), default=0, help="of random input")
    parser.add_argument("--json", type=Path, help="write the result here too")
    arguments = parser.parse_args()
    if arguments.json is not None:
        check_destination(arguments.json, (arguments.nir, arguments.input))

    graph = load_graph(arguments)
    if arguments.input is not None:
        inputs = load_inputs(arguments.input, graph, arguments.steps).inputs
    else:
        steps = arguments.steps or 32
        check_room(graph, 1, steps)
        inputs = random_inputs(graph, 1, steps, arguments.seed)
    membranes = with_membrane(graph, graph.neurons)
    theirs = simulate(graph, inputs, arguments.backend, arguments.backend_precision, membranes)
    ours = simulate(graph, inputs, arguments.against, arguments.precision, membranes)
    agreement, _ = compare_nodes(ours.record.spikes, theirs.record.spikes)
    shares = by_node(ours.record.spikes, theirs.record.spikes)
    found = parting(ours.record, theirs.record)
    deviations = deviation(ours.record, theirs.record)
    both_float = arguments.precision == arguments.backend_precision == "float"
    apart = [name for name, value in deviations.items() if both_float and value > TOLERANCE]
    label = f"{arguments.against} ({arguments.precision})"
    other = f"{arguments.backend} ({arguments.backend_precision})"
    is_float = (arguments.precision == "float", arguments.backend_precision == "float")
    differences = first_differences(graph, inputs, (ours.record, theirs.record), is_float) if found else []
    where = found and (found.node, found.sample, found.step, found.neuron)
    first = next((d for d in differences if (d.node, d.sample, d.step, d.neuron) == where), None)
    causes = counts_of(differences)
    result: dict[str, Any] = {
        "nir": str(arguments.nir),
        "against": label,
        "backend": other,
        "agreement": agreement.fraction,
        "node_agreement": shares,
        "first_difference": found and asdict(found),
        "cause": first and asdict(first),
        "causes": causes,
        "deviation": deviations,
        "overflow": ours.overflow,
    }
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(result, indent=2) + "\n")
    console = Console(markup=False, emoji=False)
    summary = f"{agreement.equal:,} of {agreement.cells:,} cells (neuron, step)"
    console.print(f"{label} against {other}: spikes equal in {summary}", highlight=False)
    if found is not None:
        worse = ", ".join(f"'{name}' {100 * share:.2f} %" for name, share in shares.items() if share < 1)
        console.print(f"by node: {worse}; all others equal", highlight=False, soft_wrap=True)
        print_parting(graph, found, (label, other))
    if first is not None:
        console.print(cause_of(first, (label, other), is_float), highlight=False, soft_wrap=True)
        console.print(
            f"neurons whose spikes differ: {len(differences):,}; of their first differences ties {causes[TIE]:,}, "
            f"following a difference of what the neuron gets {causes[FOLLOWS]:,}, neither {causes[OTHER]:,}",
            highlight=False,
            soft_wrap=True,
        )
    for name in apart:
        console.print(f"values of '{name}' differ by {deviations[name]:.3g} of the largest", highlight=False)
    if found is not None or apart:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
