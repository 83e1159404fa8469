"""``python -m neuromorphic.run``: run a NIR file of any framework on one of the back ends."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from neuromorphic.arguments import listed
from neuromorphic.backends import BACKENDS, PRECISIONS, renamed
from neuromorphic.cli import CommandParser, run_command, seconds, whole_number
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.frameworks import FRAMEWORKS
from neuromorphic.graph import RESETS
from neuromorphic.lava.target import TARGETS, choose_target
from neuromorphic.signals import OUTPUTS, with_membrane
from neuromorphic.spiking_network import SpikingNetwork, load

INPUT = (
    ".npz with an array 'input', or one for each Input node by its name, of shape (T, ...) or (B, T, ...): T steps of "
    "B samples, then the shape of the node, in NIR's units; .npy of one array; NIR's own data; or a recording of "
    "events: AEDAT4, EVT2, EVT3, N-MNIST's .bin, counted by pixel in steps of dt"
)
BACKEND = (
    "numpy: NIR's semantics in NumPy; torch: the same in PyTorch, faster; lava: Intel's Lava simulator; "
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
    parser.add_argument("--nir", type=Path, required=required, metavar="MODEL.nir", help="a NIR file of any framework")
    parser.add_argument("--dt", type=float, metavar="SECONDS", help="time step of a NIR file (default: its metadata's)")
    parser.add_argument(
        "--reset",
        choices=RESETS,
        help="what a spike does to the membrane potential. zero: sets it to v_reset; subtract: subtracts v_threshold "
        "(default: the metadata's, else zero)",
    )
    parser.add_argument(
        "--from",
        dest="framework",
        choices=FRAMEWORKS,
        help="read the file with the conventions of the framework that wrote it. "
        + "; ".join(f"{name}: {own.about}" for name, own in FRAMEWORKS.items()),
    )


def graph_options(arguments: argparse.Namespace) -> list[object]:
    """The options of :func:`add_graph_arguments` that were given, but for the file: of a command to type next."""
    given = {"--dt": arguments.dt, "--reset": arguments.reset, "--from": arguments.framework}
    return [word for option, value in given.items() if value is not None for word in (option, value)]


def load_network(arguments: argparse.Namespace, path: Path | None = None) -> SpikingNetwork:
    """The network that the arguments name, or another one, read in the same way.

    Raises:
        UserError: the file is not a NIR graph, or one that cannot be run.
    """
    return load(path or arguments.nir, arguments.dt, arguments.reset, arguments.framework)


def main() -> None:
    """Parse the arguments, run, write ``OUT.npz`` and the report beside it."""
    parser = CommandParser(prog="python -m neuromorphic.run", description=__doc__, epilog=EXAMPLES)
    add_graph_arguments(parser)
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help=INPUT)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="OUT.npz",
        help="file of the outputs; also OUT.npy for the one output, OUT.nir or OUT.h5 for NIR's own data; a report "
        "OUT.json goes beside it",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="draw rasters and potentials, of --trace and outputs or of all nodes",
    )
    parser.add_argument(
        "--backend", choices=BACKENDS, type=renamed, default="numpy", help=f"{BACKEND} (default: numpy)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="float", help=f"{PRECISION} (default: float)")
    parser.add_argument(
        "--steps", type=whole_number(1), metavar="T", help="cut the input to T steps, or continue with zeros"
    )
    parser.add_argument(
        "--trace",
        nargs="+",
        default=[],
        metavar="NODE",
        help="nodes, of any kind, whose signals are written too: spikes and potentials of neurons, what others send",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also run the float reference, and say how many spikes agree; it may take longer than the run itself",
    )
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default="simulator",
        help="with --backend lava. simulator: on the CPU; loihi2: the chip; auto: the chip where there is one",
    )
    parser.add_argument(
        "--deadline",
        type=seconds,
        default=600.0,
        metavar="SECONDS",
        help="stop a run on Lava after this time (default: 600)",
    )
    arguments = parser.parse_args()
    if arguments.out.suffix not in OUTPUTS:
        parser.error(f"--out must end in {', '.join(OUTPUTS)}, got {arguments.out}")
    if arguments.plot is not None and arguments.plot.suffix != ".png":
        parser.error(f"--plot must name a .png file, got {arguments.plot}")
    if arguments.out.suffix == ".npy" and arguments.trace:
        parser.error(f"--trace needs an --out of several arrays, such as .npz, got {arguments.out}")
    report_file = arguments.out.with_suffix(".json")
    for path in (arguments.out, report_file, *([arguments.plot] if arguments.plot else [])):
        check_destination(path, (arguments.nir, arguments.input))
    if choose_target(arguments.target) == "loihi2" and arguments.backend != "lava":
        parser.error("--target loihi2 needs --backend lava")

    network = load_network(arguments)
    trace = tuple(dict.fromkeys(arguments.trace))
    if unknown := [name for name in trace if name not in network.graph.nodes]:
        parser.error(f"--trace: '{unknown[0]}' is not a node of the graph; it has {listed(network.graph.nodes)}")
    neurons = trace or (tuple(network.neurons) if arguments.plot else ())
    membranes = with_membrane(network.graph, neurons)
    run = network.run(
        arguments.input,
        arguments.backend,
        arguments.precision,
        potentials=membranes,
        steps=arguments.steps,
        target=arguments.target,
        deadline=arguments.deadline,
    )
    if arguments.compare:
        run.compare()
    report = run.report()
    run.save(arguments.out, trace)
    write_atomically(report_file, json.dumps(report, indent=2, allow_nan=False) + "\n")
    if arguments.plot is not None:
        drawn = [
            name for name in (*network.neurons, *network.outputs) if not trace or name in (*trace, *network.outputs)
        ]
        picture = io.BytesIO()
        network.plot(run, drawn).savefig(picture, format="png", dpi=120)
        write_atomically(arguments.plot, picture.getvalue())
    run.table(str(arguments.out)).print()
    print(f"{arguments.out}: outputs; {report_file}: what was counted")
    if arguments.plot is not None:
        print(f"{arguments.plot}: rasters and potentials")


if __name__ == "__main__":
    run_command(main)
