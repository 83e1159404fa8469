"""Batches: which items a step trains on, and their tensors.

All randomness of a step is a function of (seed, stage, step, item). So a resumed run has the same batches as an
uninterrupted one, and W processes together have the same batches as one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from gshn.data.tasks import Example, Task
from gshn.data.vqa2 import answer_scores
from gshn.data.wordnet import WordNet
from gshn.encoders.text import tokenize
from gshn.graphs.dataset import GraphDataset
from gshn.graphs.scene_graph import SceneGraph
from gshn.graphs.shards.files import to_dataset
from gshn.graphs.shards.stream import ShardStream, StreamedGraphs
from gshn.losses.base import OnDevice, PairBatch
from gshn.losses.masked_language import IGNORE, mask_tokens
from gshn.training.text_states import TextStates, text_identities

MASKED_SHARE = 0.2


@dataclass(frozen=True)
class TaskBatch(OnDevice):
    """B texts of a task on I images.

    Attributes:
        graphs: Batch of I scene graphs.
        input_ids: Texts, shape (B, L).
        attention_mask: Shape (B, L).
        image: Indices in the batch of each text's graphs, shape (B, K), K images a text.
        identity: Identity of each image, shape (I,), int64, ascending. Several processes may have the same image.
        answer: Score of each answer, in [0, 1], shape (B, A): see :func:`gshn.data.vqa2.soft_accuracy`.
        states: As in :class:`PairBatch`, shape (B, L, W).
    """

    graphs: SceneGraph
    input_ids: Tensor
    attention_mask: Tensor
    image: Tensor
    identity: Tensor
    answer: Tensor
    states: Tensor | None = None


Key = tuple[int, int]
"""(step, index of the item in its corpus)."""


def generator(*key: int) -> np.random.Generator:
    """Random generator of a key such as (seed, stage, step, item)."""
    return np.random.default_rng(np.random.SeedSequence(key))


class StepSampler:
    """Sampler of the batches of all steps: a stream of epochs, each a permutation of the corpus, is cut into batches.

    It is a batch sampler for :class:`torch.utils.data.DataLoader`.
    """

    drop_last = True

    def __init__(self, corpus: PairCorpus | TaskCorpus, batch_size: int, steps: range, seed: Sequence[int]):
        """Sample ``batch_size`` items for each of ``steps``, with a seed."""
        self.corpus, self.batch_size, self.steps, self.seed = corpus, batch_size, steps, tuple(seed)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[Key]]:
        order: dict[int, np.ndarray] = {}
        items = len(self.corpus)
        for step in self.steps:
            positions = range(step * self.batch_size, (step + 1) * self.batch_size)
            for epoch in {position // items for position in positions} - order.keys():
                order = {e: o for e, o in order.items() if e >= positions[0] // items}
                order[epoch] = self.corpus.order(generator(*self.seed, epoch))
            yield [(step, int(order[position // items][position % items])) for position in positions]


class PairCorpus(Dataset[Key]):
    """Scene graphs with captions, in memory. :class:`StreamedPairs` has the same interface.

    Args:
        graphs: Graph of each image.
        captions: Captions of each image.
        names: Name of each image.
        by_level: Whether the k-th captions of all images are equally detailed, as in ShapeScenes.
    """

    def __init__(self, graphs: GraphDataset, captions: list[list[str]], names: list[str], by_level: bool = False):
        self.graphs, self._captions, self.names, self.by_level = graphs, captions, names, by_level

    def __len__(self) -> int:
        return len(self._captions)

    def __getitem__(self, key: Key) -> Key:
        return key  # Batches are assembled whole, in collate: slicing big tensors once beats doing it per item.

    def order(self, random: np.random.Generator) -> NDArray[np.int64]:
        """A permutation of the items, shape (items,)."""
        return random.permutation(len(self))

    def fetch(self, indices: Sequence[int]) -> tuple[SceneGraph, list[list[str]], Tensor]:
        """Graphs of B items as one disconnected graph, their captions, and their :attr:`GraphDataset.digests`, (B,)."""
        captions = [self._captions[index] for index in indices]
        return self.graphs.batch(indices), captions, self.graphs.digests[list(indices)]

    def captions(self) -> Iterable[list[str]]:
        """Captions of every image."""
        return self._captions

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """See :attr:`GraphDataset.moments`."""
        return self.graphs.moments


class StreamedPairs(PairCorpus):
    """Scene graphs with captions, read from shards as they are needed.

    Args:
        stream: The shards.
        positions: Index in the model's vocabulary of each of their categories, shape (categories,).
    """

    def __init__(self, stream: ShardStream, positions: Tensor):
        self.stream, self.positions = stream, positions

    def __len__(self) -> int:
        return len(self.stream)

    def order(self, random: np.random.Generator) -> NDArray[np.int64]:
        """See :meth:`ShardStream.order`."""
        return self.stream.order(random)

    def fetch(self, indices: Sequence[int]) -> tuple[SceneGraph, list[list[str]], Tensor]:
        """See :class:`PairCorpus`."""
        stored = self.stream.fetch(indices)
        graphs = to_dataset(stored).with_categories(self.positions)
        return graphs.batch(range(len(stored))), [g.annotation["captions"] for g in stored], graphs.digests

    def captions(self) -> Iterator[list[str]]:
        """Captions of every image, without its graph: see :attr:`Index.annotations`."""
        return (annotation["captions"] for annotation in self.stream.index.annotations)

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """See :class:`PairCorpus`."""
        return self.stream.index.moments


class TaskCorpus(Dataset[Key]):
    """Scene graphs with the texts of a task.

    Args:
        task: The task.
        graphs: Graph of each image.
        examples: Texts of the task. Their ``images`` are indices into ``graphs``.
        answer_lists: Whether answers are lists, joined by commas, in any order: see :mod:`gshn.data.daquar`.
        wordnet: Similarity of the words of such lists; None if WordNet is not installed.
        answers: All answers; None if the data set does not list them.
    """

    def __init__(
        self,
        task: Task,
        graphs: GraphDataset | StreamedGraphs,
        examples: list[Example],
        answer_lists: bool = False,
        wordnet: WordNet | None = None,
        answers: Sequence[str] | None = None,
    ):
        self.task, self.graphs, self.examples = task, graphs, examples
        self.answer_lists, self.wordnet, self.answers = answer_lists, wordnet, answers

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: Key) -> Key:
        return key

    def order(self, random: np.random.Generator) -> NDArray[np.int64]:
        """A permutation of the items, shape (items,). Streamed graphs are grouped by the shard of the first image."""
        if isinstance(self.graphs, StreamedGraphs):
            return self.graphs.stream.order_of(np.array([own.images[0] for own in self.examples]), random)
        return random.permutation(len(self))

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """See :attr:`GraphDataset.moments`."""
        return self.graphs.moments


class PairCollator:
    """Keys -> :class:`PairBatch`."""

    def __init__(
        self,
        corpus: PairCorpus,
        tokenizer: PreTrainedTokenizerFast,
        words: Sequence[int],
        weights: Sequence[float] | None,
        seed: Sequence[int],
        captions: int = 1,
        states: TextStates | None = None,
        masked: bool = True,
    ):
        """Set up.

        Args:
            corpus: The items.
            tokenizer: The model's tokenizer.
            words: Token ids of the words that Spiked Text Learning predicts.
            weights: Relative frequency of each caption of an image; None: all are equally frequent.
            seed: Seed.
            captions: K, number of captions of each image in a batch.
            states: Kept states of a frozen text encoder; None for other encoders.
            masked: Whether batches have masked captions.
        """
        self.corpus, self.tokenizer, self.seed = corpus, tokenizer, tuple(seed)
        self.captions_per_image, self.states, self.masked = captions, states, masked
        self.words = torch.tensor(words, dtype=torch.long)
        # Of each token among the words; the place after the last is of all others.
        self.place = torch.full((len(tokenizer),), len(words))
        self.place[self.words] = torch.arange(len(words))
        self.weights = None if weights is None else np.asarray(weights) / np.sum(weights)

    def choose(self, captions: Sequence[str], random: np.random.Generator) -> list[str]:
        """Choose K captions of an image. They are distinct if it has K captions; else some are repeated."""
        if self.captions_per_image == 1:
            return [captions[random.choice(len(captions), p=self.weights)]]
        possible = len(captions) if self.weights is None else np.count_nonzero(self.weights)
        chosen = random.choice(len(captions), min(self.captions_per_image, possible), replace=False, p=self.weights)
        return [captions[chosen[k % len(chosen)]] for k in range(self.captions_per_image)]

    def mask(self, input_ids: Tensor, randoms: Sequence[np.random.Generator]) -> tuple[Tensor, Tensor]:
        """Masked ids and labels of captions (B, L), both (B, L), see :func:`mask_tokens`; unchanged without a mask
        token.

        The masks of a caption depend neither on other captions nor on the padded length.
        """
        if (mask_id := self.tokenizer.mask_token_id) is None:
            return input_ids, torch.full_like(input_ids, IGNORE)
        size = (self.captions_per_image, self.tokenizer.model_max_length)
        noise = torch.from_numpy(np.concatenate([random.random(size, dtype=np.float32) for random in randoms]))
        special = self.tokenizer.all_special_ids
        masked = [
            mask_tokens(ids, special, mask_id, MASKED_SHARE, own[: len(ids)])
            for ids, own in zip(input_ids, noise, strict=True)
        ]
        return torch.stack([ids for ids, _ in masked]), torch.stack([labels for _, labels in masked])

    def word_shares(self, input_ids: Tensor) -> Tensor:
        """Captions of shape (B K, L) -> :attr:`PairBatch.words`."""
        width = len(self.words) + 1
        # A word counts once for a caption, however often it stands there.
        found = (torch.arange(len(input_ids))[:, None] * width + self.place[input_ids]).unique()
        image, place = found // width // self.captions_per_image, found % width
        out = torch.zeros(len(input_ids) // self.captions_per_image, width)
        return out.index_put_((image, place), torch.ones(()), accumulate=True)[:, :-1] / self.captions_per_image

    def __call__(self, keys: list[Key]) -> PairBatch:
        """Assemble a batch."""
        randoms = [generator(*self.seed, *key) for key in keys]
        graphs, captions_of, image = self.corpus.fetch([index for _, index in keys])
        chosen = [self.choose(captions, random) for random, captions in zip(randoms, captions_of, strict=True)]
        input_ids, attention_mask = tokenize(self.tokenizer, list(chain.from_iterable(chosen)))
        masked_ids, labels = self.mask(input_ids, randoms) if self.masked else (None, None)
        text = text_identities(input_ids, attention_mask)
        return PairBatch(
            graphs=graphs,
            input_ids=input_ids,
            attention_mask=attention_mask,
            masked_ids=masked_ids,
            labels=labels,
            words=self.word_shares(input_ids),
            text=text,
            image=image,
            noise_seed=torch.tensor(int(generator(*self.seed, keys[0][0]).integers(2**62))),
            states=None if self.states is None else self.states.of(text, input_ids.shape[1]),
        )


class TaskCollator:
    """Keys -> :class:`TaskBatch`."""

    def __init__(
        self,
        corpus: TaskCorpus,
        tokenizer: PreTrainedTokenizerFast,
        answers: Sequence[str],
        states: TextStates | None = None,
    ):
        self.corpus, self.tokenizer = corpus, tokenizer
        self.positions = {answer: position for position, answer in enumerate(answers)}
        self.states = states

    def __call__(self, keys: list[Key]) -> TaskBatch:
        """Assemble a batch. Texts on the same image share its graph."""
        examples = [self.corpus.examples[index] for _, index in keys]
        images, position = np.unique([example.images for example in examples], return_inverse=True)
        input_ids, attention_mask = tokenize(self.tokenizer, [example.text for example in examples])
        answer = torch.zeros(len(examples), len(self.positions))
        for row, example in zip(answer, examples, strict=True):
            for index, score in answer_scores(example.answers, self.positions).items():
                row[index] = score
        return TaskBatch(
            graphs=self.corpus.graphs.batch(images.tolist()),
            input_ids=input_ids,
            attention_mask=attention_mask,
            image=torch.from_numpy(position.reshape(len(examples), -1)),
            identity=torch.from_numpy(images),
            answer=answer,
            states=None
            if self.states is None
            else self.states.of(text_identities(input_ids, attention_mask), input_ids.shape[1]),
        )


def loader(corpus: Dataset[Key], sampler: StepSampler, collate: PairCollator | TaskCollator) -> DataLoader:
    """A loader that gives one batch per step of ``sampler``."""
    return DataLoader(corpus, batch_sampler=sampler, collate_fn=collate)
