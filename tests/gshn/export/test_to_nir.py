"""The exported NIR graph computes what the encoder computes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from scenarios import reference_spikes

from gshn.encoders.aggregation import degree_normalized
from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.export import side_by_side
from gshn.export.side_by_side import constant_input, network_of, pytorch_spikes
from gshn.export.to_nir import spiking_graph_to_nir
from gshn.inference import SpikingInput
from gshn.neurons.kinds.lif import LIF
from gshn.neurons.lif import LIFParameters, spike_function
from neuromorphic.compiler.linear import KRON_LEFT, KRON_RIGHT
from neuromorphic.compiler.lower import lower
from neuromorphic.graph import flatten
from neuromorphic.nir_file import read_nir, write_nir

NODES, CHANNELS, STEPS = 5, 6, 12
# A directed path with a branch: A is far from symmetric.
EDGES = torch.tensor([[0, 1, 1, 2, 3], [1, 2, 3, 4, 4]])


def make(p: LIFParameters | None = None) -> tuple[SpikingGraphEncoder, SpikingInput]:
    torch.manual_seed(1)
    encoder = SpikingGraphEncoder(4, CHANNELS, 3, STEPS, LIF(p or LIFParameters(), spike_function("atan", 2.0))).eval()
    for linear in encoder.linears:
        torch.nn.init.normal_(linear.bias, 0.7, 0.5)
    return encoder, SpikingInput(2 * torch.randn(NODES, 4), degree_normalized(EDGES, NODES, 0.3))


@pytest.mark.parametrize(
    "p",
    [LIFParameters(), LIFParameters(tau=7e-4, r=3.0, v_leak=0.2, v_threshold=0.8, v_reset=-0.3)],
    ids=["defaults", "all other"],
)
def test_the_graph_gives_the_encoders_spikes(tmp_path: Path, p: LIFParameters) -> None:
    encoder, image = make(p)
    write_nir(tmp_path / "encoder.nir", spiking_graph_to_nir(encoder, image.aggregation, NODES))
    graph = read_nir(tmp_path / "encoder.nir")
    ours = reference_spikes(graph, constant_input(image.x, STEPS))
    expected = pytorch_spikes(encoder, image)
    for k, layer in enumerate(expected):
        assert layer.any() and not layer.all()
        np.testing.assert_array_equal(ours[f"lif_{k}"], layer)


@pytest.mark.parametrize(("layers", "compiled"), [(1, 2), (2, 4)])
def test_images_share_a_network_where_spikes_do_not_pass_along_edges(
    monkeypatch: pytest.MonkeyPatch, layers: int, compiled: int
) -> None:
    torch.manual_seed(2)
    encoder = SpikingGraphEncoder(4, CHANNELS, layers, STEPS, LIF(LIFParameters(), spike_function("atan", 2.0))).eval()
    sizes = [NODES, 3, NODES, 3]
    ring = [torch.stack([torch.arange(n), torch.arange(n).roll(k)]) for k, n in enumerate(sizes, 1)]
    images = [
        SpikingInput(2 * torch.randn(n, 4), degree_normalized(e, n, 0.3)) for n, e in zip(sizes, ring, strict=True)
    ]
    made = []
    monkeypatch.setattr(side_by_side, "network_of", lambda *a: made.append(a) or network_of(*a))
    for precision in ("float", "fixed"):
        made.clear()
        result = side_by_side.run_images(encoder, images, precision, "numpy")
        assert len(made) == compiled
        for image, own in zip(images, result.spikes, strict=True):
            for k, layer in enumerate(pytorch_spikes(encoder, image)):
                assert layer.any() and own[f"lif_{k}"].shape == layer.shape
                if precision == "float":
                    np.testing.assert_array_equal(own[f"lif_{k}"], layer)


def test_a_transposed_adjacency_gives_other_spikes() -> None:
    encoder, image = make()
    turned = degree_normalized(EDGES, NODES, 0.3)
    turned = type(turned)(turned.edge_index.flip(0), turned.weight)
    ours = reference_spikes(spiking_graph_to_nir(encoder, turned, NODES), constant_input(image.x, STEPS))
    assert (ours["lif_2"] != pytorch_spikes(encoder, image)[-1]).any()


def test_the_file_is_plain_nir(tmp_path: Path) -> None:
    encoder, image = make()
    write_nir(tmp_path / "encoder.nir", spiking_graph_to_nir(encoder, image.aggregation, NODES))
    graph = nir.read(tmp_path / "encoder.nir")
    names = ["input", "affine_0", "lif_0", "affine_1", "lif_1", "affine_2", "lif_2", "output"]
    assert sorted(graph.nodes) == sorted(names)
    assert sorted(graph.edges) == sorted(pairwise(names))
    assert {type(node).__name__ for node in graph.nodes.values()} == {"Input", "Affine", "LIF", "Output"}
    assert graph.metadata["dt"] == encoder.neuron.p.dt and graph.metadata["steps"] == STEPS
    assert graph.nodes["lif_0"].metadata["reset"] == "zero"
    assert graph.nodes["affine_1"].weight.dtype == np.float64
    assert graph.nodes["affine_1"].metadata.keys() == {KRON_LEFT, KRON_RIGHT}
    lower(flatten(graph))
