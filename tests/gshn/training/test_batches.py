from collections import Counter
from itertools import chain

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from helpers import CAPTIONS, random_graph, tiny_model

from gshn.data.tasks import TASKS, Example
from gshn.data.texts import TRUTH
from gshn.graphs.dataset import GraphDataset
from gshn.losses.masked_language import IGNORE, mask_tokens
from gshn.training.batches import (
    MASKED_SHARE,
    PairCollator,
    PairCorpus,
    StepSampler,
    TaskCollator,
    TaskCorpus,
    generator,
)


def graph_dataset(count: int) -> GraphDataset:
    graphs = [random_graph(2 + i % 4, i) for i in range(count)]
    names = ("x", "category", "geometry", "edge_attr")
    return GraphDataset(
        {name: torch.cat([g[name] for g in graphs]) for name in names}
        | {"edge_index": torch.cat([g.edge_index.T for g in graphs])}
        | {"nodes": torch.tensor([g.num_nodes for g in graphs])}
        | {"edges": torch.tensor([g.num_edges for g in graphs])}
    )


def corpus(items: int) -> PairCorpus:
    return PairCorpus(graph_dataset(items), [["a"]] * items, [""] * items)


class TestStepSampler:
    def test_an_epoch_has_every_item_once(self) -> None:
        batches = list(StepSampler(corpus(10), 4, range(5), (0,)))
        items = [index for _, index in chain.from_iterable(batches)]
        assert all(len(batch) == 4 for batch in batches)
        assert sorted(items[:10]) == sorted(items[10:]) == list(range(10))
        assert items[:10] != items[10:]

    def test_starting_later_gives_the_same_steps(self) -> None:
        whole = list(StepSampler(corpus(10), 4, range(7), (3, 1)))
        assert list(StepSampler(corpus(10), 4, range(4, 7), (3, 1))) == whole[4:]
        assert list(StepSampler(corpus(10), 4, range(7), (4, 1))) != whole

    def test_a_batch_larger_than_the_corpus(self) -> None:
        (batch,) = StepSampler(corpus(3), 8, range(1), (0,))
        assert max(Counter(index for _, index in batch).values()) == 3


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_any_number_of_processes_share_the_same_items(processes, first) -> None:
    """Of a run that is resumed, too: which items a step has does not depend on how many there were before."""

    def share(rank: int) -> list[list[tuple[int, int]]]:
        sampler = StepSampler(corpus(10), 12, range(first, 7), (0,))
        return list(BatchSamplerShard(sampler, processes, rank, split_batches=True))  # what Accelerate makes of it

    whole = list(StepSampler(corpus(10), 12, range(7), (0,)))[first:]
    shares = [share(rank) for rank in range(processes)]
    assert [[key for part in step for key in part] for step in zip(*shares, strict=True)] == whole


def test_keys_of_the_generator_all_matter() -> None:
    draws = {tuple(generator(*key).integers(1000, size=4)) for key in [(0, 0), (0, 1), (1, 0), (0, 0, 0)]}
    assert len(draws) >= 3  # trailing zeros of a SeedSequence do not count


