"""Batches: which items a step trains on, and their tensors.

Everything random about a step is a function of (seed, stage, step, item): a resumed run sees what an uninterrupted one
sees, and W processes together see what one sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from gshn.data.easyvqa import Question
from gshn.encoders.text import tokenize
from gshn.graphs.cache import GraphDataset
from gshn.graphs.scene_graph import SceneGraph
from gshn.losses.masked_language import mask_tokens

MASKED_SHARE = 0.2


@dataclass(frozen=True)
class OnDevice:
    """A dataclass of tensors and graphs that can be moved to a device."""

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """Copy with every tensor on ``device``."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class PairBatch(OnDevice):
    """B image-caption pairs.

    Attributes:
        graphs: Batch of B scene graphs.
        input_ids: Captions, shape (B, L).
        attention_mask: Shape (B, L).
        masked_ids: Captions with masked tokens, shape (B, L).
        labels: Token ids where masked, IGNORE elsewhere, shape (B, L).
        words: 1 where the caption has the word, shape (B, number of words).
        noise_seed: Seed of the randomness that all processes share, shape ().
    """

    graphs: SceneGraph
    input_ids: Tensor
    attention_mask: Tensor
    masked_ids: Tensor
    labels: Tensor
    words: Tensor
    noise_seed: Tensor


@dataclass(frozen=True)
class QuestionBatch(OnDevice):
    """B questions on I images.

    Attributes:
        graphs: Batch of I scene graphs.
        input_ids: Questions, shape (B, L).
        attention_mask: Shape (B, L).
        image: Index in the batch of each question's graph, shape (B,).
        answer: Index of the right answer, shape (B,).
    """

    graphs: SceneGraph
    input_ids: Tensor
    attention_mask: Tensor
    image: Tensor
    answer: Tensor


Key = tuple[int, int]
"""(step, index of the item in its corpus)."""


def generator(*key: int) -> np.random.Generator:
    """Random generator of a key such as (seed, stage, step, item)."""
    return np.random.default_rng(np.random.SeedSequence(key))


class StepSampler:
    """Keys of every step's batch: a stream of epochs, each a permutation of the corpus, cut into batches.

    A batch sampler in the sense of :class:`torch.utils.data.DataLoader`.
    """

    drop_last = True

    def __init__(self, items: int, batch_size: int, steps: range, seed: Sequence[int]):
        """Sample ``batch_size`` of ``items`` for each of ``steps``; ``seed`` is the key of the randomness."""
        self.items, self.batch_size, self.steps, self.seed = items, batch_size, steps, tuple(seed)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[Key]]:
        order: dict[int, np.ndarray] = {}
        for step in self.steps:
            positions = range(step * self.batch_size, (step + 1) * self.batch_size)
            for epoch in {position // self.items for position in positions} - order.keys():
                order = {e: o for e, o in order.items() if e >= positions[0] // self.items}
                order[epoch] = generator(*self.seed, epoch).permutation(self.items)
            yield [(step, int(order[position // self.items][position % self.items])) for position in positions]


class PairCorpus(Dataset[Key]):
    """Scene graphs with captions; :meth:`collate` makes batches."""

    def __init__(self, graphs: GraphDataset, captions: list[list[str]]):
        self.graphs, self.captions = graphs, captions

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, key: Key) -> Key:
        return key  # Batches are assembled whole, in collate: slicing big tensors once beats doing it per item.


class QuestionCorpus(Dataset[Key]):
    """Scene graphs with questions."""

    def __init__(self, graphs: GraphDataset, questions: list[Question]):
        self.graphs, self.questions = graphs, questions

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, key: Key) -> Key:
        return key


class PairCollator:
    """Keys -> :class:`PairBatch`."""

    def __init__(
        self,
        corpus: PairCorpus,
        tokenizer: PreTrainedTokenizerFast,
        words: Sequence[int],
        weights: Sequence[float],
        seed: Sequence[int],
    ):
        """Set up; ``words`` are the token ids of STL's words, ``weights`` how often each caption is chosen."""
        self.corpus, self.tokenizer, self.seed = corpus, tokenizer, tuple(seed)
        self.words = torch.tensor(words, dtype=torch.long)
        self.weights = np.asarray(weights) / np.sum(weights)

    def __call__(self, keys: list[Key]) -> PairBatch:
        """Assemble a batch."""
        randoms = [generator(*self.seed, *key) for key in keys]
        captions = [
            self.corpus.captions[index][random.choice(len(self.weights), p=self.weights)]
            for random, (_, index) in zip(randoms, keys, strict=True)
        ]
        input_ids, attention_mask = tokenize(self.tokenizer, captions)
        masked = [
            mask_tokens(
                ids,
                self.tokenizer.all_special_ids,
                self.tokenizer.mask_token_id,
                MASKED_SHARE,
                torch.from_numpy(random.random(len(ids), dtype=np.float32)),
            )
            for ids, random in zip(input_ids, randoms, strict=True)
        ]
        has_token = torch.zeros(len(keys), len(self.tokenizer)).scatter_(1, input_ids, 1.0)
        return PairBatch(
            graphs=self.corpus.graphs.batch([index for _, index in keys]),
            input_ids=input_ids,
            attention_mask=attention_mask,
            masked_ids=torch.stack([ids for ids, _ in masked]),
            labels=torch.stack([labels for _, labels in masked]),
            words=has_token[:, self.words],
            noise_seed=torch.tensor(int(generator(*self.seed, keys[0][0]).integers(2**62))),
        )


class QuestionCollator:
    """Keys -> :class:`QuestionBatch`."""

    def __init__(self, corpus: QuestionCorpus, tokenizer: PreTrainedTokenizerFast, answers: Sequence[str]):
        self.corpus, self.tokenizer = corpus, tokenizer
        self.answers = {answer: index for index, answer in enumerate(answers)}

    def __call__(self, keys: list[Key]) -> QuestionBatch:
        """Assemble a batch; questions on the same image share its graph."""
        questions = [self.corpus.questions[index] for _, index in keys]
        images, position = np.unique([question.image_index for question in questions], return_inverse=True)
        input_ids, attention_mask = tokenize(self.tokenizer, [question.text for question in questions])
        return QuestionBatch(
            graphs=self.corpus.graphs.batch(images.tolist()),
            input_ids=input_ids,
            attention_mask=attention_mask,
            image=torch.from_numpy(position),
            answer=torch.tensor([self.answers[question.answer] for question in questions]),
        )


def loader(corpus: Dataset[Key], sampler: StepSampler, collate: PairCollator | QuestionCollator) -> DataLoader:
    """A loader that gives one batch per step of ``sampler``."""
    return DataLoader(corpus, batch_sampler=sampler, collate_fn=collate)
