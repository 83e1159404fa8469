"""``python -m neuromorphic.export``: a checkpoint's spiking path as NIR, on the Lava simulator, as lava-dl's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gshn.cli import CommandParser, run_command, whole
from gshn.files import Lock, check_destination, make_folder
from neuromorphic.lava.compat import require_lava, require_lava_dl


def print_report(report: Mapping[str, Any], title: str) -> None:
    """Print what a run on Lava gave, a row per layer."""
    table = Table("layer", title=title, title_justify="left")
    for column in ("neurons", "spikes", "firing rate", "equal to PyTorch's"):
        table.add_column(column, justify="right")
    for layer, spikes in report["spikes"].items():
        rate, agreement = report["firing_rate"][layer], report["layer_agreement"][layer]
        table.add_row(layer, f"{report['neurons'][layer]:,}", f"{spikes:,}", f"{rate:.4f}", f"{100 * agreement:.4f} %")
    console = Console(markup=False, emoji=False)
    console.print(table)
    console.print(f"{report['seconds']:.1f} s in all", highlight=False)
    if (first := report["first_difference"]) is not None:
        console.print(f"first difference: step {first['step']}, {first['record']}, neuron {first['neuron']}")


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
    if arguments.to == "lava":
        require_lava()
    if arguments.to == "netx":
        require_lava_dl()
    for file in ("encoder.nir", "input.npz", "encoder.net", "spikes.npz", "report.json"):
        check_destination(arguments.out / file)

    # Late: PyTorch takes seconds to import, which a wrong argument should not cost.
    from gshn.model import GSHN
    from neuromorphic.export.images import held_out_images
    from neuromorphic.export.netx import export_netx
    from neuromorphic.export.report import export_lava, export_nir

    model = GSHN.from_pretrained(arguments.checkpoint)
    images = held_out_images(model, arguments.images if arguments.to == "lava" else 1)
    name, first = next(iter(images.items()))
    encoder = model.encoder.spiking
    assert encoder is not None
    with Lock(make_folder(arguments.out) / ".lock", str(arguments.out)):
        if arguments.to == "netx":
            report = export_netx(encoder, name, first, arguments.out)
        else:
            export_nir(encoder, first, arguments.out)
        if arguments.to == "lava":
            report = export_lava(encoder, images, arguments.out, arguments.precision)
    if arguments.to == "netx":
        print(f"{arguments.out / 'encoder.net'}: the spiking path of {name}, {first.num_nodes} segments")
        for other, key in (("the integer simulator's", "simulator_agreement"), ("PyTorch's", "agreement")):
            print(f"output spikes by netx equal to {other}: {100 * report[key]:.4f} %")
        return
    nir_file = arguments.out / "encoder.nir"
    print(f"{nir_file}: the spiking path of {name}, {first.num_nodes} segments, {encoder.steps} steps")
    if arguments.to == "lava":
        print_report(report, f"{arguments.out}: {len(images)} images on Lava, {arguments.precision}")


if __name__ == "__main__":
    run_command(main)
