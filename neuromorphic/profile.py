"""``python -m neuromorphic.profile``: spikes, operations, memory and energy of a trained model."""

from __future__ import annotations

from pathlib import Path

from neuromorphic.cli import CommandParser, run_command, whole
from neuromorphic.plugins import checkpoint_tools


def main() -> None:
    """Parse the arguments, count, and write ``report.json`` and ``report.html``."""
    parser = CommandParser(prog="python -m neuromorphic.profile", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that gshn.train wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for report.json and report.html")
    parser.add_argument("--images", type=whole(1), default=64, help="held-out images (default: 64)")
    parser.add_argument("--backend", choices=["torch", "reference", "lava"], default="torch", help="gives the spikes")
    parser.add_argument("--precision", choices=["float", "fixed"], default="float", help="of reference or lava")
    parser.add_argument(
        "--compare", type=Path, nargs="+", default=[], metavar="DIR", help="other checkpoints: of other T, a ReLU twin"
    )
    parser.add_argument("--energy-models", type=Path, metavar="FILE.yaml", help="in place of the project's own")
    parser.add_argument("--no-measure", action="store_true", help="count only")
    arguments = parser.parse_args()
    if arguments.precision == "fixed" and arguments.backend == "torch":
        parser.error("--precision fixed needs --backend reference or lava")
    checkpoint_tools().profile(
        arguments.checkpoint,
        arguments.out,
        arguments.images,
        arguments.backend,
        arguments.precision,
        arguments.compare,
        arguments.energy_models,
        not arguments.no_measure,
    )


if __name__ == "__main__":
    run_command(main)
