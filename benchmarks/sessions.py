"""Images through a Lava network that stays up, against a network for each image or batch.

    python -m gshn.train --config default --out runs/quick pretrain.steps=2 data.pairs.train=64 finetune.tasks=[]
    python -m benchmarks.sessions --checkpoint runs/quick --images 64 --rounds 3

Held-out images' scene graphs; milliseconds of wall time, the median over rounds. Spikes are checked to be equal:

- *cold*: ``net.run(x, "lava")``, one network for each image; *same graph*: ``reset`` and ``run`` of a session; *next
  graph*: ``load`` of the next image's network, and ``run``.
- *packed, cold*: all images in one network, as ``gshn.evaluate --encoder lava`` has them, started for each batch;
  *packed, kept up*: the same by the network of the batch before, which is what it does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import neuromorphic as nm
from gshn.export.images import held_out_images
from gshn.export.report import constant_input, run_images
from gshn.export.to_nir import spiking_graph_to_nir
from gshn.model import GSHN
from neuromorphic.backends import PRECISIONS, Precision
from neuromorphic.lava.session import KeptUp

FEW = 4
"""Images of which each is started a network for."""


def timed(spent: list[float], call: Callable[[], object], images: int = 1) -> object:
    """What a call returns; its milliseconds an image are added."""
    begun = time.perf_counter()
    out = call()
    spent.append(1e3 * (time.perf_counter() - begun) / images)
    return out


def measure(checkpoint: Path, images: int, rounds: int, precision: Precision) -> dict[str, float]:
    """Median milliseconds of an image."""
    encoder = GSHN.from_pretrained(checkpoint).eval().encoder.spiking
    assert encoder is not None
    inputs = sorted(held_out_images(GSHN.from_pretrained(checkpoint), images).values(), key=lambda own: -own.num_nodes)
    nets = [nm.load(spiking_graph_to_nir(encoder, own.aggregation, own.num_nodes)) for own in inputs]
    xs = [np.array(constant_input(own.x, encoder.steps)) for own in inputs]
    spent: dict[str, list[float]] = {
        key: [] for key in ("cold", "same graph", "next graph", "packed, cold", "packed, kept up")
    }
    kept = KeptUp()
    for number in range(rounds):
        cold = [timed(spent["cold"], lambda k=k: nets[k].run(xs[k], "lava", precision)) for k in range(FEW)]
        with nets[0].session("lava", precision, x=xs[0] if precision == "fixed" else None) as session:
            for k in range(images):
                own = session.run(xs[k]) if k == 0 else timed(
                    spent["next graph"],
                    lambda k=k: (session.load(nets[k], xs[k] if precision == "fixed" else None), session.run(xs[k]))[1],
                )  # fmt: skip
                if k < FEW:
                    for name, spikes in cold[k].spikes.items():
                        assert np.array_equal(own.spikes[name], spikes)
                timed(spent["same graph"], lambda k=k: (session.reset(), session.run(xs[k])))
        packed = timed(spent["packed, cold"], lambda: run_images(encoder, inputs, precision), images)
        if number == 0:
            run_images(encoder, inputs, precision, kept=kept)  # It starts here.
        again = timed(spent["packed, kept up"], lambda: run_images(encoder, inputs, precision, kept=kept), images)
        for ours, theirs in zip(again.spikes, packed.spikes, strict=True):
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    kept.close()
    return {name: statistics.median(own) for name, own in spent.items()}


def main() -> None:
    """Parse the arguments, measure, print and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {p: measure(arguments.checkpoint, arguments.images, arguments.rounds, p) for p in PRECISIONS}
    table = Table("ms of an image", *PRECISIONS)
    for name in found["float"]:
        table.add_row(
            name, *(f"{found[p][name]:.1f} ({found[p]['cold'] / found[p][name]:.1f} x cold)" for p in PRECISIONS)
        )
    Console().print(table)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
