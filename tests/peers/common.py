"""What the scripts of all peers share. It runs in each peer's own environment: NumPy, nir, PyTorch.
Of ours there is only what asks its importer, ``neuromorphic.golden.peers``.

    python in_PEER.py make FOLDER                 build networks in PEER, run them, export them to FOLDER
    python in_PEER.py read GRAPH.nir IN.npz OUT.npz --dt SECONDS [--mended]
                                                   read a graph by PEER's importer and run it

``make`` leaves, per network, ``NAME.nir`` and ``NAME.npz`` (``input`` of shape (B, T, *shape), ``spikes`` of shape
(B, T, n)), or ``NAME.error`` where the peer's own exporter does not make a file.
"""

from __future__ import annotations

import argparse
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

BATCH, STEPS = 4, 64
SIZES = (16, 24, 10)
"""Neurons of the input and of the two layers of a network without convolutions."""
IMAGE = (2, 8, 8)
"""Input of the networks with convolutions."""

Network = Callable[[], tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]]
"""Gives input, spikes and the exported graph."""


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Input: half of the values are zero, the others are uniform between 0 and 2, in float32."""
    random = np.random.default_rng(seed)
    x = random.uniform(0, 2, (BATCH, STEPS, *shape)) * (random.random((BATCH, STEPS, *shape)) < 0.5)
    return torch.from_numpy(x.astype(np.float32))


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> torch.Tensor:
    """Parameters that differ between neurons, in float32."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32))


def linear(n_in: int, n_out: int, gain: float = 1.5) -> torch.nn.Linear:
    """Weights of both signs, with more above zero than below, so that neurons fire."""
    module = torch.nn.Linear(n_in, n_out)
    torch.nn.init.uniform_(module.weight, -0.5 * gain / n_in**0.5, gain / n_in**0.5)
    torch.nn.init.uniform_(module.bias, 0.0, 0.2)
    return module


def conv(c_in: int, c_out: int, gain: float = 1.0, **options: Any) -> torch.nn.Conv2d:
    """A 3 x 3 convolution that makes neurons fire."""
    module = torch.nn.Conv2d(c_in, c_out, 3, **options)
    torch.nn.init.uniform_(module.weight, -0.5 * gain / (3 * c_in**0.5), gain / (3 * c_in**0.5))
    assert module.bias is not None
    torch.nn.init.uniform_(module.bias, 0.0, 0.1)
    return module


def make(networks: dict[str, Network], out: Path) -> None:
    """Run and export every network."""
    out.mkdir(parents=True, exist_ok=True)
    for name, network in networks.items():
        torch.manual_seed(0)
        try:
            with torch.no_grad():
                x, spikes, graph = network()
            nir.write(str(out / f"{name}.nir"), graph)
        except Exception as error:
            traceback.print_exc()
            (out / f"{name}.nir").unlink(missing_ok=True)
            (out / f"{name}.error").write_text(f"{type(error).__name__}: {' '.join(str(error).split())}")
            continue
        counts = spikes.detach().numpy()
        np.savez_compressed(out / f"{name}.npz", input=x.numpy(), spikes=counts.reshape(*counts.shape[:2], -1))


def main(networks: dict[str, Network], read: Callable[[Path, torch.Tensor, float, bool], torch.Tensor]) -> None:
    """The command line of every script.

    Args:
        networks: By name.
        read: Gives the spikes, shape (B, T, n), of a graph for an input of shape (B, T, n) at a time step; the last
            argument is for peers that need more than another file to do as NIR says.
    """
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("out", type=Path)
    reading = commands.add_parser("read")
    reading.add_argument("graph", type=Path)
    reading.add_argument("input", type=Path)
    reading.add_argument("out", type=Path)
    reading.add_argument("--dt", type=float, required=True)
    reading.add_argument("--mended", action="store_true")
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(networks, arguments.out)
        return
    with np.load(arguments.input) as file, torch.no_grad():
        spikes = read(arguments.graph, torch.from_numpy(file["input"]), arguments.dt, arguments.mended)
    np.savez_compressed(arguments.out, spikes=spikes.numpy())
