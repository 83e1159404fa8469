"""Images per second on the Lava CPU simulator, by how many share a network, and against other ways to run them.

    python -m benchmarks.lava_images --rounds 3 --json lava_images.json

Scene graphs of 6 nodes with 64 channels, T = 8, two layers; spikes are PyTorch's in all but netx, which is fixed point.
Seconds are of one image: ``whole`` has everything, the child process's start, imports and compilation; ``steps`` the
time steps alone. ``ours`` packs 64 images into one network. ``one at a time`` is a network for each image, as in NIR's
example of Lava. ``netx`` is lava-dl's network of one image.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.timing import OURS, Row, rows, run
from gshn.encoders.aggregation import degree_normalized
from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.export.netx import export_netx
from gshn.export.side_by_side import run_images
from gshn.inference import SpikingInput
from gshn.neurons.kinds.lif import LIF
from gshn.neurons.lif import LIFParameters, spike_function

NODES, CHANNELS, STEPS = 6, 64, 8
PACKED = (1, 8, 64, 256)


def images_of(count: int) -> tuple[SpikingGraphEncoder, list[SpikingInput]]:
    """An encoder, and inputs of as many scene graphs."""
    torch.manual_seed(0)
    encoder = SpikingGraphEncoder(
        CHANNELS, CHANNELS, 2, STEPS, LIF(LIFParameters(), spike_function("atan", 2.0))
    ).eval()
    ring = torch.arange(NODES)
    edges = torch.stack([torch.cat([ring, ring]), torch.cat([(ring + 1) % NODES, (ring + 2) % NODES])])
    aggregation = degree_normalized(edges, NODES, 0.9)
    return encoder, [SpikingInput(torch.randn(NODES, CHANNELS), aggregation) for _ in range(count)]


def measure(rounds: int) -> list[Row]:
    """All pack sizes, and netx."""
    spent: dict[str, dict[str, list[float]]] = {"whole": {}, "steps": {}}
    for _ in range(rounds):
        for packed in PACKED:
            encoder, images = images_of(packed)
            begun = time.perf_counter()
            result = run_images(encoder, images, "float")
            name = {64: OURS, 1: "one at a time"}.get(packed, f"{packed} packed")
            spent["whole"].setdefault(name, []).append((time.perf_counter() - begun) / packed)
            spent["steps"].setdefault(name, []).append(result.seconds["run"] / packed)
        encoder, (image,) = images_of(1)
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            phases = export_netx(encoder, "image", image, Path(folder))["phases"]
            spent["whole"].setdefault("netx", []).append(time.perf_counter() - begun)
            spent["steps"].setdefault("netx", []).append(phases["run"])
    found: list[Row] = []
    for what, by_name in spent.items():
        found += rows(f"Lava, {what}, an image", {name: statistics.median(own) for name, own in by_name.items()})
    return found


if __name__ == "__main__":
    run(__doc__, measure)
