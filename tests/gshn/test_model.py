"""What retrieval ranks by, and what spiked text learning reads and looks at."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import pair_batch, tiny_config, tiny_model

from gshn.encoders.alignment import attended
from gshn.encoders.spiked_text import traces, unit
from gshn.model import GSHN
from gshn.training.objective import Objective


def with_whole_nodes(model: GSHN):
    """A batch of which each graph's first node stands for the whole image."""
    batch = pair_batch(model, range(4))
    graphs = batch.graphs
    graphs.whole = torch.zeros(graphs.num_nodes, dtype=torch.bool).index_fill(0, graphs.ptr[:-1], True)
    return batch


@torch.no_grad()
def test_whole_texts_and_whole_images_as_spikes() -> None:
    model = tiny_model(tiny_config("model.spiking.text=whole", "model.similarity=whole")).eval()
    batch = with_whole_nodes(model)
    encoded = model.encode_graphs(batch.graphs)
    read = model.encode_text(batch.input_ids, batch.attention_mask)
    assert read.words is None  # nobody reads them
    texts, images = model.embed_texts(read), model.embed_images(encoded)
    p, stl = encoded.spikes, model.stl
    for i, first in enumerate(batch.graphs.ptr[:-1].tolist()):
        own = torch.stack([torch.cat([layer[t, first] for layer in p.layers]) for t in range(len(p.output))])
        expected = unit(traces(own.float(), stl.neuron.p).flatten())
        torch.testing.assert_close(images.spikes.whole[i], expected)
        current = F.layer_norm(read.whole[i], (16,)) @ stl.current.weight.T + stl.current.bias
        code = stl.text_spikes(F.layer_norm(read.whole[i], (16,))[None])[:, 0]
        assert (code[0] == (0.5 * current > 1)).all()  # the first step of lif_step: w = dt / tau * current
        torch.testing.assert_close(texts.spikes.whole[i], unit(traces(code, stl.neuron.p).flatten()))
    met = model.part_similarities(read, model.node_tokens(encoded))
    assert met.shape[-1] == 2 and torch.equal(met[:, 0, :, 1], met[:, 1, :, 1])
    assert not torch.equal(met[:, 0, :, 0], met[:, 1, :, 0])


@torch.no_grad()
@pytest.mark.parametrize("weight", [None, 0.0, 0.25])
def test_the_weight_of_spikes_in_retrieval(weight: float | None) -> None:
    model = tiny_model(tiny_config(f"model.spike_weight={'null' if weight is None else weight}")).eval()
    batch = pair_batch(model, range(4))
    images = model.embed_images(model.encode_graphs(batch.graphs))
    texts = model.embed_texts(model.encode_text(batch.input_ids, batch.attention_mask))
    w = float(model.stl.scale() / model.scale()) if weight is None else weight
    expected = (model.alignment(texts, images) + w * model.spike_alignment(texts, images)) / (1 + w)
    torch.testing.assert_close(model.similarity(texts, images), expected)
    assert float(model.similarity_scale()) == pytest.approx(float(model.scale()) * (1 + w))


def test_retrieval_alone_reads_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """What compares wholes only does not project tokens, and learns the same."""
    asked: list[bool] = []
    encode = GSHN.encode_text

    def watch(self, ids, mask, states=None, tokens=True, chunk=None):
        asked.append(tokens)
        return encode(self, ids, mask, states, tokens, chunk)

    monkeypatch.setattr(GSHN, "encode_text", watch)
    model = tiny_model(tiny_config("model.similarity=whole", "objectives.mlm=0", "objectives.itm=0"))
    batch = pair_batch(model, range(4))
    losses = Objective(model, model.config.objectives)(batch)
    losses["loss"].backward()
    assert asked == [False] and {"itc", "stl_contrast"} <= losses.keys()
    assert model.text_head.parts.weight.grad is None
    Objective(model, replace(model.config.objectives, mlm=1.0))(batch)
    assert asked[1]


@torch.no_grad()
def test_v_changes_with_the_spikes_where_they_are_read_linearly() -> None:
    model = tiny_model(tiny_config("model.spiking.readout=linear", "model.spiking.width=24")).eval()
    batch = pair_batch(model, range(4))
    before = model.encode_graphs(batch.graphs)
    model.encoder.r.zero_()
    after = model.encode_graphs(batch.graphs)
    discrete = (before.nodes - after.nodes).norm(dim=1)
    assert (discrete > 0.05 * after.nodes.norm(dim=1)).all()


@torch.no_grad()
def test_what_few_data_need_reaches_the_model() -> None:
    keys = ["model.residual=pre", "model.feature_noise=0.5", "model.text.hidden=7", "model.hidden_dropout=0.3"]
    model = tiny_model(tiny_config(*keys, "model.spiking.readout=linear", "model.spiking.width=24"))
    assert model.node_embedding.norm is None and model.node_embedding.noise == 0.5
    assert model.encoder.gat.pre and model.encoder.spiking.weights[-1].shape == (24, 24)
    assert model.text_head.hidden[0].out_features == 7
    assert model.encoder.decoder[0].p == model.text_head.hidden[2].p == model.encoder.gat.drop.p == 0.3
    encoded = model.eval().encode_graphs(pair_batch(model, range(4)).graphs)
    torch.testing.assert_close(model.embed_images(encoded).whole, F.normalize(encoded.readout, dim=-1))
    assert tiny_model(tiny_config()).node_embedding.norm is not None


@torch.no_grad()
def test_the_pooled_baseline_looks_at_the_whole_image_only() -> None:
    keys = ["model.encoder=pooled", "graph.whole_image=true", "model.similarity=whole", "objectives.firing_rate=0"]
    model = tiny_model(tiny_config(*keys)).eval()
    graphs = with_whole_nodes(model).graphs
    before = model.embed_images(model.encode_graphs(graphs)).whole
    graphs.x = torch.where(graphs.whole[:, None], graphs.x, 0.0)
    torch.testing.assert_close(model.embed_images(model.encode_graphs(graphs)).whole, before)
    graphs.x = graphs.x + graphs.whole[:, None]
    assert not torch.allclose(model.embed_images(model.encode_graphs(graphs)).whole, before, atol=1e-3)


@torch.no_grad()
def test_a_text_attends_to_segments_in_the_space_of_wholes() -> None:
    keys = ["model.similarity=attention", "model.part_weight=0.3", "objectives.stl_contrast=0", "model.residual=pre"]
    model = tiny_model(tiny_config(*keys)).eval()
    batch = with_whole_nodes(model)
    encoded = model.encode_graphs(batch.graphs)
    images = model.embed_images(encoded)
    assert images.mask.sum(dim=1).tolist() == [1, 2, 3, 4] and not images.mask[:, 0].any()  # the whole is no segment
    torch.testing.assert_close(images.parts[1, 1:3], F.normalize(encoded.continuous[3:5], dim=-1))
    torch.testing.assert_close(images.whole, F.normalize(encoded.nodes[batch.graphs.whole], dim=-1))
    texts = model.embed_texts(model.encode_text(batch.input_ids, batch.attention_mask))
    whole = texts.whole @ images.whole.T
    expected = 0.7 * whole + 0.3 * attended(texts, images, model.attention_scale)
    torch.testing.assert_close(model.similarity(texts, images), expected)
    alone = replace(encoded, whole=torch.ones_like(batch.graphs.whole))
    assert torch.equal(model.embed_images(alone).mask.sum(dim=1), torch.tensor([2, 3, 4, 5]))
    assert "attention_scale" not in tiny_model(tiny_config()).state_dict()  # checkpoints of before load
