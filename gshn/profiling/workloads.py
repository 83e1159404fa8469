"""What is measured: a model's inference, and a step of its contrastive pretraining."""

from __future__ import annotations

import copy

import torch

from gshn.encoders.text import tokenize
from gshn.inference import device_of
from gshn.model import GSHN
from gshn.profiling.meters import Measurement, Meter
from gshn.training.batches import PairCollator
from gshn.training.corpora import Corpora
from gshn.training.loop import make_optimizer
from gshn.training.objective import Objective


def measure_model(model: GSHN, meter: Meter, batch: int = 64) -> dict[str, Measurement]:
    """Measure, for one image with a caption: ``inference`` from the scene graph on, and ``pretraining``.

    Scene graphs are at hand, as they are in training: segments and features were computed before.

    Args:
        model: The model; it is not changed.
        meter: Measures.
        batch: Images at a time, as far as there are held-out ones.
    """
    corpora = Corpora(model.config, model.vocabulary)
    pairs, device = corpora.test_pairs, device_of(model)
    batch = min(batch, len(pairs))
    captions = [own[0] for own, _ in zip(pairs.captions(), range(batch), strict=False)]
    graphs = pairs.graphs.batch(range(batch)).to(device)
    ids, mask = (t.to(device) for t in tokenize(model.tokenizer, captions))

    @torch.inference_mode()
    def inference() -> None:
        texts = model.embed_texts(model.encode_text(ids, mask))
        model.similarity(texts, model.embed_images(model.encode_graphs(graphs)))

    measured = {"inference": meter.measure(inference, batch)}
    if batch < 2:  # nothing to contrast with
        return measured
    objective = Objective(copy.deepcopy(model).train(), model.config.objectives).to(device)
    optimizer = make_optimizer(objective.model, model.config.pretrain)
    collate = PairCollator(pairs, model.tokenizer, model.vocabulary.words, corpora.caption_weights, (0,))
    pair_batch = collate([(0, index) for index in range(batch)]).to(device)

    def step() -> None:
        loss = objective(pair_batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    measured["pretraining"] = meter.measure(step, batch)
    return measured
