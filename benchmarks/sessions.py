"""Images through a Lava network that stays up, against a network for each image or batch.

    python -m benchmarks.sessions --images 64 --rounds 3

Scene graphs of 6 to 12 nodes with 128 channels, T = 8, two layers: the default model's, with random weights.
Milliseconds of wall time, the median over rounds. Spikes are checked to be equal:

- *cold*: ``net.run(x, "lava")``, one network for each image; *same graph*: ``reset`` and ``run`` of a session; *next
  graph*: ``load`` of the next image's network, and ``run``; in fixed point with scales for that image, or (*, scales
  kept*) with the first one's.
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
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import neuromorphic as nm
from gshn.encoders.aggregation import degree_normalized
from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.export.side_by_side import constant_input, run_images
from gshn.export.to_nir import spiking_graph_to_nir
from gshn.inference import SpikingInput
from gshn.neurons.kinds.lif import LIF
from gshn.neurons.lif import LIFParameters, spike_function
from neuromorphic.backends import PRECISIONS, Precision
from neuromorphic.lava.session import KeptUp

CHANNELS, STEPS, NODES = 128, 8, range(6, 13)
FEW = 2
"""Images of which each is started a network for."""


def images_of(count: int) -> tuple[SpikingGraphEncoder, list[SpikingInput]]:
    """An encoder, and inputs of as many scene graphs, the largest first."""
    torch.manual_seed(0)
    neuron = LIF(LIFParameters(), spike_function("atan", 2.0))
    encoder = SpikingGraphEncoder(CHANNELS, CHANNELS, 2, STEPS, neuron).eval()
    images = []
    for k in range(count):
        nodes = NODES[-1 - k % len(NODES)]
        ring = torch.arange(nodes)
        edges = torch.stack([torch.cat([ring, ring]), torch.cat([(ring + 1) % nodes, (ring + 2) % nodes])])
        images.append(SpikingInput(torch.randn(nodes, CHANNELS), degree_normalized(edges, nodes, 0.9)))
    return encoder, images


def timed(spent: list[float], call: Callable[[], Any], images: int = 1) -> Any:
    """What a call returns; its milliseconds an image are added."""
    begun = time.perf_counter()
    out = call()
    spent.append(1e3 * (time.perf_counter() - begun) / images)
    return out


def measure(images: int, rounds: int, precision: Precision) -> dict[str, float]:
    """Median milliseconds of an image."""
    encoder, inputs = images_of(images)
    nets = [nm.load(spiking_graph_to_nir(encoder, own.aggregation, own.num_nodes)) for own in inputs]
    xs = [np.array(constant_input(own.x, encoder.steps)) for own in inputs]
    scales = xs if precision == "fixed" else [None] * images
    keys = ("cold", "same graph", "next graph", "next graph, scales kept", "packed, cold", "packed, kept up")
    spent: dict[str, list[float]] = {key: [] for key in keys}
    kept = KeptUp()
    for number in range(rounds):
        cold = [timed(spent["cold"], lambda k=k: nets[k].run(xs[k], "lava", precision)) for k in range(FEW)]
        with nets[0].session("lava", precision, x=scales[0]) as session:
            for _ in range(8):
                timed(spent["same graph"], lambda: (session.reset(), session.run(xs[0])))
            for k in range(8):
                own = timed(spent["next graph"], lambda k=k: (session.load(nets[k], scales[k]), session.run(xs[k])))[1]
                for name in cold[k].spikes if k < FEW else ():
                    assert np.array_equal(own.spikes[name], cold[k].spikes[name])
            session.load(nets[0], None if scales[0] is None else np.max(np.abs(np.stack(xs[:: len(NODES)])), axis=0))
            for k in range(len(NODES)):
                timed(spent["next graph, scales kept"], lambda k=k: (session.load(nets[k]), session.run(0.2 * xs[k])))
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
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {p: measure(arguments.images, arguments.rounds, p) for p in PRECISIONS}
    table = Table("ms of an image", *(f"{p}, {what}" for p in PRECISIONS for what in ("ms", "cold is times")))
    for name in found["float"]:
        cells = (f"{value:.1f}" for p in PRECISIONS for value in (found[p][name], found[p]["cold"] / found[p][name]))
        table.add_row(name, *cells)
    Console().print(table)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
