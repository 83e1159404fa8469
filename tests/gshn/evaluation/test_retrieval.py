import pytest
import torch
from helpers import CAPTIONS, pair_batch, random_graph, tiny_config, tiny_model
from torch import Tensor
from torchmetrics.functional.retrieval import retrieval_hit_rate

from gshn.encoders.alignment import similarity
from gshn.encoders.text import tokenize
from gshn.evaluation import retrieval
from gshn.evaluation.retrieval import evaluate_retrieval, recall_sums, recalls, similarities
from gshn.graphs.dataset import GraphDataset
from gshn.inference import SpikeCount, embed_texts, join
from gshn.training.batches import PairCorpus


def test_recalls_equal_sorting() -> None:
    scores = torch.randn(50, 50, generator=torch.Generator().manual_seed(0)) + 2 * torch.eye(50)
    figures = recalls(scores, torch.arange(50))
    for name, queries in (("t2i", scores), ("i2t", scores.T)):
        ranks = [(row > row[i]).sum().item() for i, row in enumerate(queries)]
        for k in (1, 5, 10):
            expected = sum(rank < k for rank in ranks) / 50
            assert 0 < expected < 1
            assert figures[f"retrieval.{name}_r{k}"] == pytest.approx(expected)


def test_directions_are_not_mixed_up() -> None:
    # Every text finds its image first; image 0 finds text 1 before its own.
    scores = torch.tensor([[0.5, 0.1], [0.6, 0.9]])
    figures = recalls(scores, torch.arange(2))
    assert figures["retrieval.t2i_r1"] == 1.0
    assert figures["retrieval.i2t_r1"] == 0.5


def test_any_of_an_images_texts_counts() -> None:
    owner = torch.tensor([0, 0, 1, 2, 2, 2])
    scores = torch.randn(6, 3, generator=torch.Generator().manual_seed(3))
    figures = recalls(scores, owner)
    best_text, best_image = scores.argmax(dim=0), scores.argmax(dim=1)
    assert figures["retrieval.i2t_r1"] == pytest.approx(
        (owner[best_text] == torch.arange(3)).float().mean().item(), abs=1e-6
    )
    assert figures["retrieval.t2i_r1"] == pytest.approx((best_image == owner).float().mean().item(), abs=1e-6)
    assert figures["retrieval.i2t_r10"] == figures["retrieval.t2i_r5"] == 1


def recalls_by_sorting(scores: Tensor, owner: Tensor) -> dict[str, float]:
    """Recall@K, a query at a time: torchmetrics' for scores without ties, where the order of its sort is no matter."""
    relevant = owner[:, None] == torch.arange(scores.shape[1])
    figures = {}
    for name, queries, targets in (("i2t", scores.T, relevant.T), ("t2i", scores, relevant)):
        for k in (1, 5, 10):
            hits = []
            for row, own in zip(queries, targets, strict=True):
                by_hand = own[row.argsort(descending=True, stable=True)][:k].any().float()
                hits.append(by_hand)
                if len(row.unique()) == len(row):
                    assert by_hand == retrieval_hit_rate(row, own, top_k=min(k, len(row)))
            figures[f"retrieval.{name}_r{k}"] = round(float(torch.stack(hits).mean()), 6)
    return figures


@pytest.mark.parametrize("levels", [0, 7, 2, 1], ids=["no ties", "some ties", "many ties", "all alike"])
def test_ranks_equal_a_stable_sort_of_every_query(monkeypatch: pytest.MonkeyPatch, levels: int) -> None:
    random = torch.Generator().manual_seed(levels)
    owner = torch.randint(23, (40,), generator=random)  # in no order, some images without a text
    assert len(owner.unique()) < 23
    noise = torch.rand(40, 23, generator=random)
    scores = (noise * levels).floor() if levels else noise
    expected = recalls_by_sorting(scores, owner)
    assert recalls(scores, owner) == expected
    monkeypatch.setattr(retrieval, "BLOCK", 100)
    assert recalls(scores, owner) == expected


def test_what_is_not_a_number_is_never_a_hit() -> None:
    scores = torch.eye(12)
    assert recalls(scores, torch.arange(12))["retrieval.t2i_r1"] == 1
    scores[3, 3] = torch.nan
    figures = recalls(scores, torch.arange(12))
    assert [figures[f"retrieval.{way}_r10"] for way in ("t2i", "i2t")] == [pytest.approx(11 / 12, abs=1e-6)] * 2
    assert set(recalls(torch.full((12, 12), torch.nan), torch.arange(12)).values()) == {0.0}


@torch.no_grad()
def test_blocks_give_the_whole() -> None:
    model = tiny_model().eval()
    batch = pair_batch(model, range(len(CAPTIONS)))
    images = model.embed_images(model.encode_graphs(batch.graphs))
    texts = model.embed_texts(model.encode_text(batch.input_ids, batch.attention_mask))
    assert texts.spikes is not None and images.spikes is not None
    w = float(model.stl.scale() / model.scale())
    expected = (similarity(texts, images) + w * similarity(texts.spikes, images.spikes)) / (1 + w)
    assert not torch.allclose(expected, similarity(texts, images), atol=1e-3)
    torch.testing.assert_close(similarities(model.similarity, texts.split(3), images), expected)
    parts = [texts[:5], texts[5:]]
    torch.testing.assert_close(similarities(model.similarity, [join(parts)], images), expected)


@torch.no_grad()
def test_without_spiked_text_learning_only_v_prime_ranks() -> None:
    model = tiny_model(tiny_config("objectives.stl_contrast=0")).eval()
    batch = pair_batch(model, range(4))
    images = model.embed_images(model.encode_graphs(batch.graphs))
    texts = model.embed_texts(model.encode_text(batch.input_ids, batch.attention_mask))
    assert texts.spikes is images.spikes is None
    torch.testing.assert_close(model.similarity(texts, images), similarity(texts, images))


