"""``python -m neuromorphic.profile``: spikes, operations, memory and energy of a trained model."""

from __future__ import annotations

import json
from pathlib import Path

from gshn.cli import CommandParser, run_command, whole
from gshn.files import Lock, check_destination, make_folder, write_atomically
from neuromorphic.lava.compat import require_lava


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
    if arguments.backend == "lava":
        require_lava()
    for name in ("report.json", "report.html"):
        check_destination(arguments.out / name, (arguments.energy_models,))

    # Late: PyTorch takes seconds to import, which a wrong argument should not cost.
    from gshn.errors import CheckpointError
    from neuromorphic.profiling.energy import load_models
    from neuromorphic.profiling.meters import Meter
    from neuromorphic.profiling.page import html, print_summary
    from neuromorphic.profiling.report import profile, report_of
    from neuromorphic.profiling.workloads import measure_model

    models = load_models(arguments.energy_models)
    own = profile(arguments.checkpoint, arguments.images, arguments.backend, arguments.precision)
    if not own.spikes:
        raise CheckpointError(
            f"{arguments.checkpoint} has no spiking neurons (model.spiking.neuron is relu); name it with --compare"
        )
    others = [profile(folder, arguments.images) for folder in arguments.compare]
    measured = {} if arguments.no_measure else measure_model(own.model, Meter())
    report = report_of(own, models, measured, arguments.backend, arguments.precision, others)
    page = html(report)
    with Lock(make_folder(arguments.out) / ".lock", str(arguments.out)):  # The two are of one run.
        write_atomically(arguments.out / "report.json", json.dumps(report, indent=2) + "\n")
        write_atomically(arguments.out / "report.html", page)
    print_summary(report, str(arguments.checkpoint))
    print(f"{arguments.out / 'report.html'}")


if __name__ == "__main__":
    run_command(main)
