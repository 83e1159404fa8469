"""A batch that is encoded in chunks teaches what it teaches as a whole."""

import pytest
import torch
from helpers import pair_batch, question_batch, tiny_config, tiny_model

from gshn.config import load_config
from gshn.encoders.chunks import split, texts_in_chunks
from gshn.encoders.text import EncodedTexts
from gshn.errors import ConfigError
from gshn.training.objective import Objective


def taught(chunk: int | None, *overrides: str) -> tuple[dict[str, torch.Tensor], list[int], list[int]]:
    """Losses and gradients of five images with two captions each, and of questions; graphs and texts of each call."""
    model = tiny_model(tiny_config("objectives.fusion_stride=2", "model.category_dropout=0.5", *overrides)).train()
    graphs: list[int] = []
    texts: list[int] = []
    model.encoder.register_forward_pre_hook(lambda _, own: graphs.append(own[0].num_graphs))
    model.text.register_forward_pre_hook(lambda _, own: texts.append(len(own[0])))
    torch.manual_seed(3)
    pairs, asked = pair_batch(model, range(5), [0, 5, 1, 3, 2, 7, 4, 6, 3, 1]), question_batch(model, range(3))
    losses = Objective(model, model.config.objectives, chunk)(pairs, asked, "vqa")
    losses["loss"].backward()
    found = {f"loss.{name}": loss.detach() for name, loss in losses.items()}
    found |= {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found, graphs, texts


@pytest.mark.parametrize(
    "overrides",
    [(), ("model.spiking.enabled=false", "model.similarity=whole"), ("precision=float32", "model.gat.enabled=false")],
)
@pytest.mark.parametrize("chunk", [1, 2, 5, 9])
def test_losses_and_gradients_are_those_of_the_whole(chunk: int, overrides: tuple[str, ...]) -> None:
    whole, *_ = taught(None, *overrides)
    found, graphs, texts = taught(chunk, *overrides)
    assert found.keys() == whole.keys() and {"loss.itc", "loss.vqa"} <= whole.keys()
    for name, expected in whole.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert max(graphs) == min(chunk, 5)
    if chunk == 2:  # the second pass goes backward; masked captions are not in chunks
        assert graphs == [2, 2, 1, 2, 1, 1, 2, 1, 2, 2], graphs
        assert sum(texts) > 2 * (10 + 3)


def test_dropout_is_the_same_in_both_passes() -> None:
    model = tiny_model(tiny_config("model.dropout=0.5")).train()
    batch = pair_batch(model, range(4))
    torch.manual_seed(0)
    texts = model.encode_text(batch.input_ids, batch.attention_mask, chunk=2)
    texts.whole.square().sum().backward()
    found = model.text.bert.embeddings.word_embeddings.weight.grad.clone()
    model.zero_grad()
    torch.manual_seed(0)
    parts = [model.encode_text(batch.input_ids[k : k + 2], batch.attention_mask[k : k + 2]) for k in (0, 2)]
    torch.cat([part.whole for part in parts]).square().sum().backward()
    torch.testing.assert_close(found, model.text.bert.embeddings.word_embeddings.weight.grad)


def test_a_split_has_every_node_and_edge_once() -> None:
    model = tiny_model()
    inputs = model.node_inputs(pair_batch(model, [3, 0, 6, 1, 2]).graphs)
    parts = list(split(inputs, 2))
    assert [part.num_graphs for part in parts] == [2, 2, 1]
    for name in ("x", "edge_attr", "centroid"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(inputs, name))
    first = [0, *torch.tensor([len(part.x) for part in parts]).cumsum(0).tolist()]
    edges = [part.edge_index + own for part, own in zip(parts, first, strict=False)]
    assert torch.equal(torch.cat(edges, dim=1), inputs.edge_index)
    assert torch.equal(torch.cat([part.batch + 2 * k for k, part in enumerate(parts)]), inputs.batch)


def test_states_of_frozen_texts_come_with_their_texts() -> None:
    ids = torch.arange(10).reshape(5, 2)

    def encode(own: torch.Tensor, mask: torch.Tensor, states: torch.Tensor | None, tokens: bool) -> EncodedTexts:
        assert states is not None and torch.equal(states[..., 0], own.float()) and tokens
        return EncodedTexts(mask, states, states, states[:, 0])

    found = texts_in_chunks(encode, ids, ids >= 0, ids[..., None].float(), True, 2)
    assert torch.equal(found.whole[:, 0], ids[:, 0].float())


def test_norms_over_a_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match="'chunk' is 4: spikformer norms over a whole batch: set null"):
        load_config("default", ["chunk=4", "model.encoder=spikformer"])