@torch.no_grad()
def test_a_word_has_the_same_spikes_in_every_sentence() -> None:
    model = tiny_model().eval()
    torch.nn.init.normal_(model.stl.current.weight)
    ids, mask = tokenize(model.tokenizer, ["a red star on grass", "star on a red"])
    texts = model.embed_texts(model.encode_text(ids, mask))
    assert texts.spikes is not None and texts.spikes.parts[0, 3].any()
    assert torch.equal(texts.spikes.parts[0, 3], texts.spikes.parts[1, 1])
    assert not torch.allclose(texts.parts[0, 3], texts.parts[1, 1]), "V' is compared in context"


@torch.no_grad()
@pytest.mark.parametrize("overrides", [[], ["objectives.stl_contrast=0"]], ids=["stl", "without"])
def test_fusion_is_told_how_well_each_token_is_met(monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> None:
    model = tiny_model(tiny_config(*overrides)).eval()
    torch.nn.init.constant_(model.encoder.spiking.linears[-1].bias, 2.0)  # so that there are spikes
    batch = pair_batch(model, range(4))
    encoded, read = model.encode_graphs(batch.graphs), model.encode_text(batch.input_ids, batch.attention_mask)
    texts, images = model.embed_texts(read), model.embed_images(encoded)
    told: list[torch.Tensor] = []
    monkeypatch.setattr(model.fusion, "forward", lambda text, *_: told.append(text) or text)
    model.fuse(read, model.node_tokens(encoded))
    of = [(texts, images)] + ([(texts.spikes, images.spikes)] if texts.spikes is not None else [])
    assert len(of) == (1 if overrides else 2)
    for row in range(4):
        for token in range(int(batch.attention_mask[row].sum())):
            met = [max(float(t.parts[row, token] @ p) for p in i.parts[row, i.mask[row]]) for t, i in of]
            expected = read.hidden[row, token] + model.found.weight @ torch.tensor(met) + model.found.bias
            torch.testing.assert_close(told[0][row, token], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_each_path_is_worth() -> None:
    model = tiny_model(tiny_config("model.spiking.readout=linear")).eval()
    model.encoder.r.fill_(3.0)
    all_graphs = [random_graph(2 + i % 4, i) for i in range(len(CAPTIONS))]
    tensors = {k: torch.cat([g[k] for g in all_graphs]) for k in ("x", "category", "geometry", "edge_attr")}
    tensors["edge_index"] = torch.cat([g.edge_index.T for g in all_graphs])
    tensors["nodes"] = torch.tensor([g.num_nodes for g in all_graphs])
    tensors["edges"] = torch.tensor([g.num_edges for g in all_graphs])
    graphs = GraphDataset(tensors)
    corpus = PairCorpus(graphs, [[caption] for caption in CAPTIONS], CAPTIONS)
    owner = torch.arange(len(CAPTIONS))
    figures = evaluate_retrieval(model, corpus, SpikeCount(), paths=True)
    assert float(model.encoder.r) == 3.0
    texts = embed_texts(model, CAPTIONS)
    expected = {}
    for r, names in ((3.0, ("", ".v", ".spikes")), (0.0, (".r0", ".v_r0", None))):
        model.encoder.r.fill_(r)
        images = model.embed_images(model.encode_graphs(corpus.fetch(range(len(CAPTIONS)))[0]))
        for name, score in zip(names, (model.similarity, model.alignment, model.spike_alignment), strict=True):
            if name is not None:
                expected |= recalls(score(texts, images), owner, f"retrieval{name}")
    assert figures == expected
    assert len({tuple(v for k, v in figures.items() if k.startswith(f"retrieval{n}.i2t")) for n in ("", ".r0")}) == 2


def test_text_teaches_the_spikes_of_every_layer() -> None:
    model = tiny_model(tiny_config())
    torch.nn.init.constant_(model.encoder.spiking.linears[0].bias, 2.0)  # the first layer spikes, the last is silent
    torch.nn.init.constant_(model.encoder.spiking.linears[-1].bias, -100.0)
    torch.nn.init.normal_(model.stl.current.weight)
    batch = pair_batch(model, range(4))
    encoded = model.encode_graphs(batch.graphs)
    assert encoded.spikes.layers[0].any() and not encoded.spikes.output.any()
    texts, images = (
        model.embed_texts(model.encode_text(batch.input_ids, batch.attention_mask)),
        model.embed_images(encoded),
    )
    assert images.spikes.parts.shape[2] == len(encoded.spikes.layers) * model.config.model.width
    model.spike_alignment(texts, images).square().sum().backward()
    assert model.encoder.spiking.linears[0].weight.grad.abs().sum() > 0


def test_sums_are_of_the_six_recalls_of_each_ranking() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.0], [0.8, 0.2, 0.0], [0.0, 0.1, 0.7], [0.9, 0.3, 0.0]])
    own = recalls(scores, torch.tensor([0, 1, 2, 0])) | recalls(scores, torch.tensor([0, 0, 1, 2]), "retrieval.spikes")
    sums = recall_sums(own | {"vqa.accuracy": 1.0})
    # Image to text 2, 3 and 3 of 3, text to image 2, 4 and 4 of 4: found by hand.
    assert own["retrieval.i2t_r1"] != own["retrieval.t2i_r1"]
    assert sums["retrieval.rsum"] == pytest.approx(2 / 3 + 1 + 1 + 2 / 4 + 1 + 1, abs=1e-5)
    assert sums.keys() == {"retrieval.rsum", "retrieval.spikes.rsum"}
