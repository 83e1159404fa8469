"""Makes a run a checkpoint that ships with the package: ``python tools/ship.py runs/tour tour``.

Weights are rounded to float16, half the bytes. The figures are measured again, on the rounded weights, and so is the
energy of the model card.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch

import gshn
from gshn.config import DataConfig
from gshn.hub import SHIPPED
from gshn.model import GSHN
from gshn.profiling.report import read_figures
from gshn.training.corpora import Corpora
from gshn.training.loop import evaluate
from neuromorphic.cli import CommandParser, run_command
from neuromorphic.errors import UserError
from neuromorphic.files import make_folder, write_atomically

LARGEST = 4_000_000
"""Bytes of all files together: they come with every install."""


def main() -> None:
    """Parse arguments, round, measure, write."""
    parser = CommandParser("python tools/ship.py", description=__doc__)
    parser.add_argument("run", type=Path, help="folder that gshn.train wrote")
    parser.add_argument("name", help="what the checkpoint is loaded by")
    arguments = parser.parse_args()
    run, name = arguments.run, arguments.name
    with tempfile.TemporaryDirectory() as temporary:
        half = Path(temporary) / name
        trained = GSHN.from_pretrained(run)
        trained.config.data.cache = DataConfig().cache  # not a folder of whoever trained it
        trained.save_pretrained(half, torch.float16)
        rounded = GSHN.from_pretrained(half)
        figures = evaluate(rounded, Corpora(rounded.config, rounded.vocabulary))
        before = read_figures(run / "metrics.json")
        figures |= {key: before[key] for key in ("seconds", "device")}  # of the training
        write_atomically(half / "metrics.json", json.dumps(figures, indent=2) + "\n")
        write_atomically(half / "README.md", gshn.load(half).card(name))
        files = {path.name: path.read_bytes() for path in half.iterdir()}
    total = sum(map(len, files.values()))
    if total > LARGEST:
        raise UserError(
            f"{run} takes {total:,} bytes; a checkpoint of the package may have {LARGEST:,}: train a smaller one"
        )
    folder = make_folder(SHIPPED / name)
    for file, content in files.items():
        write_atomically(folder / file, content)
    for key in ("retrieval.i2t_r1", "retrieval.t2i_r1", "vqa.accuracy"):
        if key in figures:
            print(f"{key}: {before[key]:.4f} in float32, {figures[key]:.4f} as shipped")
    print(f"{folder}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
