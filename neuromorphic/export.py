"""``python -m neuromorphic.export``: run a network on Lava and write all of it, or write it as C or as a NIR file.

--nir takes any NIR file. --checkpoint takes a folder that gshn.train wrote: the network is the spiking path of
a held-out image's scene graph.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from neuromorphic.backends import PRECISIONS
from neuromorphic.cli import CommandParser, print_next, run_command, whole_number
from neuromorphic.files import check_destination
from neuromorphic.plugins import checkpoint_tools, needing_packages
from neuromorphic.results.tables import Table
from neuromorphic.run import INPUT, PRECISION, add_graph_arguments, load_network

EXAMPLES = """
examples:
  python -m neuromorphic.export --to lava --nir model.nir --input in.npz --out on_lava
      on_lava/: model.nir, input.npz, program/ (the compiled network), spikes.npz, report.json
  python -m neuromorphic.export --to c --nir model.nir --input in.npz --precision fixed --out in_c
      in_c/: model.c, model.h, model_test.c (cc -std=c99 model.c model_test.c && ./a.out), report.json
  python -m neuromorphic.export --to nir --nir theirs.nir --from sinabs --weights int8 --out ours
      ours/model.nir: with dt and reset rules in its metadata, weights of 8 bits
  python -m neuromorphic.export --to nir --checkpoint runs/default --out exported
      exported/: encoder.nir, input.npz
"""


def main() -> None:
    """Parse the arguments and export."""
    parser = CommandParser(prog="python -m neuromorphic.export", description=__doc__, epilog=EXAMPLES)
    add_graph_arguments(parser, required=False)
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="folder that gshn.train wrote")
    parser.add_argument(
        "--to",
        choices=["nir", "lava", "c", "netx"],
        required=True,
        help="lava: run it on Lava's simulator and write all of it; c, with --nir: C99 for any device; nir: a NIR file "
        "that says its dt and reset rules, with --checkpoint also its input; netx, with --checkpoint: lava-dl's HDF5 "
        "network, which its netx loads",
    )
    parser.add_argument(
        "--weights",
        choices=["float", "int8"],
        help="with --to nir --nir. float: as they are (default); int8: 8 bits, with scales in the metadata that only "
        "this package reads",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder that is written to")
    parser.add_argument("--input", type=Path, metavar="FILE", help=f"with --nir: {INPUT}")
    parser.add_argument(
        "--images", type=whole_number(1), help="with --checkpoint: held-out images to run on Lava (default: 64)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="float", help=f"arithmetic; {PRECISION}")
    arguments = parser.parse_args()
    if (arguments.nir is None) == (arguments.checkpoint is None):
        parser.error("give --nir or --checkpoint, one of them")
    if arguments.weights is not None and (arguments.checkpoint is not None or arguments.to != "nir"):
        parser.error("--weights goes with --to nir --nir")
    if arguments.checkpoint is not None:
        if arguments.to == "c":
            parser.error("--to c takes a --nir file; write one of the checkpoint's with --to nir")
        for option, key in (("dt", "dt"), ("reset", "reset"), ("from", "framework"), ("input", "input")):
            if getattr(arguments, key) is not None:
                parser.error(f"--{option} goes with --nir, and a checkpoint has its own")
        images = 64 if arguments.images is None else arguments.images
        tools = checkpoint_tools()
        with needing_packages():
            tools.export(arguments.checkpoint, arguments.out, arguments.to, images, arguments.precision)
        return
    if arguments.images is not None:
        parser.error("--images goes with --checkpoint")
    if arguments.to == "nir":
        if arguments.input is not None:
            parser.error("--input goes with --to lava and c")
        export_nir(arguments)
        return
    if arguments.to == "c":
        program = load_network(arguments).export(arguments.out, arguments.input, arguments.precision, to="c")
        program.table().print()
        source, test = (str(program.folder / f"{program.name}{end}") for end in (".c", "_test.c"))
        print(f"{program.folder}: {', '.join(program.details['files'])}")
        binary = str((program.folder / f"{program.name}_test").absolute())
        print(f"{'next:':<12}{shlex.join(['cc', '-std=c99', source, test, '-o', binary])} && {shlex.quote(binary)}")
        return
    if arguments.to != "lava":
        parser.error(f"--to {arguments.to} takes a --checkpoint; a NIR file is exported --to lava, c or nir")
    if arguments.input is None:
        parser.error("--nir needs --input, which is run on Lava")
    run = load_network(arguments).export(arguments.out, arguments.input, arguments.precision)
    run.table(str(arguments.out)).print()
    print(f"{arguments.out}: model.nir, input.npz, program/ (the compiled network), spikes.npz, report.json")
    network = ["--nir", arguments.out / "model.nir", "--input", arguments.out / "input.npz"]
    print_next(["neuromorphic.check", *network], ["neuromorphic.profile", *network, "--out", arguments.out / "profile"])


def export_nir(arguments: argparse.Namespace) -> None:
    """Write ``OUT/model.nir``, and print what rounding did to its weights."""
    path = arguments.out / "model.nir"
    check_destination(path, (arguments.nir,))
    network = load_network(arguments)
    rounding = network.save(path, arguments.weights or "float")
    if rounding:
        rows = [(own.node, f"{own.weights:,}", f"{own.largest_error:.2%}", f"{own.zeroed:,}") for own in rounding]
        columns = ("node", "weights", "largest error, of the channel's largest weight", "rounded to 0")
        Table("weights of 8 bits", columns, rows).print()
    print(f"{path}: {path.stat().st_size:,} bytes; {network.source}: {arguments.nir.stat().st_size:,} bytes")
    print_next(["neuromorphic.check", "--nir", path])


if __name__ == "__main__":
    run_command(main)
