import official
import pytest
import torch
from helpers import CAPTIONS, pair_batch, random_graph, tiny_config, tiny_model
from torch_geometric.data import Batch

from gshn.data.tasks import TASKS, Example
from gshn.data.texts import TRUTH
from gshn.data.wordnet import WordNet
from gshn.encoders.text import tokenize
from gshn.encoders.text_encoders import build_tokenizer
from gshn.evaluation import answers
from gshn.evaluation.answers import answer_all, evaluate_task, task_figures
from gshn.evaluation.retrieval import reranked, similarities
from gshn.inference import SpikeCount, encode_images
from gshn.model import GSHN, Vocabulary
from gshn.training.batches import TaskCorpus


class Graphs:
    """Ten scene graphs, in the part of GraphDataset's interface that evaluation needs."""

    def __len__(self):
        return 10

    def batch(self, indices):
        return Batch.from_data_list([random_graph(2 + i % 4, i) for i in indices])


def model(*overrides):
    config = tiny_config(*overrides)
    torch.manual_seed(0)
    vocabulary = Vocabulary(["star", "region"] * 2, {"nlvr2": list(TRUTH), "vqa": ["a", "b", "c"]}, [7], 8)
    return GSHN(config, vocabulary, build_tokenizer("bert", CAPTIONS, 20)).eval()


@torch.no_grad()
@pytest.mark.parametrize("evidence", ["parts", "whole"])
@pytest.mark.parametrize("task", ["nlvr2", "vqa"])
def test_answers_are_those_of_one_text_at_a_time(task, evidence, monkeypatch) -> None:
    own = model(f"model.evidence={evidence}")
    monkeypatch.setattr(answers, "TEXTS_PER_BATCH", 3)
    monkeypatch.setattr(answers, "IMAGES_PER_BATCH", 2)
    images = [(9, 1), (1, 9), (4, 4), (0, 7), (2, 3), (9, 1), (5, 6)]
    examples = [Example(CAPTIONS[i], pair[: TASKS[task].images], ("x",)) for i, pair in enumerate(images)]
    corpus = TaskCorpus(TASKS[task], Graphs(), examples)
    expected = []
    for example in examples:
        ids, mask = tokenize(own.tokenizer, [example.text])
        first = []
        for image in example.images:
            tokens = own.node_tokens(own.encode_graphs(Graphs().batch([image])))
            first.append(own.evidence(own.encode_text(ids, mask), tokens))
        logits = own.answer_heads[task](torch.stack(first, dim=1))
        expected.append(own.vocabulary.answers[task][int(logits.argmax())])
    count = SpikeCount()
    assert answer_all(own, corpus, count) == expected
    assert count.cells > 0
    if task == "nlvr2":
        assert not torch.equal(*(head_input(own, pair) for pair in images[:2])), "left and right are told apart"


def test_images_are_let_go_once_no_text_needs_them(monkeypatch) -> None:
    own, kept = model(), []
    monkeypatch.setattr(answers, "IMAGES_PER_BATCH", 1)
    monkeypatch.setattr(answers, "_batch_logits", lambda *a: kept.append(len(a[2].whole)) or torch.zeros(1, 2))
    examples = [Example("a", pair, ("true",)) for pair in [(8, 9), (0, 1), (1, 2), (0, 4)]]
    answer_all(own, TaskCorpus(TASKS["nlvr2"], Graphs(), examples), SpikeCount())
    assert kept == [2, 3, 2, 2]  # of 0 and 1; of 0, 1 and 2; of 0 and 4; of 8 and 9


@torch.no_grad()
def test_wholes_as_evidence_are_the_equation() -> None:
    own = model("model.evidence=whole", "model.text.hidden=5", "model.hidden_dropout=0.5", "model.dropout=0.25")
    read = own.encode_text(*tokenize(own.tokenizer, CAPTIONS[:3]))
    encoded = own.encode_graphs(Graphs().batch([3, 1, 4]))
    for i, row in enumerate(own.evidence(read, own.node_tokens(encoded))):
        text, image = own.embed_texts(read).whole[i], own.embed_images(encoded).whole[i]
        alone = [(x - x.mean()) / x.std(correction=0) for x in (read.whole[i], encoded.readout[i])]
        expected = torch.cat([*alone, own.config.model.width**0.5 * text * image])
        torch.testing.assert_close(row, expected, atol=1e-3, rtol=1e-3)  # the norm adds 1e-5 to the variance
    assert own.answer_heads["vqa"].answer[2].p == 0.5 and model().answer_heads["vqa"].answer[2].p == 0.0


