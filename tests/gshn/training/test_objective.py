"""The weighted sum of all losses."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import pair_batch, question_batch, tiny_model

from gshn.config import load_config
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
