"""``python -m neuromorphic.conformance``: golden graphs on a simulator of NIR graphs, ours or any other.

The expected values were computed in exact arithmetic, by none of the simulators (docs/conformance.md). Exit status 0
where all graphs agree, 1 where not, 2 for bad input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from numpy.typing import NDArray

from neuromorphic.backends import PRECISIONS
from neuromorphic.cli import CommandParser, run_command
from neuromorphic.errors import ArgumentError, counted
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.golden.cases import Case, cases
from neuromorphic.golden.files import TOLERANCE, read_outputs, write_set
from neuromorphic.golden.simulators import NAMES, find_simulator
from neuromorphic.results.conformance import FIXED_TOLERANCE, Conformance, ask
from neuromorphic.results.tables import Table

EXAMPLES = """
examples:
  python -m neuromorphic.conformance --simulator norse --json norse.json
  python -m neuromorphic.conformance --simulator mine.py:run --graphs loops 'lif_*'
      mine.py has run(path, inputs, dt): path of a NIR file, arrays of shape (B, T, ...) by Input node, seconds;
      it returns the array of the Output node, or {Output node: array}
  python -m neuromorphic.conformance --write golden      # graphs, inputs and what they give, as files
  python -m neuromorphic.conformance --outputs mine      # what another program made of them: mine/GRAPH.npz
"""


def chosen(patterns: Sequence[str] | None) -> list[Case]:
    """Cases by names, families, or patterns of both; all of them where there are no patterns.

    Raises:
        ArgumentError: a pattern fits none.
    """
    found = cases()
    if patterns is None:
        return found
    for pattern in patterns:
        if not any(fnmatchcase(word, pattern) for case in found for word in (case.name, case.family)):
            raise ArgumentError(f"--graphs: '{pattern}' is neither a graph nor a family; --list shows them")
    return [c for c in found if any(fnmatchcase(word, pattern) for pattern in patterns for word in (c.name, c.family))]


def judge_outputs(folder: Path, of: Sequence[Case], tolerance: float) -> Conformance:
    """Compare what another program wrote.

    Raises:
        ArgumentError: the folder has none of it.
    """
    if not any((folder / f"{case.name}.npz").is_file() or (folder / case.name / "output.npz").is_file() for case in of):
        raise ArgumentError(f"{folder} has no GRAPH.npz and no GRAPH/output.npz of any graph; --list shows their names")

    names = iter(of)

    def read(path: Path, inputs: Mapping[str, NDArray], dt: float) -> Mapping[str, NDArray]:
        return read_outputs(folder, next(names))

    return ask(str(folder), read, of, tolerance)


def main() -> None:
    """Parse the arguments; list, write, or ask and print."""
    parser = CommandParser(prog="python -m neuromorphic.conformance", description=__doc__, epilog=EXAMPLES)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--simulator", metavar="NAME", help=f"{', '.join(NAMES)}, or PATH.py:FUNCTION, a Python file, which is run"
    )
    what.add_argument("--outputs", type=Path, metavar="DIR", help="what another program gave, DIR/GRAPH.npz")
    what.add_argument("--write", type=Path, metavar="DIR", help="write graphs, inputs, expected values and a manifest")
    what.add_argument("--list", action="store_true", help="list the graphs, and end")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float", help="arithmetic of our own back ends (default: float)"
    )
    parser.add_argument("--graphs", nargs="+", metavar="GRAPH", help="names, families, or patterns such as 'lif_*'")
    parser.add_argument(
        "--tolerance",
        type=float,
        help=f"error that numbers may have, relative to the largest or to 1 (default: {TOLERANCE:g}; in fixed point "
        f"{FIXED_TOLERANCE:g})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result to this file")
    arguments = parser.parse_args()
    of = chosen(arguments.graphs)
    fixed = arguments.precision == "fixed"
    tolerance = arguments.tolerance
    if tolerance is None:
        tolerance = FIXED_TOLERANCE if fixed else TOLERANCE
    if not 0 <= tolerance < float("inf"):
        parser.error(f"--tolerance must be 0 or more, got {tolerance}")
    if arguments.json is not None:
        if arguments.write or arguments.list:
            parser.error("--json goes with --simulator and --outputs")
        check_destination(arguments.json)
    if arguments.list:
        rows = [(case.name, case.family, case.about) for case in of]
        Table(counted(len(of), "golden graph"), ("graph", "family", "about"), rows).print()
        return
    if arguments.write:
        print(f"{write_set(arguments.write, of)}: {counted(len(of), 'graph')}")
        return
    if arguments.outputs:
        result = judge_outputs(arguments.outputs, of, tolerance)
    else:
        name = arguments.simulator + (" (fixed)" if fixed else "")
        result = ask(name, find_simulator(arguments.simulator, arguments.precision), of, tolerance)
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(result.report(), indent=1) + "\n")
    result.print()
    if arguments.json is not None:
        print(f"{arguments.json}: the same, by graph")
    if not result:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
