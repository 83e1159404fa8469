"""Visual question answering figures."""

from __future__ import annotations

import torch
from torchmetrics.functional.classification import multiclass_accuracy

from gshn.encoders.text import tokenize
from gshn.inference import IMAGES_PER_BATCH, SpikeBackend, SpikeCount, chunks, device_of, encode
from gshn.model import GSHN
from gshn.training.batches import QuestionCorpus


@torch.inference_mode()
def evaluate_vqa(
    model: GSHN, corpus: QuestionCorpus, count: SpikeCount, backend: SpikeBackend | None = None
) -> dict[str, float]:
    """Share of questions whose most probable answer is the right one, as ``vqa.accuracy``."""
    device = device_of(model)
    answer_index = {answer: index for index, answer in enumerate(model.vocabulary.answers)}
    of_image: dict[int, list[int]] = {}
    for index, question in enumerate(corpus.questions):
        of_image.setdefault(question.image_index, []).append(index)
    predicted, right = [], []
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
        predicted.append(model.answer(encoded, ids, mask, image).argmax(dim=1).cpu())
        right += [answer_index[corpus.questions[q].answer] for _, q in questions]
    accuracy = multiclass_accuracy(
        torch.cat(predicted), torch.tensor(right), num_classes=len(answer_index), average="micro"
    )
    return {"vqa.accuracy": round(float(accuracy), 6)}
