"""``python -m neuromorphic.export``: a checkpoint's spiking path as NIR, on the Lava simulator, as lava-dl's file."""

from __future__ import annotations

from pathlib import Path

from neuromorphic.cli import CommandParser, run_command, whole
from neuromorphic.plugins import checkpoint_tools


def main() -> None:
    """Parse the arguments and export."""
    parser = CommandParser(prog="python -m neuromorphic.export", description=__doc__)
    parser.add_argument(
        "--to", choices=["nir", "lava", "netx"], required=True, help="file format, or simulator to run on"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that gshn.train wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for encoder.*, spikes.npz and report.json")
    parser.add_argument("--images", type=whole(1), default=64, help="images to run on Lava (default: 64)")
    parser.add_argument("--precision", choices=["float", "fixed"], default="float", help="Lava's arithmetic")
    arguments = parser.parse_args()
    checkpoint_tools().export(arguments.checkpoint, arguments.out, arguments.to, arguments.images, arguments.precision)


if __name__ == "__main__":
    run_command(main)
