from itertools import product

import pytest
import torch
from torch import Tensor

from gshn.encoders import alignment
from gshn.encoders.alignment import AlignmentHead, Embeddings, attended, similarity


def embeddings(sizes: list[int], width: int, seed: int) -> Embeddings:
    torch.manual_seed(seed)
    head = AlignmentHead(4, 6)
    mask = torch.arange(width)[None] < torch.tensor(sizes)[:, None]
    with torch.no_grad():
        return head(torch.randn(len(sizes), 4), torch.randn(len(sizes), width, 4), mask)


def test_similarity_equals_the_loop() -> None:
    texts, images = embeddings([3, 1, 4], 4, 0), embeddings([2, 5], 5, 1)
    out = similarity(texts, images)
    for t in range(3):
        for i in range(2):
            best = [
                max(float(token @ segment) for segment in images.parts[i][images.mask[i]])
                for token in texts.parts[t][texts.mask[t]]
            ]
            expected = (float(texts.whole[t] @ images.whole[i]) + sum(best) / len(best)) / 2
            assert abs(float(out[t, i]) - expected) < 1e-6


def test_unit_vectors_and_padding() -> None:
    texts = embeddings([3, 1, 4], 4, 0)
    torch.testing.assert_close(texts.whole.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(texts.parts.norm(dim=-1), texts.mask.float())


def test_a_hidden_layer_stands_beside_the_linear_map() -> None:
    torch.manual_seed(0)
    head = AlignmentHead(4, 6, hidden=5, dropout=0.5).eval()
    x = torch.randn(3, 4)
    with torch.no_grad():
        out = head.of_wholes(x)
        first, _, _, second = head.hidden
        for row, state in zip(out, x, strict=True):
            h = (state - state.mean()) / (state.var(correction=0) + 1e-5).sqrt()
            hidden = (first.weight @ h + first.bias).clamp(min=0)
            expected = head.whole.weight @ h + head.whole.bias + second.weight @ hidden + second.bias
            torch.testing.assert_close(row, expected / expected.norm())
        assert not torch.equal(head.train().of_wholes(x), out)  # dropout


def test_without_a_linear_map_a_whole_is_its_own_embedding() -> None:
    x = torch.randn(3, 4)
    torch.testing.assert_close(AlignmentHead(4, 4, linear=False).of_wholes(x), x / x.norm(dim=1, keepdim=True))


def test_wholes_alone_have_no_parts() -> None:
    whole = torch.eye(3)
    alone = Embeddings.of_wholes(whole)
    assert alone.parts.shape == (3, 0, 3) and alone.mask.shape == (3, 0)
    assert torch.equal(similarity(alone, alone, with_parts=False), whole)
    assert alone[:2].parts.shape == (2, 0, 3)


def test_attended_equals_the_loop() -> None:
    texts, images = embeddings([3, 1, 4], 4, 0), embeddings([2, 5], 5, 1)
    out = attended(texts, images, torch.tensor(3.0))
    for t in range(3):
        for i in range(2):
            parts = images.parts[i][images.mask[i]]
            weight = torch.softmax(torch.stack([3 * (part @ texts.whole[t]) for part in parts]), dim=0)
            pooled = sum(a * part for a, part in zip(weight, parts, strict=True))
            assert abs(float(out[t, i]) - float(texts.whole[t] @ (pooled / pooled.norm()))) < 1e-6


def leaves(own: Embeddings) -> list[Tensor]:
    """Wholes and parts, to be asked for gradients."""
    return [x.clone().requires_grad_() for x in (own.whole, own.parts)]


@pytest.mark.parametrize(("numbers", "tokens"), [*product((1, 60, 150), (1, 256)), (10**6, 256)])
@pytest.mark.parametrize("kind", ["parts", "attention"])
def test_blocks_change_neither_similarity_nor_gradients(
    monkeypatch: pytest.MonkeyPatch, kind: str, numbers: int, tokens: int
) -> None:
    texts, images = embeddings([3, 1, 4, 2, 4, 1, 3], 4, 0), embeddings([2, 5, 1, 3, 5], 5, 1)
    images.parts[1, 3] = images.parts[1, 0]  # two segments are alike: the largest similarity is theirs, half each
    texts.parts[2, 1] = 0.0  # as of silent words: all segments are as near
    scale, weight = torch.tensor(3.0, requires_grad=True), torch.randn(7, 5)
    blocks: list[tuple[int, int]] = []

    def run(plain: bool) -> list[Tensor]:
        own, theirs = leaves(texts), leaves(images)
        given = (*own, texts.mask, *theirs, images.mask)
        both = Embeddings(*own, texts.mask), Embeddings(*theirs, images.mask)
        if kind == "parts":
            out = alignment._similarity(*given) if plain else similarity(*both)
        else:
            out = alignment._attended(*given, scale) if plain else attended(*both, scale)
        asked = [*own, *theirs, *([scale] if kind == "attention" else [])]
        found = torch.autograd.grad((weight * out).sum(), asked, allow_unused=True)
        return [out, *(torch.zeros(()) if x is None else x for x in found)]

    expected = run(plain=True)
    monkeypatch.setattr(alignment, "numbers_per_block", lambda *_: numbers)
    monkeypatch.setattr(alignment, "TOKENS", tokens)
    inner = alignment._similarity if kind == "parts" else alignment._attended

    def counted(*given: Tensor) -> Tensor:
        blocks.append((len(given[0]), len(given[3])))
        return inner(*given)

    monkeypatch.setattr(alignment, inner.__name__, counted)
    found = run(plain=False)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b if a.shape == b.shape else b.expand_as(a), atol=1e-6, rtol=0)
    of_pair = 20 if kind == "parts" else 5
    assert all(t * i * of_pair <= max(numbers, of_pair) for t, i in blocks)
    one = numbers == 10**6
    assert sum(t * i for t, i in blocks) == (1 if one else 2) * 35  # forward, and anew for the backward pass
    assert (len(blocks) == 1) == one