class TestPairs:
    def make(self) -> PairCollator:
        model = tiny_model()
        corpus = PairCorpus(graph_dataset(4), [[CAPTIONS[i], CAPTIONS[i + 4]] for i in range(4)], list("abcd"))
        return PairCollator(corpus, model.tokenizer, model.vocabulary.words, [3.0, 1.0], (0, 0))

    def test_graph_and_caption_belong_together(self) -> None:
        collate = self.make()
        batch = collate([(0, 2), (0, 1), (0, 3)])
        texts = collate.tokenizer.batch_decode(batch.input_ids, skip_special_tokens=True)
        for text, graph, index in zip(texts, [2, 1, 3], range(3), strict=True):
            assert text in (CAPTIONS[graph], CAPTIONS[graph + 4])
            torch.testing.assert_close(batch.graphs.x[batch.graphs.batch == index], random_graph(2 + graph, graph).x)

    def test_a_step_is_the_same_however_it_is_spread(self) -> None:
        collate, keys = self.make(), [(5, 2), (5, 1), (5, 3), (5, 0)]
        whole, half = collate(keys), collate(keys[2:])
        length = half.input_ids.shape[1]
        assert torch.equal(whole.input_ids[2:, :length], half.input_ids)
        assert torch.equal(whole.masked_ids[2:, :length], half.masked_ids)
        assert whole.noise_seed == half.noise_seed
        assert collate([(6, 2)]).noise_seed != whole.noise_seed

    def test_the_same_image_and_the_same_caption_are_known(self) -> None:
        graphs, captions = graph_dataset(4), [["a cross"], ["a red star on water"], [" A  cross"], ["a red star"]]
        tokenizer, words = (model := tiny_model()).tokenizer, model.vocabulary.words
        collate = PairCollator(PairCorpus(graphs, captions, list("abcd")), tokenizer, words, None, (0, 0))
        batch = collate([(0, 0), (0, 2), (0, 1), (0, 0), (0, 3)])
        assert (batch.image[:, None] == batch.image).nonzero().tolist() == [[0, 0], [0, 3], *([i, i] for i in (1, 2)),
                                                                            [3, 0], [3, 3], [4, 4]]  # fmt: skip
        same = [{row for row in range(5) if batch.text[row] == text} for text in batch.text]
        assert same == [{0, 1, 3}, {0, 1, 3}, {2}, {0, 1, 3}, {4}]
        # However it is spread over processes, which pad to their own longest caption.
        (alone,) = collate([(0, 1)]).text
        assert alone == batch.text[2] != collate([(0, 2)]).text
        nodes = batch.segments()
        own = [nodes[batch.graphs.batch == graph] for graph in range(5)]
        assert torch.equal(own[0], own[3])
        assert len(set(nodes.tolist())) == len(nodes) - len(own[3])

    def test_masks_and_words(self) -> None:
        collate = self.make()
        batch = collate([(step, step % 4) for step in range(40)])
        masked = batch.labels != IGNORE
        assert torch.equal(batch.labels[masked], batch.input_ids[masked])
        assert (batch.masked_ids[masked] == collate.tokenizer.mask_token_id).all()
        assert torch.equal(batch.masked_ids[~masked], batch.input_ids[~masked])
        assert masked.any(dim=1).all()
        for row in range(40):
            expected = [float(word in batch.input_ids[row]) for word in collate.words]
            assert batch.words[row].tolist() == expected

    def test_what_no_objective_reads_is_not_made(self) -> None:
        """The rest of the batch stays as it is."""
        corpus, model = PairCorpus(graph_dataset(3), [["a cross"]] * 3, list("abc")), tiny_model()
        whole = PairCollator(corpus, model.tokenizer, model.vocabulary.words, None, (0,))([(0, 1), (1, 2)])
        bare = PairCollator(corpus, model.tokenizer, [], None, (0,), masked=False)([(0, 1), (1, 2)])
        assert bare.masked_ids is bare.labels is None and bare.words.shape == (2, 0)
        assert torch.equal(bare.input_ids, whole.input_ids) and torch.equal(bare.image, whole.image)
        assert bare.to(torch.device("cpu")).labels is None

    def test_one_caption_an_image_is_drawn_as_ever(self) -> None:
        """The draws of (seed, step, item): a caption, then a number for each of its tokens."""
        collate = self.make()
        batch = collate([(5, 2), (5, 1)])
        for row, index in enumerate((2, 1)):
            random = generator(0, 0, 5, index)
            caption = [CAPTIONS[index], CAPTIONS[index + 4]][random.choice(2, p=[0.75, 0.25])]
            assert collate.tokenizer.decode(batch.input_ids[row], skip_special_tokens=True) == caption
            noise = torch.from_numpy(random.random(batch.input_ids.shape[1], dtype="float32"))
            ids, special = batch.input_ids[row], collate.tokenizer.all_special_ids
            masked, _ = mask_tokens(ids, special, collate.tokenizer.mask_token_id, MASKED_SHARE, noise)
            assert torch.equal(batch.masked_ids[row], masked)

    def test_several_captions_of_each_image(self) -> None:
        one, model = self.make(), tiny_model()
        captions = [[CAPTIONS[0], CAPTIONS[1], CAPTIONS[2]], [CAPTIONS[3]], [CAPTIONS[4], CAPTIONS[5]], [CAPTIONS[6]]]
        corpus = PairCorpus(graph_dataset(4), captions, list("abcd"))
        collate = PairCollator(corpus, model.tokenizer, model.vocabulary.words, None, (0, 0), captions=2)
        batch = collate(keys := [(5, 0), (5, 1), (5, 2)])
        texts = collate.tokenizer.batch_decode(batch.input_ids, skip_special_tokens=True)
        own = [texts[:2], texts[2:4], texts[4:]]
        assert len(set(own[0])) == 2 and set(own[0]) < set(captions[0])
        assert own[1] == captions[1] * 2, "it has one"
        assert sorted(own[2]) == sorted(captions[2])
        assert (batch.graphs.num_graphs, len(batch.image), len(batch.text), len(batch.words)) == (3, 3, 6, 3)
        has = torch.zeros(6, len(one.tokenizer)).scatter_(1, batch.input_ids, 1.0)[:, collate.words]
        assert torch.equal(batch.words, (has[::2] + has[1::2]) / 2)
        # Alike however it is spread over processes, though each pads to its own longest caption.
        alone = collate(keys[:1])
        length = alone.input_ids.shape[1]
        assert length < batch.input_ids.shape[1]
        assert torch.equal(alone.masked_ids, batch.masked_ids[:2, :length])
        assert not torch.equal(batch.masked_ids[2], batch.masked_ids[3]), "each is masked anew"

    def test_captions_of_no_weight_are_never_chosen(self) -> None:
        model = tiny_model()
        corpus = PairCorpus(graph_dataset(1), [CAPTIONS[:3]], ["a"])
        words = model.vocabulary.words
        batch = PairCollator(corpus, model.tokenizer, words, [1.0, 0.0, 1.0], (0,), captions=3)([(0, 0)])
        texts = model.tokenizer.batch_decode(batch.input_ids, skip_special_tokens=True)
        assert set(texts) == {CAPTIONS[0], CAPTIONS[2]}

    def test_captions_are_chosen_by_weight(self) -> None:
        collate = self.make()
        batch = collate([(step, 0) for step in range(400)])
        texts = collate.tokenizer.batch_decode(batch.input_ids, skip_special_tokens=True)
        assert texts.count(CAPTIONS[0]) / 400 == pytest.approx(0.75, abs=0.07)


