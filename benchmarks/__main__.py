"""All benchmarks, each in a process of its own; rows as JSON, and a plot.

make bench
python -m benchmarks --only lif encoder --json benchmarks.json --plot benchmarks.png
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.encoder import SWEEPS
from benchmarks.timing import OURS, Row, show

MODULES = {
    "lif": ("benchmarks.lif", 11),
    "encoder": ("benchmarks.encoder", 7),
    "input": ("benchmarks.inputs", 60),
    "nir": ("benchmarks.nir_graph", 11),
    "lava": ("benchmarks.lava_images", 3),
}
"""Module and rounds of each."""

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
"""glibc's: freed memory is kept and used again, for all subjects alike. By default a tensor of 32 MB or more is mapped
anew each time, and the faults of its pages cost more than what is measured."""


def plot(found: list[Row], path: Path) -> None:
    """Bars of the subjects' times over ours, and the encoder's cost against its sizes."""
    bars = [row for row in found if not row["benchmark"].startswith(("encoder", "training")) and row["subject"] != OURS]
    sweeps = [key for key in SWEEPS if any(row["benchmark"].startswith(f"encoder, {key}") for row in found)]
    size, widths = (6 + 3 * len(sweeps), 5), [2.2, *[1] * len(sweeps)]
    figure, axes = plt.subplots(1, len(widths), figsize=size, layout="constrained", width_ratios=widths, squeeze=False)
    first = axes[0, 0]
    labels = [f"{row['subject']} ({row['benchmark']})" for row in bars]
    first.barh(labels, [row["ratio"] for row in bars], color="C0")
    first.axvline(1, color="black", linewidth=0.8)
    first.set(xscale="log", xlabel="times ours", title="time over ours")
    first.invert_yaxis()
    first.tick_params(axis="y", labelsize=7)
    for panel, key in zip(axes[0, 1:], sweeps, strict=True):
        for subject in ("hybrid", "gat", "spiking"):
            own = [
                (float(row["benchmark"].split(" = ")[1]), 1e3 * row["seconds"])
                for row in found
                if row["benchmark"].startswith(f"encoder, {key} =") and row["subject"] == subject
            ]
            panel.plot(*zip(*own, strict=True), "o-", label=subject)
        panel.set(xlabel=key, ylabel="ms per batch", ylim=(0, None), xlim=(0, None))
        panel.grid(color="0.9")
        panel.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Run them in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(MODULES), default=list(MODULES), metavar="NAME")
    parser.add_argument("--json", type=Path, help="write all rows here")
    parser.add_argument("--plot", type=Path, help="draw them here, as PNG")
    arguments = parser.parse_args()
    found: list[Row] = []
    for name in arguments.only:
        module, rounds = MODULES[name]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.json"
            command = [sys.executable, "-m", module, "--rounds", str(rounds), "--json", str(path)]
            subprocess.run(command, check=True, env={**os.environ, **ALLOCATOR})
            found += json.loads(path.read_text())
    if len(arguments.only) > 1:
        show("all", found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.plot is not None:
        plot(found, arguments.plot)


if __name__ == "__main__":
    main()
