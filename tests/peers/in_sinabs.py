"""Sinabs: networks of its own, and its importer. See common.py. It needs nir 1.0.4, which knows no v_reset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import sinabs.layers as sl
import torch
from common import IMAGE, SIZES, STEPS, Network, conv, linear, main, noise, uniform
from sinabs.activation import MembraneReset, SingleSpike
from sinabs.nir import to_nir

from neuromorphic.golden import peers

ONE = {"spike_fn": SingleSpike}


def exported(net: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    """Sinabs's layers take batch and time as one axis, and keep their state: run once, then export."""
    spikes = net(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return x, spikes, to_nir(net, x[0])


def feed_forward(neurons: Callable[..., torch.nn.Module], gain: float = 1.0, **options: Any) -> Network:
    """Linear, neurons, linear, neurons."""

    def network() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
        layers = [
            linear(SIZES[0], SIZES[1], gain),
            neurons(SIZES[1], **options),
            linear(SIZES[1], SIZES[2], gain),
            neurons(SIZES[2], **options),
        ]
        return exported(torch.nn.Sequential(*layers), noise(SIZES[0]))

    return network


def iaf(size: int, **options: Any) -> torch.nn.Module:
    return sl.IAFSqueeze(num_timesteps=STEPS, spike_threshold=uniform(0.8, 1.2, size), **options)


def lif(size: int, **options: Any) -> torch.nn.Module:
    """Thresholds of the time constants' shape: nir demands it, and with Sinabs's default, a scalar, export fails."""
    return sl.LIFSqueeze(
        num_timesteps=STEPS,
        tau_mem=uniform(2.0, 10.0, size),
        spike_threshold=uniform(0.3, 0.5, size, seed=1),
        **options,
    )


def recurrent() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    x = noise(SIZES[0])
    neurons = sl.LIFRecurrent(tau_mem=5.0, rec_connect=torch.nn.Linear(SIZES[1], SIZES[1]))
    net = torch.nn.Sequential(linear(SIZES[0], SIZES[1]), neurons)
    return x, net(x), to_nir(net, x)


def convolutional(typed: bool) -> Network:
    """The shapes that nir cannot write when they are missing are not in the exported graph."""

    def network() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
        layers = [
            conv(IMAGE[0], 4, 0.8, padding=1),
            sl.IAFSqueeze(num_timesteps=STEPS, **ONE),
            sl.SumPool2d(2),
            conv(4, 6, 0.3),
            sl.IAFSqueeze(num_timesteps=STEPS, **ONE),
            torch.nn.Flatten(),
            linear(24, SIZES[2], 0.3),
            sl.IAFSqueeze(num_timesteps=STEPS, **ONE),
        ]
        x, spikes, graph = exported(torch.nn.Sequential(*layers), noise(*IMAGE))
        if typed:
            graph.nodes["0"].input_shape, graph.nodes["3"].input_shape = (8, 8), (4, 4)
            graph.nodes["5"].input_type = {"input": np.array([6, 2, 2])}
        return x, spikes, graph

    return network


def scalars() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    """One time constant and one threshold for the layer."""
    neurons = sl.LIFSqueeze(num_timesteps=STEPS, tau_mem=5.0, spike_threshold=torch.tensor(0.4), **ONE)
    return exported(torch.nn.Sequential(linear(SIZES[0], SIZES[1]), neurons), noise(SIZES[0]))


NETWORKS: dict[str, Network] = {
    "if": feed_forward(iaf, 0.6, **ONE),
    "if_to_zero": feed_forward(iaf, reset_fn=MembraneReset(), **ONE),
    "if_default": feed_forward(iaf),
    "if_default_weak": feed_forward(iaf, 0.3),
    "lif": feed_forward(lif, 2.0, **ONE),
    "lif_to_zero": feed_forward(lif, 2.0, reset_fn=MembraneReset(), **ONE),
    "lif_default": feed_forward(lif, 2.0),
    "lif_not_normed": feed_forward(lif, 0.2, norm_input=False, **ONE),
    "lif_synapse": feed_forward(lif, 0.8, tau_syn=3.0, **ONE),
    "lif_scalar": scalars,
    "conv": convolutional(typed=True),
    "conv_untyped": convolutional(typed=False),
    "recurrent": recurrent,
}


def read(graph: Path, x: torch.Tensor, dt: float, mended: bool) -> torch.Tensor:
    """The importer takes time constants for numbers of steps, decays as exp(-1 / tau), and ignores r.

    Mended: one spike a step and reset to zero, which no file can say.
    """

    def mend(net: torch.nn.Module) -> None:
        for module in net.modules():
            if isinstance(module, sl.LIF):
                module.spike_fn, module.reset_fn = SingleSpike, MembraneReset()

    return peers.sinabs(mend if mended else None)(graph, x, dt)


if __name__ == "__main__":
    main(NETWORKS, read)
