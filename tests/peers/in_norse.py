"""Norse: networks of its own, and its importer. See common.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nir
import norse.torch as norse
import torch
from common import IMAGE, SIZES, Network, conv, linear, main, noise, uniform

from neuromorphic.golden import peers

DT = 1e-3
"""Norse's default, seconds."""


def run(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Step by step, the state handed on."""
    state, spikes = None, []
    for t in range(x.shape[1]):
        out, state = net(x[:, t], state)
        spikes.append(out)
    return torch.stack(spikes, dim=1)


def exported(net: torch.nn.Module, x: torch.Tensor, dt: float = DT) -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    """One sample without batch axis: the exporter takes all axes of the sample for the Input node's shape."""
    return x, run(net, x), norse.to_nir(net, x[0, 0], dt=dt)


def feed_forward(neurons: Callable[..., torch.nn.Module], gain: float = 2.0, dt: float = DT) -> Network:
    """Linear, neurons, linear, neurons."""

    def network() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
        layers = [linear(SIZES[0], SIZES[1], gain), neurons(SIZES[1]), linear(SIZES[1], SIZES[2], 2 * gain)]
        return exported(norse.SequentialState(*layers, neurons(SIZES[2])), noise(SIZES[0]), dt)

    return network


def lif(*shape: int, v_leak: float = 0.0, v_reset: float = 0.0) -> torch.nn.Module:
    """Parameters as tensors of the layer's shape: with Norse's default, scalars, nir 1.0.8 cannot write the graph."""
    p = norse.LIFBoxParameters(
        tau_mem_inv=1 / uniform(2 * DT, 10 * DT, *shape),
        v_leak=torch.full(shape, v_leak),
        v_th=uniform(0.4, 0.6, *shape, seed=1),
        v_reset=torch.full(shape, v_reset),
    )
    return norse.LIFBoxCell(p, dt=DT)


def cuba(size: int) -> torch.nn.Module:
    p = norse.LIFParameters(
        tau_syn_inv=1 / uniform(2 * DT, 5 * DT, size),
        tau_mem_inv=1 / uniform(2 * DT, 10 * DT, size, seed=1),
        v_leak=torch.zeros(size),
        v_th=uniform(1.2, 1.8, size, seed=2),
        v_reset=torch.zeros(size),
    )
    return norse.LIFCell(p, dt=DT)


def iaf(size: int) -> torch.nn.Module:
    return norse.IAFCell(norse.IAFParameters(v_th=uniform(1.5, 2.5, size), v_reset=torch.zeros(size)), dt=DT)


def convolutional(infer: bool) -> Network:
    """Norse exports neither pooling nor Flatten. Without types, its graph with convolutions cannot be written."""

    def network() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
        layers = [conv(IMAGE[0], 4, 2.0, padding=1), lif(4, 8, 8), conv(4, 6, 4.0, stride=2), lif(6, 3, 3)]
        x, spikes, graph = exported(norse.SequentialState(*layers), noise(*IMAGE))
        if infer:
            graph.infer_types()
        return x, spikes, graph

    return network


def scalars() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    """Default parameters."""
    return exported(norse.SequentialState(linear(SIZES[0], SIZES[1], 8.0), norse.LIFBoxCell()), noise(SIZES[0]))


def recurrent() -> tuple[torch.Tensor, torch.Tensor, nir.NIRGraph]:
    return exported(norse.SequentialState(norse.LIFRecurrentCell(SIZES[0], SIZES[1])), noise(SIZES[0]))


NETWORKS: dict[str, Network] = {
    "lif": feed_forward(lif),
    "lif_dt_1": feed_forward(lif, dt=1.0),
    "lif_leak_reset": feed_forward(lambda size: lif(size, v_leak=0.2, v_reset=-0.3)),
    "lif_scalar": scalars,
    "cuba": feed_forward(cuba, 1.0),
    "if": feed_forward(iaf, 0.8),
    "conv": convolutional(infer=True),
    "conv_untyped": convolutional(infer=False),
    "recurrent": recurrent,
}


def read(graph: Path, x: torch.Tensor, dt: float, mended: bool) -> torch.Tensor:
    return peers.norse()(graph, x, dt)


if __name__ == "__main__":
    main(NETWORKS, read)
