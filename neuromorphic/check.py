"""``python -m neuromorphic.check``: what becomes of a NIR graph on a chip, and whether it fits.

Every parameter before and after, registers, neurons that never or always fire, cores, and what breaks a limit; without
``--input`` for a unit input, 1 in every element. Exit status 0 where it fits, if need be on many cores, 1 where a limit
breaks, 2 for bad input.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from neuromorphic.cli import CommandParser, run_command
from neuromorphic.compiler.limits import CHIPS
from neuromorphic.conversion.report import conversion_report
from neuromorphic.conversion.support import support_table
from neuromorphic.conversion.tables import print_conversion
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.run import add_graph_arguments, load_graph
from neuromorphic.signals import load_inputs


class PrintSupport(argparse.Action):
    """Print the table of what is supported, and end: no other argument is needed then."""

    def __call__(self, *_: object) -> None:
        print(support_table())
        raise SystemExit(0)


def main() -> None:
    """Parse the arguments, compile, print the report."""
    parser = CommandParser(prog="python -m neuromorphic.check", description=__doc__)
    add_graph_arguments(parser)
    parser.add_argument("--target", choices=CHIPS, default="loihi2", help="chip (default: loihi2)")
    parser.add_argument("--input", type=Path, metavar="IN.npz", help="'input', or one by Input node (default: ones)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of the report here too")
    parser.add_argument("--support", action=PrintSupport, nargs=0, help="print what is supported where, and end")
    arguments = parser.parse_args()
    if arguments.json is not None:
        check_destination(arguments.json, (arguments.nir, arguments.input))

    graph = load_graph(arguments)
    inputs = load_inputs(arguments.input, graph).inputs if arguments.input is not None else None
    try:
        report = {"nir": str(arguments.nir)} | conversion_report(graph, arguments.target, inputs)
    except UnsupportedGraphError as error:
        raise UnsupportedGraphError(f"{arguments.nir}: {error}") from None
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(report, indent=2, allow_nan=False) + "\n")
    print_conversion(report, str(arguments.nir))
    if not report["fits"]:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
