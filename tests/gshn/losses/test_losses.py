import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gshn.encoders import spiked_text
from gshn.encoders.alignment import similarity
from gshn.encoders.spiked_text import SpikedTextLearning, group_sum, traces, unit
from gshn.encoders.spiking import SpikeTrains
from gshn.losses.base import RightAnswers
from gshn.losses.contrastive import symmetric_info_nce
from gshn.losses.firing_rate import firing_rate_penalty
from gshn.losses.masked_language import IGNORE, mask_tokens
from gshn.losses.matching import hard_negatives
from gshn.losses.spike_contrast import spike_contrast
from gshn.neurons.kinds.lif import LIF
from gshn.neurons.lif import LIFParameters, spike_function


def random_spikes(*shape: int, seed: int = 0, rate: float = 0.3) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


DISTINCT = RightAnswers.of(torch.arange(5), torch.arange(5))


def info_nce_oracle(logits: np.ndarray, texts: Sequence[int], images: Sequence[int]) -> float:
    each = len(texts) // len(images)
    total, beside = 0.0, {(text, images[t // each]) for t, text in enumerate(texts)}
    for t, text in enumerate(texts):
        i = t // each
        wrong_images = [j for j, other in enumerate(images) if (text, other) not in beside]
        wrong_texts = [j for j, other in enumerate(texts) if (other, images[i]) not in beside]
        for row, own, wrong in ((logits[t], i, wrong_images), (logits[:, i], t, wrong_texts)):
            total -= math.log(math.exp(row[own]) / sum(math.exp(row[j]) for j in [own, *wrong]))
    return total / (2 * len(texts))


@pytest.mark.parametrize(
    ("texts", "images"),
    [
        ((1, 2, 3, 4, 5), (1, 2, 3, 4, 5)),
        ((1, 2, 3, 4, 5), (1, 2, 1, 4, 5)),  # an image with two captions
        ((1, 2, 1, 4, 1), (1, 2, 3, 4, 5)),  # a caption of three images
        ((1, 2, 2, 4, 1), (1, 1, 3, 4, 5)),  # text 2 stands beside image 3: it is no negative of image 1's other pair
        ((1, 1, 1, 1, 1), (1, 2, 3, 4, 5)),
        ((1, 2, 3, 4, 5, 6), (1, 2, 3)),  # two captions of each image
        ((1, 2, 2, 4, 5, 5), (1, 2, 3)),  # one that two images share, and one that an image has twice
        ((1, 2, 3, 4, 5, 1), (1, 2, 1)),  # an image that stands twice
    ],
)
def test_info_nce_equals_the_loop(texts: tuple[int, ...], images: tuple[int, ...]) -> None:
    own = torch.eye(len(images), dtype=torch.float64).repeat_interleave(each := len(texts) // len(images), dim=0)
    logits = (torch.randn_like(own) + 3 * own).requires_grad_()
    loss = symmetric_info_nce(logits, logits.T, RightAnswers.of(torch.tensor(texts), torch.tensor(images)))
    assert float(loss) == pytest.approx(info_nce_oracle(logits.detach().numpy(), texts, images))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()
    beside = {(text, images[t // each]) for t, text in enumerate(texts)}
    for t, j in np.ndindex(*logits.shape):
        if t // each != j and (texts[t], images[j]) in beside:
            assert gradient[t, j] == 0


def test_info_nce_of_one_caption_an_image_is_the_diagonals_to_the_last_bit() -> None:
    logits, right = torch.randn(6, 6) + 3 * torch.eye(6), RightAnswers.of(torch.arange(6) % 5, torch.arange(6))
    losses = []
    for scores, belongs in ((logits, right.of_texts), (logits.T, right.of_images)):
        scores = scores.masked_fill(belongs & ~torch.eye(6, dtype=torch.bool), -torch.inf)
        losses.append(F.cross_entropy(scores, torch.arange(6), reduction="none"))
    assert torch.equal(symmetric_info_nce(logits, logits.T, right), torch.cat(losses).sum() / 12)


def test_info_nce_tells_swapped_captions() -> None:
    logits = torch.randn(5, 5, dtype=torch.float64) + 3 * torch.eye(5)
    swapped = logits[[1, 0, 2, 3, 4]]
    loss = symmetric_info_nce(logits, logits.T, DISTINCT)
    assert symmetric_info_nce(swapped, swapped.T, DISTINCT) > loss + 0.5


@pytest.mark.parametrize("nodes", [(0, 1, 2, 3), (0, 1, 0, 3)])
def test_spike_contrast_equals_the_loop(nodes: tuple[int, ...]) -> None:
    spikes = random_spikes(6, 4, 9).double()
    early, late = spikes[:3].mean(dim=0).numpy(), spikes[3:].mean(dim=0).numpy()
    losses = []
    for i in range(4):
        e, others = early[i], [j for j in range(4) if j == i or nodes[j] != nodes[i]]
        scores = {j: e @ late[j] / np.linalg.norm(e) / np.linalg.norm(late[j]) / 0.2 for j in others}
        losses.append(-math.log(math.exp(scores[i]) / sum(map(math.exp, scores.values()))))
    assert float(spike_contrast(spikes, torch.tensor(nodes))) == pytest.approx(np.mean(losses))


def test_spike_contrast_prefers_steady_distinct_codes() -> None:
    code = random_spikes(1, 6, 32)
    steady = code.expand(8, -1, -1)
    nodes = torch.arange(6)
    assert spike_contrast(steady, nodes) < spike_contrast(random_spikes(8, 6, 32, seed=1), nodes)
    assert spike_contrast(torch.zeros(8, 6, 32), nodes).isfinite()


def test_firing_rate_penalty_by_hand() -> None:
    trains = SpikeTrains((random_spikes(10, 4, 5, rate=0.0), torch.ones(10, 4, 5)))
    # Rates 0 and 1, target 0.25: 0 + (1 / 0.25 - 1)^2
    assert float(firing_rate_penalty(trains, 0.25)) == pytest.approx(9.0)
    # Of the first layer's nodes one fires at every step. With weights 1/2, 1/2, 1, 1 its rate is 1/6: no penalty at
    # a target of 1/6, and (1 / (1/6) - 1)^2 = 25 of the other layer.
    trains.layers[0][:, 0] = 1
    share = torch.tensor([0.5, 0.5, 1, 1])
    assert float(firing_rate_penalty(trains, 1 / 6, share)) == pytest.approx(25.0)
    assert float(firing_rate_penalty(trains, 1 / 6)) == pytest.approx(25.0 + 0.5**2)


def test_traces_by_hand() -> None:
    # dt/tau = 1/2
    out = traces(torch.tensor([[1.0], [0.0], [1.0]]), LIFParameters())
    assert out[:, 0].tolist() == [1.0, 0.5, 1.25]


def test_group_sum_equals_the_loop() -> None:
    x, batch = torch.randn(3, 5, 2), torch.tensor([0, 0, 1, 1, 1])
    expected = torch.stack([x[:, :2].sum(dim=1), x[:, 2:].sum(dim=1)], dim=1)
    torch.testing.assert_close(group_sum(x, batch, 2), expected)


def test_a_silent_segment_does_not_drown_the_others() -> None:
    spikes = random_spikes(8, 6, 32)
    spikes[:, 2] = 0
    spikes.requires_grad_()
    spike_contrast(spikes, torch.arange(6)).backward()
    norms = spikes.grad.norm(dim=(0, 2))
    assert 0 < norms[2] < 10 * norms[[0, 1, 3, 4, 5]].max()


@pytest.mark.parametrize("numbers", [1, 20, 10**6])
def test_blocks_change_no_spike_contrast(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    spikes, nodes = random_spikes(8, 7, 5).requires_grad_(), torch.tensor([0, 1, 2, 0, 3, 4, 1])
    expected = spike_contrast(spikes, nodes)
    gradient = torch.autograd.grad(expected, spikes)[0]
    monkeypatch.setattr("gshn.losses.spike_contrast.numbers_per_block", lambda *_: numbers)
    found = spike_contrast(spikes, nodes)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.autograd.grad(found, spikes)[0], gradient, atol=1e-6, rtol=0)


def test_right_answers_equal_the_loop() -> None:
    texts, images = torch.tensor([5, 9, 9, 7, 5, 2, 3, 3]), torch.tensor([40, 11, 40, 23])
    pairs = [(text, images[t // 2].item()) for t, text in enumerate(texts.tolist())]
    right = RightAnswers.of(texts, images)
    expected = torch.tensor([[(text, image) in pairs for image in images.tolist()] for text in texts.tolist()])
    assert torch.equal(right.of_texts, expected) and torch.equal(right.of_images, expected.T)
    assert expected.sum() > len(texts)


class TestSpikedTextLearning:
    def make(self) -> SpikedTextLearning:
        torch.manual_seed(0)
        return SpikedTextLearning(6, 4, 2, 10, 5, LIF(LIFParameters(), spike_function("atan", 2.0)))

    def test_tokens_become_spike_trains(self) -> None:
        stl = self.make()
        spikes = stl.text_spikes(3 * torch.randn(7, 6))
        assert spikes.shape == (5, 7, 8)
        assert set(spikes.unique().tolist()) == {0.0, 1.0}

    def test_potentials_are_float32_under_autocast(self) -> None:
        """bfloat16's 8 bits would move potentials near the threshold across it."""
        stl, words = self.make(), 3 * torch.randn(200, 6)
        with torch.autocast("cpu", torch.bfloat16):
            spikes, current = stl.text_spikes(words), stl.current(words)
            assert current.dtype == torch.bfloat16 and spikes.dtype == torch.float32
        assert torch.equal(spikes, stl.neuron(current.float().expand(5, -1, -1)))
        assert not torch.equal(spikes, stl.neuron(current.expand(5, -1, -1)).float())

    def test_wholes_alone_are_the_same(self) -> None:
        stl, batch, mask = self.make(), torch.tensor([0, 0, 1]), torch.ones(2, 4, dtype=torch.bool)
        words, image = 3 * torch.randn(2, 4, 6), random_spikes(5, 3, 8)
        for embed, given in ((stl.embed_texts, (words, mask)), (stl.embed_images, (image, batch, 2))):
            both, alone = embed(*given), embed(*given, with_parts=False)
            assert torch.equal(alone.whole, both.whole)
            assert alone.parts.shape[1] == 0 and both.parts.shape[1] > 0

    def contrast(self, stl: SpikedTextLearning, image: Tensor, batch: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """The contrast of images and texts, by wholes and parts."""
        texts, images = stl.embed_texts(words, mask.bool()), stl.embed_images(image, batch, len(words))
        logits = stl.scale() * similarity(texts, images)
        return symmetric_info_nce(logits, logits.T, RightAnswers.of(torch.arange(2), torch.arange(2)))

    def test_text_teaches_and_is_not_taught(self) -> None:
        stl, batch = self.make(), torch.tensor([0, 0, 1])
        words = torch.randn(2, 4, 6, requires_grad=True)
        image = random_spikes(5, 3, 8).requires_grad_()
        self.contrast(stl, image, batch, words, torch.ones(2, 4)).backward()
        assert words.grad is None
        assert image.grad is not None
        assert image.grad.abs().sum() > 0
        assert stl.current.weight.grad is not None

    def test_embeddings_equal_loops(self) -> None:
        stl, batch = self.make(), torch.tensor([0, 0, 1])
        spikes = random_spikes(5, 3, 8)
        images = stl.embed_images(spikes, batch, 3)  # the third has no segment
        assert images.mask.tolist() == [[True, True], [True, False], [True, False]], "as if it had one that is silent"
        for graph in range(3):
            own = spikes[:, batch == graph]
            trace, rows = torch.zeros(8), []
            for step in own.sum(dim=1):
                trace = 0.5 * trace + step
                rows.append(trace)
            whole = torch.cat(rows)
            torch.testing.assert_close(images.whole[graph], whole / max(whole.norm(), 1.0))
            for k, segment in enumerate(own.unbind(1)):
                counts = segment.sum(dim=0)
                torch.testing.assert_close(images.parts[graph, k], counts / max(counts.norm(), 1.0))
        assert images.parts[1, 1].abs().sum() == images.whole[2].abs().sum() == 0

    def test_counts_may_be_of_another_type_than_spikes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As under autocast on a GPU, which adds spikes of bfloat16 in float32."""
        monkeypatch.setattr(spiked_text, "unit", lambda counts: unit(counts.float()))
        spikes = random_spikes(4, 3, 5)
        mask = torch.tensor([[True, True], [True, False]])
        parts = SpikedTextLearning.parts(spikes.bfloat16(), mask)
        assert torch.equal(parts, SpikedTextLearning.parts(spikes, mask))

    def test_contrast_is_least_for_matching_trains(self) -> None:
        stl, batch = self.make(), torch.arange(2)
        words, mask = 3 * torch.randn(2, 4, 6), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
        texts = [stl.text_spikes(words[0]), stl.text_spikes(words[1, :2])]
        trains = torch.stack([text.mean(dim=1) for text in texts], dim=1).detach()
        right, wrong = (self.contrast(stl, image, batch, words, mask) for image in (trains, trains.flip(1)))
        assert right < wrong
        # Padding tokens carry nothing.
        changed = words.clone()
        changed[1, 2:] = 100.0
        torch.testing.assert_close(self.contrast(stl, trains, batch, changed, mask), right)
        # Time matters: the same spikes in reverse order match less.
        assert self.contrast(stl, trains.flip(0), batch, words, mask) != right

    def test_word_prediction_equals_the_loop(self) -> None:
        stl, batch = self.make(), torch.tensor([0, 0, 1])
        rates, words = torch.rand(3, 4), random_spikes(2, 10, seed=3)
        logits = stl.words(rates)
        best = torch.stack([logits[:2].amax(dim=0), logits[2]])
        expected = torch.stack(
            [F.binary_cross_entropy_with_logits(best[b, w], words[b, w]) for b in range(2) for w in range(10)]
        ).sum()
        assert words.sum() == 8
        torch.testing.assert_close(stl.word_prediction(rates, batch, words), expected / 8)
        # An image without segments is left out, its caption too.
        empty = torch.cat([words[:1], torch.ones(1, 10), words[1:]])
        torch.testing.assert_close(stl.word_prediction(rates, torch.tensor([0, 0, 2]), empty), expected / 8)
        # A caption without words counts as one of one word.
        none = torch.zeros(2, 10)
        torch.testing.assert_close(stl.word_prediction(rates, batch, none), F.softplus(best).sum() / 2)

    @pytest.mark.parametrize("numbers", [1, 8])
    def test_blocks_change_no_word_prediction(self, monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
        stl, batch = self.make(), torch.tensor([0, 0, 2])
        rates, words = torch.rand(3, 4).requires_grad_(), random_spikes(3, 10, seed=3)
        asked = [rates, *stl.words.parameters()]
        expected = stl.word_prediction(rates, batch, words)
        gradients = torch.autograd.grad(expected, asked)
        monkeypatch.setattr(spiked_text, "numbers_per_block", lambda *_: numbers)
        found = stl.word_prediction(rates, batch, words)
        for a, b in zip((found, *torch.autograd.grad(found, asked)), (expected, *gradients), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=0)

    def test_word_prediction_teaches_as_much_with_many_words_as_with_few(self) -> None:
        """Gradient that reaches the code, of captions of ten words of a vocabulary of 60 or of 8,000."""
        norms = []
        for number in (60, 8000):
            torch.manual_seed(0)
            stl = SpikedTextLearning(6, 64, 1, number, 5, LIF(LIFParameters(), spike_function("atan", 2.0)))
            frequencies = 10 / number * torch.ones(number)
            stl.init_word_biases(frequencies)
            rates = (0.2 * torch.rand(64, 64)).requires_grad_()
            words = torch.zeros(16, number).scatter_(1, torch.rand(16, number).topk(10).indices, 1.0)
            stl.word_prediction(rates, torch.arange(64) // 4, words).backward()
            norms.append(float(rates.grad.norm()))
        assert norms[1] == pytest.approx(norms[0], rel=0.5)


def test_hard_negatives_are_sampled_by_similarity_and_never_right() -> None:
    logits = torch.tensor([[5.0, 1.0, 0.0, 4.0]]).expand(20_000, 4)
    right = torch.tensor([[True, False, False, True]]).expand(20_000, 4)
    noise = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0))
    chosen, negative = hard_negatives(logits, right, noise)
    assert negative.all()
    assert not hard_negatives(logits, torch.ones_like(right), noise)[1].any()
    shares = torch.bincount(chosen, minlength=4) / 20_000
    assert shares[0] == shares[3] == 0
    assert float(shares[1]) == pytest.approx(math.e / (math.e + 1), abs=0.02)


def test_mask_tokens() -> None:
    ids = torch.tensor([2, 7, 8, 9, 3, 0])  # [CLS] words [SEP] [PAD]
    noise = torch.tensor([0.0, 0.1, 0.9, 0.9, 0.0, 0.0])
    masked, labels = mask_tokens(ids, [0, 2, 3], 4, 0.2, noise)
    assert masked.tolist() == [2, 4, 8, 9, 3, 0]
    assert labels.tolist() == [IGNORE, 7, IGNORE, IGNORE, IGNORE, IGNORE]
    # At least one word is masked.
    assert mask_tokens(ids, [0, 2, 3], 4, 0.0, noise)[0].tolist() == [2, 4, 8, 9, 3, 0]
