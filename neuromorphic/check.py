"""``python -m neuromorphic.check``: convert a NIR file for a chip, and say whether it fits.

The report has every parameter before and after, registers, neurons that never or always fire, cores, and what breaks a
limit. Without ``--input`` the input is 1 in every element. Exit status 0 where the network fits, on as many cores as it
needs; 1 where it breaks a limit; 2 for bad input.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from neuromorphic.cli import CommandParser, run_command
from neuromorphic.conversion.chips import CHIPS
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.run import INPUT, add_graph_arguments, load_network
from neuromorphic.support import support_table

EXAMPLES = """
examples:
  python -m neuromorphic.check --nir model.nir --input in.npz     # typical inputs, as large as they get
  python -m neuromorphic.check --support
"""


class PrintSupport(argparse.Action):
    """Print the table of what is supported, and end: no other argument is needed then."""

    def __call__(self, *_: object) -> None:
        print(support_table())
        raise SystemExit(0)


def main() -> None:
    """Parse the arguments, compile, print the report."""
    parser = CommandParser(prog="python -m neuromorphic.check", description=__doc__, epilog=EXAMPLES)
    add_graph_arguments(parser)
    parser.add_argument(
        "--target", choices=CHIPS, default="loihi2", help="chip: Intel's Loihi 1 or Loihi 2 (default: loihi2)"
    )
    parser.add_argument("--input", type=Path, metavar="IN.npz", help=f"{INPUT} (default: ones)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the whole report to this file")
    parser.add_argument("--support", action=PrintSupport, nargs=0, help="print what is supported where, and end")
    arguments = parser.parse_args()
    if arguments.json is not None:
        check_destination(arguments.json, (arguments.nir, arguments.input))

    conversion = load_network(arguments).check(arguments.target, arguments.input)
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(conversion.report(), indent=2, allow_nan=False) + "\n")
    conversion.print()
    if arguments.json is not None:
        print(f"{arguments.json}: the whole report")
    if not conversion.fits:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
