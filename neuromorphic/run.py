"""``python -m neuromorphic.run``: run a NIR graph, whoever trained it, on one of the back ends."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from neuromorphic.backends import BACKENDS, PRECISIONS
from neuromorphic.cli import CommandParser, run_command, seconds, whole
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.graph import RESETS
from neuromorphic.lava.target import TARGETS, choose_target
from neuromorphic.signals import with_membrane
from neuromorphic.spiking_network import SpikingNetwork, load

INPUT = (
    "an array 'input', or one for each Input node by its name, of shape (T, ...) or (B, T, ...): T steps of B samples, "
    "then the shape of the node, in NIR's units; or an .npy file of one array"
)
BACKEND = (
    "reference: NIR's semantics in NumPy; torch: the same in PyTorch, faster; lava: Intel's Lava simulator; "
    "c: C that is compiled for the network, the fastest"
)
PRECISION = "float: float64; fixed: Loihi's integers, 8-bit weights and 24-bit states"
"""What --input takes, and what choices mean, for the help of all commands."""

EXAMPLES = """
example:
  python -c "import numpy; numpy.savez('in.npz', input=numpy.ones((100, 784)))"   # T = 100 steps of 784 numbers
  python -m neuromorphic.run --nir model.nir --input in.npz --out out.npz
      out.npz: 'output' of shape (100, ...), or an array for each of several Output nodes; out.json: what was counted
"""


def add_graph_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """The arguments of all commands that take a NIR file."""
    parser.add_argument("--nir", type=Path, required=required, metavar="MODEL.nir", help="a NIR file, whoever wrote it")
    parser.add_argument("--dt", type=float, metavar="SECONDS", help="time step of a NIR file (default: its metadata's)")
    parser.add_argument(
        "--reset",
        choices=RESETS,
        help="after a spike, zero: the membrane is set to v_reset; subtract: v_threshold is taken off (default: the "
        "metadata's, else zero)",
    )


def load_network(arguments: argparse.Namespace) -> SpikingNetwork:
    """The network that the arguments name.

    Raises:
        UserError: the file is no NIR graph, or one that cannot be run.
    """
    return load(arguments.nir, arguments.dt, arguments.reset)


def main() -> None:
    """Parse the arguments, run, write ``OUT.npz`` and the report beside it."""
    parser = CommandParser(prog="python -m neuromorphic.run", description=__doc__, epilog=EXAMPLES)
    add_graph_arguments(parser)
    parser.add_argument("--input", type=Path, required=True, metavar="IN.npz", help=INPUT)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.npz", help="a report OUT.json goes beside it")
    parser.add_argument("--backend", choices=BACKENDS, default="reference", help=f"{BACKEND} (default: reference)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float", help=f"{PRECISION} (default: float)")
    parser.add_argument("--steps", type=whole(1), metavar="T", help="cut the input to T steps, or go on with zeros")
    parser.add_argument(
        "--trace",
        nargs="+",
        default=[],
        metavar="NODE",
        help="neuron nodes whose spikes and potentials are written too",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also run the float reference, and say how spikes agree; it may take longer than the run itself",
    )
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default="simulator",
        help="of --backend lava, simulator: on the CPU; loihi2: the chip; auto: the chip where there is one",
    )
    parser.add_argument(
        "--deadline",
        type=seconds,
        default=600.0,
        metavar="SECONDS",
        help="a run on Lava is stopped then (default: 600)",
    )
    arguments = parser.parse_args()
    if arguments.out.suffix != ".npz":
        parser.error(f"--out must name an .npz file, got {arguments.out}")
    report_file = arguments.out.with_suffix(".json")
    for path in (arguments.out, report_file):
        check_destination(path, (arguments.nir, arguments.input))
    if choose_target(arguments.target) == "loihi2" and arguments.backend != "lava":
        parser.error("--target loihi2 needs --backend lava")

    network = load_network(arguments)
    trace = tuple(dict.fromkeys(arguments.trace))
    if unknown := [name for name in trace if name not in network.neurons]:
        parser.error(
            f"--trace: '{unknown[0]}' is no neuron of the graph; it has {', '.join(network.neurons) or 'none'}"
        )
    run = network.run(
        arguments.input,
        arguments.backend,
        arguments.precision,
        potentials=with_membrane(network.graph, trace),
        steps=arguments.steps,
        target=arguments.target,
        deadline=arguments.deadline,
    )
    if arguments.compare:
        run.compare()
    report = run.report()
    run.save(arguments.out, trace)
    write_atomically(report_file, json.dumps(report, indent=2, allow_nan=False) + "\n")
    run.table(str(arguments.out)).print()


if __name__ == "__main__":
    run_command(main)
