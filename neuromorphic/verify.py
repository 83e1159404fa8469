"""``python -m neuromorphic.verify``: run the same input on two back ends, and say where they differ.

Exit status 0 where all spikes are equal (and graded outputs, to rounding), 1 where not, 2 for bad input. A difference
is called a tie where rounding alone moves the potential over its threshold, see
:mod:`neuromorphic.execution.ties`.
"""

from __future__ import annotations

import json
from pathlib import Path

from neuromorphic.backends import BACKENDS, PRECISIONS, renamed
from neuromorphic.cli import CommandParser, run_command, whole_number
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.run import BACKEND, INPUT, PRECISION, add_graph_arguments, load_network

EXAMPLES = """
examples:
  python -m neuromorphic.verify --nir model.nir --against lava                        # random input
  python -m neuromorphic.verify --nir model.nir --against numpy --precision fixed --input in.npz
"""


def main() -> None:
    """Parse the arguments, run both back ends, print where they differ."""
    parser = CommandParser(prog="python -m neuromorphic.verify", description=__doc__, epilog=EXAMPLES)
    add_graph_arguments(parser)
    parser.add_argument(
        "--against", choices=BACKENDS, type=renamed, required=True, help=f"back end that is verified; {BACKEND}"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float", help=f"arithmetic of --against; {PRECISION}"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        type=renamed,
        default="numpy",
        help="back end that it is compared with (default: numpy)",
    )
    parser.add_argument(
        "--backend-precision", choices=PRECISIONS, default="float", help="arithmetic of --backend (default: float)"
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help=f"{INPUT} (default: random input)")
    parser.add_argument(
        "--steps", type=whole_number(1), metavar="T", help="steps (default: the input's; 32 for random input)"
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="seed of random input")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    if arguments.json is not None:
        check_destination(arguments.json, (arguments.nir, arguments.input))

    verification = load_network(arguments).verify(
        arguments.input,
        arguments.against,
        arguments.precision,
        backend=arguments.backend,
        backend_precision=arguments.backend_precision,
        steps=arguments.steps,
        seed=arguments.seed,
    )
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(verification.report(), indent=2) + "\n")
    verification.print()
    if arguments.json is not None:
        print(f"{arguments.json}: this result")
    if not verification.equal:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