def test_questions_on_one_image_share_its_graph() -> None:
    model = tiny_model()
    asked = [("a red star", 3, ("yes",)), ("a ring", 1, ("no",)), ("a cross", 3, ("no", "no", "yes", "no"))]
    questions = [Example(text, (image,), answers) for text, image, answers in asked]
    collate = TaskCollator(TaskCorpus(TASKS["vqa"], graph_dataset(4), questions), model.tokenizer, ["no", "yes"])
    batch = collate([(0, 0), (0, 1), (0, 2)])
    assert batch.graphs.num_graphs == 2
    assert batch.image.tolist() == [[1], [0], [1]]
    assert batch.identity.tolist() == [1, 3]
    # Of four people three said no: whoever is left out, two or three others did.
    assert batch.answer.tolist() == [[0, 1], [1, 0], [pytest.approx((3 * 2 / 3 + 1) / 4), pytest.approx(3 / 4 / 3)]]
    torch.testing.assert_close(batch.graphs.x[batch.graphs.batch == 1], random_graph(5, 3).x)


def test_a_statement_has_both_images_in_order() -> None:
    statements = [Example("a", (3, 1), ("true",)), Example("b", (1, 2), ("false",)), Example("c", (2, 2), ("true",))]
    collate = TaskCollator(TaskCorpus(TASKS["nlvr2"], graph_dataset(4), statements), tiny_model().tokenizer, TRUTH)
    batch = collate([(0, 0), (0, 1), (0, 2)])
    assert batch.image.tolist() == [[2, 0], [0, 1], [1, 1]]
    assert batch.answer.tolist() == [[0, 1], [1, 0], [0, 1]]
    for index, graph in enumerate((1, 2, 3)):
        torch.testing.assert_close(batch.graphs.x[batch.graphs.batch == index], random_graph(2 + graph, graph).x)


def test_graphs_of_the_same_content_have_the_same_digest() -> None:
    graphs = graph_dataset(5)
    assert len(set(graphs.digests.tolist())) == 5
    assert set(graphs.repeating(2, 3).digests.tolist()) == {int(graphs.digests[2])}
    assert graphs.with_categories(torch.tensor([1, 0, 2])).digests[1] != graphs.digests[1]
