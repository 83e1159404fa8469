"""SpikingJelly: networks of its own, and its importer. See common.py. It needs nir 1.0.7 or later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import torch
from common import IMAGE, SIZES, Network, conv, linear, main, noise
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir

from neuromorphic.golden import peers


def exported(net: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    """Step by step; the neurons keep their states."""
    functional.reset_net(net)
    spikes = torch.stack([net(x[:, t]) for t in range(x.shape[1])], dim=1)
    functional.reset_net(net)
    return x, spikes, export_to_nir(net, x[:, 0])


def feed_forward(neurons: Callable[..., torch.nn.Module], gain: float = 1.0, **options: Any) -> Network:
    """Linear, neurons, linear, neurons."""

    def network() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
        layers = [linear(SIZES[0], SIZES[1], gain), neurons(**options), linear(SIZES[1], SIZES[2], gain)]
        return exported(torch.nn.Sequential(*layers, neurons(**options)), noise(SIZES[0]))

    return network


def convolutional() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    layers = [
        conv(IMAGE[0], 4, 4.0, padding=1),
        neuron.LIFNode(tau=3.0),
        layer.AvgPool2d(2),
        conv(4, 6, 4.0),
        neuron.LIFNode(tau=3.0),
        layer.Flatten(),
        linear(24, SIZES[2], 3.0),
        neuron.LIFNode(tau=3.0),
    ]
    return exported(torch.nn.Sequential(*layers), noise(*IMAGE))


def recurrent() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    cell = layer.LinearRecurrentContainer(neuron.LIFNode(), in_features=SIZES[0], out_features=SIZES[0])
    return exported(torch.nn.Sequential(cell), noise(SIZES[0]))


NETWORKS: dict[str, Network] = {
    "if": feed_forward(neuron.IFNode, 0.6),
    "lif": feed_forward(neuron.LIFNode, 3.0, tau=3.0),
    "lif_input_not_decayed": feed_forward(neuron.LIFNode, 1.0, tau=3.0, decay_input=False),
    "lif_reset": feed_forward(neuron.LIFNode, 4.0, tau=3.0, v_reset=-0.3),
    "plif": feed_forward(neuron.ParametricLIFNode, 3.0, init_tau=3.0),
    "lif_soft_reset": feed_forward(neuron.LIFNode, 2.5, tau=3.0, v_reset=None),
    "cuba": feed_forward(neuron.CUBALIFNode, 0.08, c_decay=0.6, v_decay=0.7),
    "conv": convolutional,
    "recurrent": recurrent,
}


def read(graph: Path, x: torch.Tensor, dt: float, mended: bool) -> torch.Tensor:
    return peers.spikingjelly()(graph, x, dt)


if __name__ == "__main__":
    main(NETWORKS, read)
