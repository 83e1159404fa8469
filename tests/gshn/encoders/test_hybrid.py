import dataclasses

import pytest
import torch

from gshn.config import GATConfig, ModelConfig, SpikingConfig
from gshn.encoders.hybrid import HybridEncoder, NodeInputs
from gshn.encoders.pooled import PooledEncoder
from gshn.encoders.spiking import SpikeTrains
from gshn.errors import ConfigError

EDGES = torch.tensor([[0, 1, 2, 3, 4, 3], [1, 0, 3, 2, 3, 4]])


def make_inputs(width: int = 8) -> NodeInputs:
    """Two graphs, of two and three nodes."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(5, width, generator=random)
    edge_attr = torch.randn(6, 3, generator=random)
    return NodeInputs(x, EDGES, edge_attr, torch.tensor([0, 0, 1, 1, 1]), 2, torch.rand(5, 2, generator=random))


def make(**spiking: object) -> HybridEncoder:
    torch.manual_seed(0)
    config = ModelConfig(width=8, spiking=SpikingConfig(**spiking))  # type: ignore[arg-type]
    return HybridEncoder(config, 3).eval()


@torch.no_grad()
def test_fusion_is_the_papers() -> None:
    encoder, inputs = make(), make_inputs()
    encoder.r.fill_(0.3)
    out = encoder(inputs)
    assert out.spikes is not None
    f_gat, _ = encoder.gat(inputs.x, inputs.edge_index, inputs.edge_attr)
    torch.testing.assert_close(out.nodes, 0.3 * out.spikes.output.mean(dim=0).float() + f_gat)
    assert out.readout.shape == (2, 8)
    assert encoder.r.requires_grad


@torch.no_grad()
def test_either_path_can_be_switched_off() -> None:
    inputs = make_inputs()
    only_gat = HybridEncoder(ModelConfig(width=8, spiking=SpikingConfig(enabled=False)), 3).eval()(inputs)
    assert only_gat.spikes is None
    encoder = HybridEncoder(ModelConfig(width=8, gat=GATConfig(enabled=False)), 3).eval()
    only_snn = encoder(inputs)
    assert only_snn.spikes is not None
    torch.testing.assert_close(only_snn.nodes, encoder.r * only_snn.spikes.rates.float())
    with pytest.raises(ConfigError, match="switch one of them on"):
        ModelConfig(gat=GATConfig(enabled=False), spiking=SpikingConfig(enabled=False))
    with pytest.raises(ConfigError, match=r"model\.spiking\.aggregation"):
        ModelConfig(gat=GATConfig(enabled=False), spiking=SpikingConfig(aggregation="attention"))


@torch.no_grad()
@pytest.mark.parametrize("residual", ["post", "pre"])
@pytest.mark.parametrize("aggregation", ["degree", "attention"])
def test_spikes_from_elsewhere_take_the_paths_place(aggregation: str, residual: str) -> None:
    """What other simulators are given is what the path itself gets: normalised, where it reads LayerNorm."""
    config = ModelConfig(width=8, residual=residual, spiking=SpikingConfig(steps=4, aggregation=aggregation))
    encoder, inputs = HybridEncoder(config, 3).eval(), make_inputs()
    own = encoder(inputs)
    assert own.spikes.output.any()
    x, a = encoder.spiking_inputs(inputs)
    torch.testing.assert_close(a.dense(5).sum(dim=1), torch.ones(5))  # each node's weights sum to 1
    spikes = encoder.spiking(x, a)
    for elsewhere, layer in zip(spikes.layers, own.spikes.layers, strict=True):
        assert torch.equal(elsewhere, layer)
    assert torch.equal(own.nodes, encoder(inputs, spikes).nodes)
    silent = SpikeTrains(tuple(torch.zeros_like(layer) for layer in own.spikes.layers))
    assert not torch.equal(encoder(inputs, silent).nodes, own.nodes)


@torch.no_grad()
def test_attention_is_what_spikes_pass_along_when_asked_for() -> None:
    inputs = make_inputs()
    encoder = make(aggregation="attention")
    _, attention = encoder.gat(inputs.x, inputs.edge_index, inputs.edge_attr)
    torch.testing.assert_close(encoder.spiking_inputs(inputs)[1].dense(5), attention.dense(5))
    degree = make(aggregation="degree").spiking_inputs(inputs)[1].dense(5)
    torch.testing.assert_close(degree[3], torch.tensor([0, 0, 0.05, 0.9, 0.05]))


@torch.no_grad()
def test_a_linear_readout_has_the_rates_of_all_layers() -> None:
    encoder, inputs = make(readout="linear", width=12), make_inputs()
    out = encoder(inputs)
    assert out.spikes is not None and [layer.shape[2] for layer in out.spikes.layers] == [12, 12]
    f_gat, _ = encoder.gat(inputs.x, inputs.edge_index, inputs.edge_attr)
    _, linear = encoder.decoder
    for n in range(5):
        rates = torch.cat([layer[:, n].sum(dim=0) / len(layer) for layer in out.spikes.layers]).float()
        expected = encoder.r * (linear.weight @ rates + linear.bias) + f_gat[n]
        torch.testing.assert_close(out.nodes[n], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"model\.spiking\.width.*readout=linear"):
        SpikingConfig(width=12)


@torch.no_grad()
def test_the_node_of_the_whole_image_is_the_readout() -> None:
    encoder, inputs = make(), make_inputs()
    whole = torch.tensor([True, False, True, False, False])
    out = encoder(dataclasses.replace(inputs, whole=whole))
    assert torch.equal(out.readout, out.nodes[[0, 2]])
    assert out.whole is whole


@torch.no_grad()
def test_pre_norm_paths_start_at_nothing_and_spikes_read_the_norm() -> None:
    spiking = SpikingConfig(layers=1, steps=3, readout="linear", width=64)
    encoder, inputs = HybridEncoder(ModelConfig(width=8, residual="pre", spiking=spiking), 3).eval(), make_inputs()
    out = encoder(inputs)
    assert torch.equal(out.nodes, inputs.x) and torch.equal(out.continuous, inputs.x)
    assert out.spikes is not None and out.spikes.output.any()
    larger = encoder(dataclasses.replace(inputs, x=7 * inputs.x + 3))
    for a, b in zip(out.spikes.layers, larger.spikes.layers, strict=True):
        assert torch.equal(a, b)  # LayerNorm takes scale and offset away
    encoder.decoder[1].weight.normal_()
    assert not torch.allclose(encoder(inputs).nodes, inputs.x)
    encoder.r.zero_()
    encoder.gat.share[0].fill_(0.5)
    half = encoder(inputs).continuous - inputs.x
    encoder.gat.share[0].fill_(1.0)
    assert half.abs().max() > 0.01
    torch.testing.assert_close(encoder(inputs).continuous - inputs.x, 2 * half, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_what_pre_norm_attention_reads_and_adds_is_dropped_in_training() -> None:
    inputs = make_inputs()
    off = SpikingConfig(enabled=False)
    config = ModelConfig(width=8, residual="pre", hidden_dropout=0.5, spiking=off, gat=GATConfig(layers=1))
    gat = HybridEncoder(config, 3).gat.train()
    gat.share[0].fill_(1.0)
    added = torch.stack([gat(inputs.x, inputs.edge_index, inputs.edge_attr)[0] - inputs.x for _ in range(200)])
    assert 0.4 < (added == 0).float().mean() < 0.6
    own = added[:, 0, 0][added[:, 0, 0] != 0]
    assert len(own.unique()) > 20  # what is added differs, too: inputs are dropped
    gat.eval()
    once, again = (gat(inputs.x, inputs.edge_index, inputs.edge_attr)[0] for _ in range(2))
    assert torch.equal(once, again)


@torch.no_grad()
def test_pre_norm_layers_add_to_their_input() -> None:
    inputs = make_inputs()
    encoder = HybridEncoder(ModelConfig(width=8, residual="pre", spiking=SpikingConfig(enabled=False)), 3).eval()
    for share in encoder.gat.share:
        share.fill_(0.5)
    h = inputs.x
    for conv, norm in zip(encoder.gat.convs, encoder.gat.norms, strict=True):
        h = h + 0.5 * torch.nn.functional.gelu(conv(norm(h), inputs.edge_index, inputs.edge_attr))
    torch.testing.assert_close(encoder(inputs).nodes, h)


@torch.no_grad()
def test_pooled_baseline_by_hand() -> None:
    torch.manual_seed(0)
    encoder, inputs = PooledEncoder(ModelConfig(width=8, encoder="pooled", pooled_hidden=5)).eval(), make_inputs()
    out = encoder(dataclasses.replace(inputs, whole=torch.tensor([True, False, True, False, False])))
    norm, first, _, _, second = encoder.hidden
    for row, x in zip(out.readout, inputs.x[[0, 2]], strict=True):
        z = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() * norm.weight + norm.bias
        hidden = (first.weight @ z + first.bias).clamp(min=0)
        expected = x + second.weight @ hidden + second.bias
        torch.testing.assert_close(row, expected)
    with pytest.raises(ConfigError, match=r"graph\.whole_image=true"):
        encoder(inputs)


@torch.no_grad()
def test_graphs_in_a_batch_do_not_mix() -> None:
    encoder, inputs = make(), make_inputs()
    changed = dataclasses.replace(inputs, x=torch.cat([inputs.x[:2], torch.randn(3, 8)]))
    one, other = encoder(inputs), encoder(changed)
    assert torch.equal(one.nodes[:2], other.nodes[:2])
    torch.testing.assert_close(one.readout[0], other.readout[0])
    assert not torch.equal(one.readout[1], other.readout[1])


def test_r_starts_where_the_configuration_says() -> None:
    fixed, learned = (HybridEncoder(ModelConfig(width=8, **own), 3).r for own in ({"r": 8.0, "learn_r": False}, {}))
    assert float(fixed) == 8.0 and not fixed.requires_grad
    assert float(learned) == 1.0 and learned.requires_grad
