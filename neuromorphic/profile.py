"""``python -m neuromorphic.profile``: spikes, operations and energy of a NIR file's run, or of a trained model.

Energies are estimates by energy models (docs/energy.md), each with a source, as ranges.
"""

from __future__ import annotations

import json
from pathlib import Path

from neuromorphic.backends import BACKENDS, PRECISIONS, renamed
from neuromorphic.cli import CommandParser, print_next, run_command, whole_number
from neuromorphic.files import Lock, check_destination, make_folder, write_atomically
from neuromorphic.plugins import checkpoint_tools, needing_packages
from neuromorphic.run import BACKEND, INPUT, PRECISION, add_graph_arguments, graph_options, load_network

EXAMPLES = """
examples:
  python -m neuromorphic.profile --nir model.nir --input in.npz
  python -m neuromorphic.profile --nir model.nir --input in.npz --out profiled --compare pruned.nir
  python -m neuromorphic.profile --checkpoint runs/default --out profiled --images 64
      profiled/: report.json and report.html, one page that needs no other file
"""


def main() -> None:
    """Parse the arguments, count, and write ``report.json`` and ``report.html``."""
    parser = CommandParser(prog="python -m neuromorphic.profile", description=__doc__, epilog=EXAMPLES)
    add_graph_arguments(parser, required=False)
    parser.add_argument("--input", type=Path, metavar="FILE", help=f"with --nir: {INPUT}")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="folder that gshn.train wrote")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for report.json and report.html; without it, with --nir, the tables are only printed",
    )
    parser.add_argument("--images", type=whole_number(1), help="with --checkpoint: held-out images (default: 64)")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        type=renamed,
        help=f"what computes the spikes (default: numpy, with --checkpoint torch); {BACKEND}",
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float", help=f"arithmetic of numpy, lava or c; {PRECISION}"
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        metavar="OTHER",
        help="networks to compare it with. With --nir: other NIR files, on the same input, with the same --dt, --reset "
        "and --from; with --checkpoint: other checkpoints, of another T, or a ReLU twin",
    )
    parser.add_argument(
        "--energy-models", type=Path, metavar="FILE.yaml", help="energy models in place of the project's own"
    )
    parser.add_argument("--no-measure", action="store_true", help="with --checkpoint: count only, measure no time")
    arguments = parser.parse_args()
    if (arguments.nir is None) == (arguments.checkpoint is None):
        parser.error("give --nir or --checkpoint, one of them")
    if arguments.checkpoint is None:
        if arguments.images is not None:
            parser.error("--images goes with --checkpoint")
        if arguments.input is None:
            parser.error("--nir needs --input, which is run and counted")
    else:
        if arguments.out is None:
            parser.error("--checkpoint needs --out, the folder for report.json and report.html")
        for option, key in (("dt", "dt"), ("reset", "reset"), ("from", "framework"), ("input", "input")):
            if getattr(arguments, key) is not None:
                parser.error(f"--{option} goes with --nir, and a checkpoint has its own")
    if arguments.backend is None:
        arguments.backend = "numpy" if arguments.checkpoint is None else "torch"
    if arguments.precision == "fixed" and arguments.backend == "torch":
        parser.error("--precision fixed needs --backend numpy, lava or c")
    for name in ("report.json", "report.html") if arguments.out is not None else ():
        sources = (arguments.energy_models, arguments.nir, arguments.input, *(arguments.compare or ()))
        check_destination(arguments.out / name, sources)
    if arguments.checkpoint is not None:
        tools = checkpoint_tools()
        with needing_packages():
            tools.profile(
                arguments.checkpoint,
                arguments.out,
                64 if arguments.images is None else arguments.images,
                arguments.backend,
                arguments.precision,
                arguments.compare or (),
                arguments.energy_models,
                not arguments.no_measure,
            )
        return
    profile = load_network(arguments).profile(
        arguments.input,
        arguments.backend,
        arguments.precision,
        energy_models=arguments.energy_models,
        compare=[load_network(arguments, path) for path in arguments.compare or ()],
    )
    if arguments.out is None:
        profile.print()
        return
    report = json.dumps(profile.report(), indent=2, allow_nan=False) + "\n"
    with Lock(make_folder(arguments.out) / ".lock", str(arguments.out)):  # The two are of one run.
        write_atomically(arguments.out / "report.json", report)
        write_atomically(arguments.out / "report.html", profile.page())
    profile.print()
    print(f"{arguments.out / 'report.html'}: tables, for the browser; report.json: every count")
    words: list[object] = ["neuromorphic.export", "--to", "c", "--nir", arguments.nir, "--input", arguments.input]
    words += ["--precision", arguments.precision, *graph_options(arguments), "--out", arguments.out / "c"]
    print_next(words)


if __name__ == "__main__":
    run_command(main)
