import pytest
import torch
from helpers import CAPTIONS, tiny_model

from gshn.encoders import padding
from gshn.encoders.padding import in_groups_of_like_length
from gshn.encoders.text import tokenize


def test_texts_are_encoded_as_if_alone_and_come_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "ROWS_PER_GROUP", 3)
    model = tiny_model().eval()
    ids, mask = tokenize(model.tokenizer, CAPTIONS)
    assert len(set(mask.sum(dim=1).tolist())) > 4
    together = model.encode_text(ids, mask)
    assert together.shape == (*ids.shape, 16)
    for row, caption in enumerate(CAPTIONS):
        alone_ids, alone_mask = tokenize(model.tokenizer, [caption])
        alone = model.encode_text(alone_ids, alone_mask)[0]
        torch.testing.assert_close(together[row, : len(alone)], alone)


def test_groups_are_no_longer_than_they_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "ROWS_PER_GROUP", 1)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]])
    seen = []

    def encode(rows: torch.Tensor, length: int) -> torch.Tensor:
        seen.append((rows.tolist(), length))
        return rows[:, None, None].expand(-1, length, 1).float()

    out = in_groups_of_like_length(encode, mask)
    assert seen == [([1], 1), ([2], 2), ([3], 3), ([0], 6)]
    assert out[..., 0].tolist() == [[0] * 6, [1, 0, 0, 0, 0, 0], [2, 2, 0, 0, 0, 0], [3, 3, 3, 0, 0, 0]]
