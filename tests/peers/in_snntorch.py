"""snnTorch: networks of its own, and its importer. See common.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import snntorch as snn
import torch
from common import IMAGE, SIZES, Network, conv, linear, main, noise, uniform
from snntorch.export_nir import export_to_nir

from neuromorphic.golden import peers

NOW = {"reset_delay": False}
ZERO = {"reset_mechanism": "zero"}


def run(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Step by step; every neuron keeps its own state."""
    return torch.stack([net(x[:, t]) for t in range(x.shape[1])], dim=1)


def exported(net: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    """Run, then export: exporting runs the network too, and would leave it in another state."""
    return x, run(net, x), export_to_nir(net, x[:1, 0], ignore_dims=[0])


def leaky(*shape: int, seed: int = 0, **options: Any) -> snn.Leaky:
    """Decays and thresholds that differ between neurons: with scalars the exporter fails, see ``lif_scalar``."""
    beta, threshold = uniform(0.5, 0.95, *shape, seed=seed), uniform(0.8, 1.2, *shape, seed=seed + 1)
    return snn.Leaky(beta=beta, threshold=threshold, init_hidden=True, **options)


def feed_forward(neurons: Callable[..., torch.nn.Module], gain: float = 1.0, **options: Any) -> Network:
    """Linear, neurons, linear, neurons."""

    def network() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
        layers = [
            linear(SIZES[0], SIZES[1], gain),
            neurons(SIZES[1], seed=2, **options),
            linear(SIZES[1], SIZES[2], gain),
            neurons(SIZES[2], seed=4, **options),
        ]
        return exported(torch.nn.Sequential(*layers), noise(SIZES[0]))

    return network


def synaptic(size: int, seed: int = 0, **options: Any) -> snn.Synaptic:
    return snn.Synaptic(
        alpha=uniform(0.3, 0.8, size, seed=seed),
        beta=uniform(0.3, 0.8, size, seed=seed + 1),
        threshold=uniform(2.5, 3.5, size, seed=seed + 2),
        init_hidden=True,
        **options,
    )


def recurrent(size: int, seed: int = 0, all_to_all: bool = True, **options: Any) -> snn.RLeaky:
    net = snn.RLeaky(
        beta=uniform(0.5, 0.95, size, seed=seed),
        threshold=uniform(0.8, 1.2, size, seed=seed + 1),
        all_to_all=all_to_all,
        linear_features=size if all_to_all else None,
        V=None if all_to_all else uniform(-0.5, 0.5, size, seed=seed),
        init_hidden=True,
        **options,
    )
    if all_to_all:
        torch.nn.init.uniform_(net.recurrent.weight, -0.4, 0.4)
        torch.nn.init.uniform_(net.recurrent.bias, -0.2, 0.2)
    return net


def recurrent_synaptic(size: int, seed: int = 0, **options: Any) -> snn.RSynaptic:
    net = snn.RSynaptic(
        alpha=uniform(0.3, 0.8, size, seed=seed),
        beta=uniform(0.3, 0.8, size, seed=seed + 1),
        threshold=uniform(2.5, 3.5, size, seed=seed + 2),
        linear_features=size,
        init_hidden=True,
        **options,
    )
    torch.nn.init.uniform_(net.recurrent.weight, -0.4, 0.4)
    torch.nn.init.uniform_(net.recurrent.bias, -0.2, 0.2)
    return net


def convolutional() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    layers = [
        conv(IMAGE[0], 4, padding=1),
        leaky(4, 8, 8, seed=2, **ZERO, **NOW),
        torch.nn.AvgPool2d(2),
        conv(4, 6, 0.8),
        leaky(6, 2, 2, seed=4, **ZERO, **NOW),
        torch.nn.Flatten(),
        linear(24, SIZES[2], 0.8),
        leaky(SIZES[2], seed=6, **ZERO, **NOW),
    ]
    return exported(torch.nn.Sequential(*layers), noise(*IMAGE))


def scalars() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    """As in snnTorch's own tutorials: beta is one number for the layer."""
    net = torch.nn.Sequential(linear(SIZES[0], SIZES[1]), snn.Leaky(beta=0.9, init_hidden=True))
    return exported(net, noise(SIZES[0]))


def integrate(size: int, seed: int = 0) -> snn.Leaky:
    """Integrate and fire, which snnTorch has as a decay of 1."""
    return snn.Leaky(beta=torch.ones(size), threshold=torch.ones(size), init_hidden=True, **ZERO, **NOW)


NETWORKS: dict[str, Network] = {
    "lif": feed_forward(leaky, **ZERO, **NOW),
    "lif_delayed_zero": feed_forward(leaky, **ZERO),
    "lif_subtract": feed_forward(leaky, **NOW),
    "lif_subtract_weak": feed_forward(leaky, gain=0.4, **NOW),
    "lif_default": feed_forward(leaky),
    "lif_scalar": scalars,
    "cuba": feed_forward(synaptic, gain=1.5, **ZERO, **NOW),
    "cuba_delayed_zero": feed_forward(synaptic, gain=1.5, **ZERO),
    "recurrent": feed_forward(recurrent, **ZERO, **NOW),
    "recurrent_delayed_zero": feed_forward(recurrent, **ZERO),
    "recurrent_one_to_one": feed_forward(recurrent, all_to_all=False, **ZERO, **NOW),
    "recurrent_cuba": feed_forward(recurrent_synaptic, gain=1.5),
    "recurrent_cuba_at_once": feed_forward(recurrent_synaptic, gain=1.5, **ZERO, **NOW),
    "if": feed_forward(integrate, gain=0.6),
    "conv": convolutional,
}


def read(graph: Path, x: torch.Tensor, dt: float, mended: bool) -> torch.Tensor:
    assert dt == 1e-4
    return peers.snntorch()(graph, x, dt)


if __name__ == "__main__":
    main(NETWORKS, read)
