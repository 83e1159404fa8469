import numpy as np
import torch

from gshn.encoders.aggregation import Aggregation, degree_normalized
from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.neurons.kinds.lif import LIF
from gshn.neurons.lif import LIFParameters, spike_function

# A directed graph, so that a transposed adjacency shows: 0 -> 1, 0 -> 2, 2 -> 1; 3 is alone.
EDGES = torch.tensor([[0, 0, 2], [1, 2, 1]])


def make_encoder(layers: int = 3, steps: int = 6, seed: int = 0) -> SpikingGraphEncoder:
    torch.manual_seed(seed)
    encoder = SpikingGraphEncoder(5, 7, layers, steps, LIF(LIFParameters(), spike_function("atan", 2.0)))
    for linear in encoder.linears:
        torch.nn.init.normal_(linear.weight, std=1.2)
        torch.nn.init.normal_(linear.bias, std=0.7)
    return encoder.eval()


def oracle(encoder: SpikingGraphEncoder, x: np.ndarray, a: np.ndarray) -> list[np.ndarray]:
    """All layers step by step, with a full aggregation matrix."""
    p = encoder.neuron.p
    weights = [
        (linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()) for linear in encoder.linears
    ]
    v = [np.zeros((len(x), len(b))) for _, b in weights]
    out: list[list[np.ndarray]] = [[] for _ in weights]
    for _ in range(encoder.steps):
        s = x
        for k, (w, b) in enumerate(weights):
            current = (s if k == 0 else a @ s) @ w.T + b
            v[k] = v[k] + p.dt / p.tau * (p.v_leak - v[k] + p.r * current)
            s = (v[k] > p.v_threshold).astype(float)
            v[k] = np.where(s > 0, p.v_reset, v[k])
            out[k].append(s)
    return [np.stack(layer) for layer in out]


def test_degree_normalisation_by_hand() -> None:
    a = degree_normalized(EDGES, 4, self_weight=0.6).dense(4)
    # Node 0 has no incoming edge and keeps its value; node 1 hears 0 and 2.
    expected = torch.tensor([[1, 0, 0, 0], [0.2, 0.6, 0.2, 0], [0.4, 0, 0.6, 0], [0, 0, 0, 1]])
    torch.testing.assert_close(a, expected)


def test_aggregation_equals_the_matrix_product() -> None:
    aggregation = degree_normalized(EDGES, 4, self_weight=0.3)
    x = torch.randn(3, 4, 2)
    torch.testing.assert_close(aggregation(x), torch.einsum("ij,tjc->tic", aggregation.dense(4), x))


def test_spikes_equal_the_oracle() -> None:
    encoder = make_encoder()
    aggregation = degree_normalized(EDGES, 4, self_weight=0.5)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    trains = encoder(x, aggregation)
    expected = oracle(encoder, x.double().numpy(), aggregation.dense(4).double().numpy())
    for layer, spikes in zip(trains.layers, expected, strict=True):
        assert 0.02 < spikes.mean() < 0.98
        np.testing.assert_array_equal(layer.detach().numpy(), spikes)
    np.testing.assert_allclose(trains.rates.detach().numpy(), expected[-1].mean(axis=0))
    np.testing.assert_allclose(trains.firing_rate.item(), np.mean([s.mean() for s in expected]))


def test_oracle_tells_a_transposed_adjacency() -> None:
    encoder = make_encoder()
    aggregation = degree_normalized(EDGES, 4, self_weight=0.5)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    wrong = oracle(encoder, x.double().numpy(), aggregation.dense(4).double().numpy().T)
    assert (encoder(x, aggregation).output.detach().numpy() != wrong[-1]).any()


def test_later_layers_see_spikes_only() -> None:
    encoder = make_encoder(layers=2)
    aggregation = degree_normalized(EDGES, 4, self_weight=0.5)
    with torch.no_grad():
        encoder.linears[0].weight.zero_()
        encoder.linears[0].bias.fill_(-1.0)  # layer 0 is silent
    one, other = (encoder(torch.randn(4, 5), aggregation) for _ in range(2))
    assert one.layers[0].sum() == 0
    assert torch.equal(one.output, other.output)


def test_a_batch_of_graphs_gives_each_graph_its_own_spikes() -> None:
    encoder = make_encoder()
    x = torch.randn(8, 5)
    both = degree_normalized(torch.cat([EDGES, EDGES + 4], dim=1), 8, self_weight=0.5)
    alone = degree_normalized(EDGES, 4, self_weight=0.5)
    trains = encoder(x, both)
    assert torch.equal(trains.output[:, :4], encoder(x[:4], alone).output)
    assert torch.equal(trains.output[:, 4:], encoder(x[4:], alone).output)


def test_permuting_nodes_permutes_spikes() -> None:
    encoder = make_encoder()
    x, order = torch.randn(4, 5), torch.tensor([2, 0, 3, 1])
    position = order.argsort()
    permuted = encoder(x[order], degree_normalized(position[EDGES], 4, self_weight=0.5)).output
    assert torch.equal(permuted, encoder(x, degree_normalized(EDGES, 4, self_weight=0.5)).output[:, order])


def test_gradients_reach_all_weights() -> None:
    encoder = make_encoder(layers=2).train()
    trains = encoder(torch.randn(4, 5), degree_normalized(EDGES, 4, self_weight=0.5))
    assert trains.output.dtype == torch.float32
    trains.rates.sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_dense_puts_the_target_in_the_row() -> None:
    aggregation = Aggregation(torch.tensor([[1], [0]]), torch.tensor([0.7]))
    assert aggregation.dense(2).tolist() == [[0.0, torch.tensor(0.7).item()], [0.0, 0.0]]
