"""Visual question answering figures."""

from __future__ import annotations

import torch

from gshn.data.vqa2 import soft_accuracy
from gshn.encoders.text import tokenize
from gshn.inference import IMAGES_PER_BATCH, SpikeBackend, SpikeCount, chunks, device_of, encode
from gshn.model import GSHN
from gshn.training.batches import QuestionCorpus


@torch.inference_mode()
def evaluate_vqa(
    model: GSHN, corpus: QuestionCorpus, count: SpikeCount, backend: SpikeBackend | None = None
) -> dict[str, float]:
    """Accuracy of the most probable answers, as ``vqa.accuracy``: see :func:`gshn.data.vqa2.soft_accuracy`.

    Where a question has one answer, that is the share of right answers.
    """
    device = device_of(model)
    of_image: dict[int, list[int]] = {}
    for index, question in enumerate(corpus.questions):
        of_image.setdefault(question.image_index, []).append(index)
    accuracies: list[float] = []
    for images in chunks(len(corpus.graphs), IMAGES_PER_BATCH, "images"):
        encoded = encode(model, corpus.graphs.batch(images), backend)
        if encoded.spikes is not None:
            count.add(encoded.spikes)
        questions = [(position, q) for position, image in enumerate(images) for q in of_image.get(image, [])]
        if not questions:
            continue
        texts = [corpus.questions[q].text for _, q in questions]
        ids, mask = (t.to(device) for t in tokenize(model.tokenizer, texts))
        image = torch.tensor([position for position, _ in questions], device=device)
        predicted = model.answer(encoded, ids, mask, image).argmax(dim=1).tolist()
        for answer, (_, q) in zip(predicted, questions, strict=True):
            accuracies.append(soft_accuracy(model.vocabulary.answers[answer], corpus.questions[q].answers))
    return {"vqa.accuracy": round(sum(accuracies) / len(accuracies), 6)}
