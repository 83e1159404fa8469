"""Figures of the tasks whose texts have answers: visual question answering, visual entailment, NLVR2."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from gshn.data.daquar import items
from gshn.data.vqa2 import soft_accuracy
from gshn.encoders.text import tokenize
from gshn.errors import CheckpointError, tell
from gshn.evaluation.wups import THRESHOLDS, wups
from gshn.inference import (
    IMAGES_PER_BATCH,
    TEXTS_PER_BATCH,
    SpikeBackend,
    SpikeCount,
    chunks,
    count_texts,
    device_of,
    encode_batch,
)
from gshn.model import GSHN, NodeTokens
from gshn.training.batches import TaskCorpus
from neuromorphic.errors import counted


def check_trained(model: GSHN, task: str, checkpoint: str) -> None:
    """Refuse a task that a checkpoint was not trained on.

    Raises:
        CheckpointError: the checkpoint has no answers for the task.
    """
    if task not in model.vocabulary.answers:
        trained = ", ".join(["retrieval", *model.vocabulary.answers])
        raise CheckpointError(
            f"{checkpoint} was not trained on {task}, but on {trained}; train with finetune.tasks=[{task}]"
        )


@torch.inference_mode()
def answer_logits(
    model: GSHN, task: str, images: NodeTokens, texts: Sequence[str], image: Sequence[Sequence[int]]
) -> Tensor:
    """Answer texts of a task.

    Args:
        model: The model; it was trained on the task.
        task: Name of the task.
        images: I images.
        texts: B texts.
        image: Positions of each text's images, shape (B, K).

    Returns:
        Logits over ``model.vocabulary.answers[task]``, shape (B, A), float32, on the CPU. Their softmax are the
        probabilities that training taught.
    """
    places = torch.tensor([list(own) for own in image])
    return torch.cat(
        [
            _batch_logits(model, task, images, [texts[row] for row in rows], places[rows])
            for rows in chunks(len(texts), TEXTS_PER_BATCH, "answer texts")
        ]
    )


def _batch_logits(model: GSHN, task: str, images: NodeTokens, texts: Sequence[str], image: Tensor) -> Tensor:
    """Logits of a batch of texts, see :func:`answer_logits`; ``image`` has shape (B, images of a text)."""
    device = device_of(model)
    ids, attention = (t.to(device) for t in tokenize(model.tokenizer, texts))
    own, position = image.unique(return_inverse=True)
    tokens = images[own].to(device)
    return model.answer(task, tokens, model.encode_text(ids, attention), position.to(device)).float().cpu()


@torch.inference_mode()
def answer_all(model: GSHN, corpus: TaskCorpus, count: SpikeCount, backend: SpikeBackend | None = None) -> list[str]:
    """The most probable answer to every text; the spikes of all images are added to ``count``.

    Texts are answered as soon as all their images are encoded, and a batch of images is kept until no text is left
    that asks for one of them. So memory is that of a few batches where a text's images are near each other.
    """
    task, examples = corpus.task.name, corpus.examples
    count_texts(model, [example.text for example in examples], f"{task} texts")
    image = torch.tensor([example.images for example in examples])
    last = image.amax(dim=1)
    last_in_order, order = last.sort(stable=True)
    until = torch.full((len(corpus.graphs),), -1).scatter_reduce(
        0, image.flatten(), last.repeat_interleave(image.shape[1]), "amax"
    )
    place = torch.zeros_like(until)  # of each image, among those that are kept
    kept: list[tuple[list[int], NodeTokens]] = []
    best, begun = torch.zeros_like(last), 0
    for indices in chunks(len(corpus.graphs), IMAGES_PER_BATCH, "encode images"):
        encoded = encode_batch(model, corpus.graphs.batch(indices), count, backend, embeddings=False)
        kept = [(own, tokens) for own, tokens in kept if int(until[own].max()) >= indices[0]]
        kept.append((indices, encoded.tokens))
        held = [index for own, _ in kept for index in own]
        place[held] = torch.arange(len(held))
        ended = int(torch.searchsorted(last_in_order, indices[-1], right=True))
        if ended > begun:
            images = NodeTokens.cat([tokens for _, tokens in kept])
            for rows in order[begun:ended].split(TEXTS_PER_BATCH):
                texts = [examples[row].text for row in rows.tolist()]
                best[rows] = _batch_logits(model, task, images, texts, place[image[rows]]).argmax(dim=1)
        begun = ended
    answers = model.vocabulary.answers[task]
    return [answers[index] for index in best.tolist()]


def evaluate_task(
    model: GSHN, corpus: TaskCorpus, count: SpikeCount, backend: SpikeBackend | None = None
) -> dict[str, float]:
    """The official figures of a task: :func:`task_figures` of :func:`answer_all`."""
    return task_figures(corpus, answer_all(model, corpus, count, backend))


def task_figures(corpus: TaskCorpus, predicted: Sequence[str]) -> dict[str, float]:
    """The official figures of a task, of the texts whose answers are known; none where no answer is.

    ``<task>.accuracy``: the mean of :func:`gshn.data.vqa2.soft_accuracy`, which is the share of right answers where a
    text has one answer. Of NLVR2 also ``nlvr2.consistency``: the share of sentences that are judged rightly with all
    their pairs (Suhr et al., arXiv:1811.00491).

    Where answers are lists (DAQUAR), an answer is right if it has the words of the right list and no others, in
    whatever order and number, as in the official evaluation; and, where WordNet is at hand, there are
    ``<task>.wups_0.9`` and ``<task>.wups_0.0``, means of :func:`gshn.evaluation.wups.wups`.

    Args:
        corpus: The texts.
        predicted: The answer to each.
    """
    name = corpus.task.name
    judge = _same_words if corpus.answer_lists else soft_accuracy
    right = {
        row: judge(answer, example.answers)
        for row, (answer, example) in enumerate(zip(predicted, corpus.examples, strict=True))
        if example.answers
    }
    if unknown := len(predicted) - len(right):
        of = counted(len(predicted), "text")
        tell(f"{name}: the answers to {unknown} of {of} are not known; they are not in any figure")
    if not right:
        return {}
    figures = {f"{name}.accuracy": round(sum(right.values()) / len(right), 6)}
    if corpus.answer_lists and corpus.wordnet is not None:
        lists = [(items(predicted[row]), items(corpus.examples[row].answers[0])) for row in right]
        for threshold in THRESHOLDS:
            total = sum(wups(own, theirs, threshold, corpus.wordnet.likeness) for own, theirs in lists)
            figures[f"{name}.wups_{threshold}"] = round(total / len(lists), 6)
    if name == "nlvr2":
        of_sentence: dict[str, list[float]] = defaultdict(list)
        for row, score in right.items():
            of_sentence[sentence(corpus.examples[row].id)].append(score)
        figures["nlvr2.consistency"] = round(sum(min(own) for own in of_sentence.values()) / len(of_sentence), 6)
    return figures


def _same_words(predicted: str, answers: Sequence[str]) -> float:
    return float(set(items(predicted)) == set(items(answers[0])))


def sentence(identifier: str) -> str:
    """Identifier of a statement's sentence: NLVR2's ``split-set-pair-sentence`` without the pair."""
    parts = identifier.split("-")
    return "-".join(parts[:-2] + parts[-1:])
