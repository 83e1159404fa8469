"""Losses of batches that are out of the ordinary."""

import torch
import torch.nn.functional as F
from helpers import pair_batch, tiny_model

from gshn.training.objective import Objective


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
