import pytest
import torch
from helpers import CAPTIONS, tiny_config, tiny_model

from gshn.encoders import padding
from gshn.encoders.padding import in_groups_of_like_length
from gshn.encoders.text import EncodedTexts, tokenize


def test_texts_are_encoded_as_if_alone_and_come_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "ROWS_PER_GROUP", 3)
    model = tiny_model().eval()
    ids, mask = tokenize(model.tokenizer, CAPTIONS)
    assert len(set(mask.sum(dim=1).tolist())) > 4
    together = model.encode_text(ids, mask).hidden
    assert together.shape == (*ids.shape, 16)
    for row, caption in enumerate(CAPTIONS):
        alone_ids, alone_mask = tokenize(model.tokenizer, [caption])
        alone = model.encode_text(alone_ids, alone_mask).hidden[0]
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


def test_a_gpu_gets_a_batch_in_one_call() -> None:
    assert padding.rows_per_group(torch.device("cuda"), 4096) == 4096
    assert padding.rows_per_group(torch.device("cuda"), 4096, 128) == 4096
    assert padding.rows_per_group(torch.device("cpu"), 4096, 128) == 128
    assert padding.rows_per_group(torch.device("cpu"), 4096) == padding.ROWS_PER_GROUP < 4096


def test_batches_are_chosen_from_and_joined_as_lists_would_be() -> None:
    def texts(*lengths: int) -> EncodedTexts:
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        values = torch.rand(*mask.shape, 3) * mask[..., None]
        return EncodedTexts(mask, values, 2 * values[..., :2], values[:, 0])

    parts = [texts(2, 4), texts(1), texts(3, 5, 1)]
    joined = EncodedTexts.cat(parts)
    rows = torch.tensor([5, 0, 3])
    alone = [(parts[2], 2), (parts[0], 0), (parts[2], 0)]
    for own, (part, row) in zip(range(3), alone, strict=True):
        chosen, width = joined[rows], part.mask.shape[1]
        for name in ("mask", "hidden", "words"):
            whole, single = getattr(chosen, name), getattr(part, name)
            assert torch.equal(whole[own, :width], single[row]) and not whole[own, width:].any()


@pytest.mark.parametrize("encoder", ["bert", "spikformer"])
def test_a_word_is_the_same_wherever_it_stands(encoder: str) -> None:
    model = tiny_model(tiny_config(f"model.text.encoder={encoder}")).eval()
    texts = model.encode_text(*tokenize(model.tokenizer, ["a red star on grass", "star on a red"]))
    assert torch.equal(texts.words[0, 3], texts.words[1, 1])
    assert not torch.equal(texts.hidden[0, 3], texts.hidden[1, 1])
    assert texts.words.shape[2] == model.text.word_channels
    torch.testing.assert_close(texts.words[texts.mask].var(dim=1, correction=0), torch.ones(13), atol=0.1, rtol=0)
    assert not texts.words[~texts.mask].any()