def head_input(own, pair):
    ids, mask = tokenize(own.tokenizer, CAPTIONS[:1])
    tokens = own.node_tokens(own.encode_graphs(Graphs().batch(pair)))
    return own.answer("nlvr2", tokens, own.encode_text(ids, mask), torch.tensor([[0, 1]]))


def test_consistency_needs_every_pair_of_a_sentence(monkeypatch) -> None:
    ids = ["dev-1-0-0", "dev-1-1-0", "dev-1-0-1", "dev-2-0-0", "dev-2-3-0"]
    examples = [Example("a", (0, 1), ("true",), own) for own in ids]
    monkeypatch.setattr(answers, "answer_all", lambda *_: ["true", "false", "true", "true", "true"])
    figures = evaluate_task(model(), TaskCorpus(TASKS["nlvr2"], Graphs(), examples), SpikeCount())
    assert figures == {"nlvr2.accuracy": 0.8, "nlvr2.consistency": pytest.approx(2 / 3, abs=1e-6)}


def test_lists_of_answers_are_scored_by_their_words_and_by_wordnet(tmp_path) -> None:
    above = {"furniture": [], "seat": ["furniture"], "chair": ["seat"], "sofa": ["seat"], "door": ["furniture"]}
    nouns = WordNet(official.wordnet(tmp_path, above))
    right = ["chair, sofa", "chair, chair", "door", "door"]
    examples = [Example("a", (0,), (answer,)) for answer in right] + [Example("a", (0,), ())]
    predicted = ["sofa,chair", "chair", "3", "chair", "door"]
    corpora = (TaskCorpus(TASKS["vqa"], Graphs(), examples, True, own) for own in (None, nouns))
    without, scored = (task_figures(corpus, predicted) for corpus in corpora)
    assert without == {"vqa.accuracy": 0.5}
    # Of chair and door: furniture is above both; the ways are 2 and 1 long: 2 / (2 + 3).
    assert scored == without | {"vqa.wups_0.9": (2 + 0.1 * 0.4) / 4, "vqa.wups_0.0": (2 + 0.4) / 4}


@torch.no_grad()
@pytest.mark.parametrize("overrides", [[], ["model.spiking.enabled=false"]], ids=["hybrid", "gat"])
def test_reranking_orders_the_best_by_all_evidence_and_leaves_the_rest(overrides: list[str]) -> None:
    own = tiny_model(tiny_config(*overrides)).eval()
    images = encode_images(own, Graphs(), SpikeCount())
    batch = pair_batch(own, range(len(CAPTIONS)))
    texts = own.embed_texts(own.encode_text(batch.input_ids, batch.attention_mask))
    scores = similarities(own.similarity, [texts], images.embeddings)
    to_images, to_texts = reranked(own, CAPTIONS, images, scores, 3)
    scale = own.scale() + own.stl.scale() if own.stl is not None else own.scale()
    for text, caption in enumerate(CAPTIONS):
        best = scores[text].argsort(descending=True)[:3].tolist()
        ids, mask = tokenize(own.tokenizer, [caption])
        evidence = {}
        for image in range(10):
            if image in best:
                found = own.evidence(own.encode_text(ids, mask), images.tokens[torch.tensor([image])])
                matches = own.matching_head(found).softmax(dim=1)[0, 1]
                evidence[image] = float(torch.logit(matches) + scale * scores[text, image])
                assert to_images[text, image] >= 2
            else:
                assert to_images[text, image] == scores[text, image] <= 1
        first, second, third = (float(to_images[text, image]) - evidence[image] for image in best)
        assert first == pytest.approx(second, abs=1e-4) == pytest.approx(third, abs=1e-4)
    assert ((to_texts >= 2).sum(dim=0) == 3).all() and ((to_images >= 2).sum(dim=1) == 3).all()
