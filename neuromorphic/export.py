"""``python -m neuromorphic.export``: a network on Lava or as C, as a folder, or a checkpoint's network as NIR.

--nir takes anybody's NIR file. --checkpoint takes a folder that gshn.train wrote: the network is the spiking path of
a held-out image's scene graph.
"""

from __future__ import annotations

from pathlib import Path

from neuromorphic.backends import PRECISIONS
from neuromorphic.cli import CommandParser, run_command, whole
from neuromorphic.plugins import checkpoint_tools, needing_packages
from neuromorphic.run import INPUT, PRECISION, add_graph_arguments, load_network

EXAMPLES = """
examples:
  python -m neuromorphic.export --to lava --nir model.nir --input in.npz --out on_lava
      on_lava/: model.nir, input.npz, program/ (the compiled network), spikes.npz, report.json
  python -m neuromorphic.export --to c --nir model.nir --input in.npz --precision fixed --out in_c
      in_c/: model.c, model.h, model_test.c (cc -std=c99 model.c model_test.c && ./a.out), report.json
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
        help="lava: run it on Lava's simulator and write all of it; c: of --nir, C99 for any device; of checkpoints "
        "also nir: a NIR file and its input, "
        "and netx: lava-dl's HDF5 network, which its netx loads",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder that is written to")
    parser.add_argument("--input", type=Path, metavar="IN.npz", help=f"of --nir: {INPUT}")
    parser.add_argument("--images", type=whole(1), help="of --checkpoint: held-out images to run on Lava (default: 64)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float", help=f"arithmetic; {PRECISION}")
    arguments = parser.parse_args()
    if (arguments.nir is None) == (arguments.checkpoint is None):
        parser.error("give --nir or --checkpoint, one of them")
    if arguments.checkpoint is not None:
        if arguments.to == "c":
            parser.error("--to c takes a --nir file; write one of the checkpoint's with --to nir")
        for option in ("dt", "reset", "input"):
            if getattr(arguments, option) is not None:
                parser.error(f"--{option} is of --nir, and a checkpoint has its own")
        images = 64 if arguments.images is None else arguments.images
        tools = checkpoint_tools()
        with needing_packages():
            tools.export(arguments.checkpoint, arguments.out, arguments.to, images, arguments.precision)
        return
    if arguments.images is not None:
        parser.error("--images is of --checkpoint")
    if arguments.to not in ("lava", "c"):
        parser.error(f"--to {arguments.to} takes a --checkpoint; a NIR file is exported --to lava or c")
    if arguments.to == "c":
        load_network(arguments).export(arguments.out, arguments.input, arguments.precision, to="c").table().print()
        return
    if arguments.input is None:
        parser.error("--nir needs --input, which is run on Lava")
    run = load_network(arguments).export(arguments.out, arguments.input, arguments.precision)
    run.table(str(arguments.out)).print()


if __name__ == "__main__":
    run_command(main)
