import pytest
import torch
from helpers import CAPTIONS, pair_batch, random_graph, tiny_config, tiny_model
from torch_geometric.data import Batch

from gshn.encoders.spikformer import SpikingSelfAttention
from gshn.encoders.text import tokenize
from gshn.neurons.lif import LIFParameters, lif_sequence, spike_function
from gshn.training.objective import Objective

OVERRIDES = [
    "model.encoder=spikformer",
    "model.text.encoder=spikformer",
    "model.transformer.heads=2",
    "model.similarity=whole",
    *(f"objectives.{name}=0" for name in ("spike_contrast", "stl_contrast", "stl_words", "mlm", "itm", "firing_rate")),
]


def test_attention_head_by_head_and_step_by_step() -> None:
    p, spike = LIFParameters(), spike_function("atan", 2.0)
    torch.manual_seed(0)
    module = SpikingSelfAttention(16, 2, p, spike).double()
    for layer in (module.query, module.key, module.value):
        torch.nn.init.constant_(layer.norm.bias, 2.0)  # many spikes, so that some are attended to
    x = (torch.rand(5, 7, 16) < 0.5).double()
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    with torch.no_grad():
        q, k, v, attended, _ = module(x, mask)
    currents = torch.zeros(5, 7, 16, dtype=torch.float64)
    for rows in (range(3), range(3, 7)):
        for t in range(5):
            for head in (slice(8), slice(8, 16)):
                for i in rows:
                    currents[t, i, head] = sum(
                        module.SCALE * (q[t, i, head] @ k[t, j, head]) * v[t, j, head] for j in rows
                    )
    assert torch.equal(attended, lif_sequence(currents, p, spike)[0])
    assert 0 < float(attended.mean()) < 1, "the comparison would say little otherwise"


def test_everything_is_spikes_but_the_states() -> None:
    model = tiny_model(tiny_config(*OVERRIDES)).train()  # eval mode's norms know no statistics yet
    with torch.no_grad():
        encoded = model.encode_graphs(Batch.from_data_list([random_graph(nodes, 0) for nodes in (4, 9)]))
    assert encoded.spikes is not None and len(encoded.spikes.layers) == 1 + 7 * model.config.model.transformer.layers
    assert all(set(layer.unique().tolist()) <= {0.0, 1.0} for layer in encoded.spikes.layers)
    assert 0.02 < float(encoded.spikes.firing_rate) < 0.9


def test_graphs_do_not_see_each_other() -> None:
    model = tiny_model(tiny_config(*OVERRIDES)).eval()
    graphs = [random_graph(nodes, nodes) for nodes in (2, 5, 3)]
    together = model.encode_graphs(Batch.from_data_list(graphs))
    for i, graph in enumerate(graphs):
        alone = model.encode_graphs(Batch.from_data_list([graph]))
        torch.testing.assert_close(together.nodes[together.batch == i], alone.nodes, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.readout[i], alone.nodes.mean(dim=0), atol=1e-5, rtol=1e-5)


def test_texts_do_not_see_padding_and_order_counts() -> None:
    model = tiny_model(tiny_config(*OVERRIDES)).eval()
    ids, mask = tokenize(model.tokenizer, ["a star", "a star on grass"])
    together = model.encode_text(ids, mask).hidden
    alone = model.encode_text(ids[:1, :4], mask[:1, :4]).hidden
    torch.testing.assert_close(together[0, :4], alone[0], atol=1e-5, rtol=1e-5)
    assert not together[0, 4:].any()
    swapped = model.encode_text(ids[1:, [0, 2, 1, 3, 4, 5]], mask[1:]).hidden
    assert (swapped[0, 1] - together[1, 2]).abs().max() > 1e-3, "a word elsewhere has another state"


@pytest.mark.parametrize("encoder", ["model.encoder", "model.text.encoder"])
def test_all_of_it_learns(encoder: str) -> None:
    overrides = [o for o in OVERRIDES if ".encoder=" not in o] + [f"{encoder}=spikformer"]
    model = tiny_model(tiny_config(*overrides))
    losses = Objective(model, model.config.objectives)(pair_batch(model, range(len(CAPTIONS))))
    losses["loss"].backward()
    trained = model.encoder if encoder == "model.encoder" else model.text
    assert all(p.grad is not None and p.grad.any() for p in trained.parameters())
