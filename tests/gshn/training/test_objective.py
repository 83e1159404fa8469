"""The weighted sum of all losses."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import pair_batch, question_batch, random_graph, tiny_config, tiny_model
from torch_geometric.data import Batch

from gshn.config import load_config
from gshn.graphs.scene_graph import EDGE_GEOMETRY, SceneGraph
from gshn.training.objective import Objective


def losses(known):
    """Loss of questions, the answers of some of which are not in the vocabulary, and its gradients."""
    model = tiny_model().eval()
    objective = Objective(model, load_config("default").objectives)
    batch = question_batch(model, range(4))
    answer = batch.answer * torch.tensor(known)[:, None]
    found = objective(None, replace(batch, answer=answer), "vqa")
    found["loss"].backward()
    gradient = torch.cat([p.grad.flatten() for p in model.answer_heads.parameters() if p.grad is not None])
    return found, gradient


def test_a_question_without_a_known_answer_has_no_weight():
    each = [losses([float(i == k) for i in range(4)])[0]["vqa"] for k in range(4)]
    some, gradient = losses([1.0, 0.0, 0.5, 0.0])
    assert float(some["vqa"].detach()) == pytest.approx(float((each[0] + each[2]).detach()) / 2, rel=1e-5)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0
    whole, _ = losses([1.0] * 4)
    assert float(whole["vqa"].detach()) == pytest.approx(float(sum(each).detach()) / 4, rel=1e-5)


def test_a_batch_of_nothing_but_unknown_answers_teaches_nothing():
    found, gradient = losses([0.0] * 4)
    assert float(found["vqa"].detach()) == 0 and torch.isfinite(found["loss"].detach())
    assert (gradient == 0).all()


def test_an_image_without_negatives_is_matched_with_its_own_captions_only() -> None:
    model = tiny_model().eval()
    batch = pair_batch(model, [0, 0, 0], [1, 2, 3])
    losses = Objective(model, model.config.objectives)(batch)
    assert losses["itc"] == losses["stl_contrast"] == 0
    losses["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    texts = model.encode_text(batch.input_ids, batch.attention_mask)
    logits = model.matching(texts, model.node_tokens(model.encode_graphs(batch.graphs)))
    # Of the three answers to each pair only "yes" to its own caption is left, at its weight of 4 / 3.
    expected = 4 / 3 * F.cross_entropy(logits, torch.ones(3, dtype=torch.long)) / 3
    torch.testing.assert_close(losses["itm"], expected)


def test_captions_of_an_image_teach_together_what_they_teach_one_by_one() -> None:
    """Losses of three images with two captions each, against the sums of which they are made."""
    model = tiny_model(tiny_config("objectives.fusion_stride=2")).eval()
    batch = pair_batch(model, [0, 1, 2], [0, 5, 1, 3, 2, 7])
    with torch.no_grad():
        found = Objective(model, model.config.objectives)(batch)
        texts = model.encode_text(batch.input_ids, batch.attention_mask)
        encoded = model.encode_graphs(batch.graphs)
        logits = model.scale() * model.alignment(model.embed_texts(texts), model.embed_images(encoded))
        own, image = torch.arange(6), torch.arange(6) // 2
        to_text = logits.T[image].masked_fill((image[:, None] == image) & (own[:, None] != own), -torch.inf)
        expected = (F.cross_entropy(logits, image) + F.cross_entropy(to_text, own)) / 2
        torch.testing.assert_close(found["itc"], expected)
        # Words: of both captions alike. Fusion: images 0 and 2, each with the first of its captions.
        first, second = (pair_batch(model, [0, 1, 2], captions) for captions in ([0, 1, 2], [5, 3, 7]))
        each = [model.stl.word_prediction(encoded.spikes.rates, encoded.batch, b.words) for b in (first, second)]
        counts = [b.words.sum() for b in (first, second)]
        weighted = sum(loss * count for loss, count in zip(each, counts, strict=True)) / sum(counts)
        torch.testing.assert_close(found["stl_words"], weighted)
        length = first.input_ids.shape[1]
        masked = {name: getattr(batch, name)[::2, :length] for name in ("masked_ids", "labels")}
        torch.testing.assert_close(
            found["mlm"], Objective(model, model.config.objectives)(replace(first, **masked))["mlm"]
        )


def bare_graph(nodes: int) -> SceneGraph:
    """A graph of so many nodes, which may be none, without edges."""
    graph = random_graph(max(nodes, 1), nodes)
    parts = {name: graph[name][:nodes] for name in ("x", "category", "geometry")}
    no_edges = {"edge_index": torch.zeros(2, 0, dtype=torch.long), "edge_attr": torch.zeros(0, len(EDGE_GEOMETRY))}
    return SceneGraph(**parts, **no_edges, num_nodes=nodes)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["model.spiking.enabled=false"],
        ["model.gat.enabled=false"],
        ["model.spiking.aggregation=attention"],
        ["model.encoder=transformer"],
        ["model.encoder=spikformer"],
    ],
    ids=lambda options: " ".join(options) or "hybrid",
)
@pytest.mark.parametrize("sizes", [(0, 2, 1), (1, 0, 1), (2, 1, 0), (1, 1, 1), (0, 0, 0)])
def test_graphs_without_nodes_or_edges_anywhere_in_a_batch(options: list[str], sizes: tuple[int, ...]) -> None:
    model = tiny_model(tiny_config(*options)).train()
    graphs = Batch.from_data_list([bare_graph(size) for size in sizes])
    pairs, texts = pair_batch(model, range(3)), question_batch(model, range(3))
    losses = Objective(model, model.config.objectives)(
        replace(pairs, graphs=graphs), replace(texts, graphs=graphs), "vqa"
    )
    losses["loss"].backward()
    assert all(loss.isfinite() for loss in losses.values()), losses
    assert [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()] == []
