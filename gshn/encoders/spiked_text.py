"""Spiked Text Learning (STL): text features drive the learning of the discrete code.

The source paper (arXiv:2501.19069) names STL in its abstract; docs/stl.md says how we read it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gshn.distributed import global_sum
from gshn.encoders.alignment import Embeddings
from gshn.encoders.blocks import numbers_per_block, recomputed
from gshn.encoders.padding import node_mask_of, non_empty
from gshn.neurons.kinds import Neuron
from gshn.neurons.lif import LIFParameters


def unit(counts: Tensor) -> Tensor:
    """Spike counts, shape (..., C), divided by their Euclidean norm, but by no less than that of a single spike.

    So silence is the zero vector, and its gradient (through the surrogate) is no larger than that of one spike: plain
    normalisation would divide it by nothing, and one silent segment would drown all others.
    """
    return F.normalize(counts, dim=-1, eps=1.0)


def group_sum(x: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Sum over each graph's nodes, or each text's tokens: shape (T, N, C) -> (T, B, C); ``group`` has shape (N,)."""
    return x.new_zeros(x.shape[0], num_groups, x.shape[2]).index_add(1, group, x)


def traces(spikes: Tensor, p: LIFParameters) -> Tensor:
    """Low-pass filtered spike trains: trace[t] = (1 - dt/tau) trace[t-1] + spikes[t], shape (T, ...).

    The inner product of two traces is that of the van Rossum metric (Neural Computation 13, 2001): spikes count as
    alike when they come at about the same time.
    """
    trace = torch.zeros_like(spikes[0])
    out = []
    for s in spikes.unbind(0):
        trace = (1 - p.dt / p.tau) * trace + s
        out.append(trace)
    return torch.stack(out)


class SpikedTextLearning(nn.Module):
    """Text as spike trains, their embeddings and the image's for a contrast of both, and a prediction of words.

    Every text token drives a LIF population with the constant current W h + b, h its word's entry in the text encoder's
    dictionary (:attr:`gshn.encoders.text.EncodedTexts.words`); the population has the dynamics of the image's spiking
    path, and as many neurons per token as that has per node, in all its layers: the first knows a node by itself, the
    last its neighbours, too. A word has the same spikes wherever it stands, so that a red star is found by who knows
    red things and stars. Or the state of the whole text drives the population once (``model.spiking.text=whole``): what
    people say of photographs is more than its words. Both are detached: the text teaches the discrete code, not the
    other way round.
    """

    def __init__(
        self,
        word_channels: int,
        channels: int,
        layers: int,
        words: int,
        steps: int,
        neuron: Neuron,
    ):
        """Build the heads.

        Args:
            word_channels: W, channels of the text encoder's dictionary.
            channels: C, neurons of a layer of the image's spiking path; ``layers``, ``steps`` and ``neuron`` are that
                path's, too.
            words: Number of words that can be predicted.
        """
        super().__init__()
        self.steps, self.neuron, p = steps, neuron, neuron.p
        self.current = nn.Linear(word_channels, layers * channels)
        nn.init.constant_(self.current.bias, 0.5 * (p.v_threshold - p.v_leak) / p.r)
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        # Rates are small and of many zeros; the norm brings them to the scale that a linear layer's weights start for.
        self.words = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, words))

    def text_spikes(self, words: Tensor) -> Tensor:
        """Spikes of every token, or of every whole text: inputs of shape (M, W) -> (T, M, layers C)."""
        current = self.current(words.detach().float())
        return self.neuron(current.expand(self.steps, *current.shape))

    def scale(self) -> Tensor:
        """Inverse temperature of the contrast, at most 100."""
        return self.log_scale.clamp(max=4.6052).exp()

    def embed_texts(self, words: Tensor, mask: Tensor) -> Embeddings:
        """Texts as spikes.

        Args:
            words: Shape (B, L, W).
            mask: True at tokens, shape (B, L).
        """
        return self._embed(self.text_spikes(words[mask]), mask)

    def embed_images(self, spikes: Tensor, batch: Tensor, num_graphs: int, whole: Tensor | None = None) -> Embeddings:
        """Images as spikes.

        Args:
            spikes: Of all of the image's layers, shape (T, N, layers C).
            batch: Graph of each node, ascending, shape (N,).
            num_graphs: B.
            whole: True at the node that stands for the whole image, shape (N,), one of each graph; None: the spikes of
                all nodes together do.
        """
        return self._embed(spikes.float(), node_mask_of(batch, num_graphs), whole)

    def _embed(self, spikes: Tensor, mask: Tensor, whole: Tensor | None = None) -> Embeddings:
        """Of a whole: the traces over time of its own spikes, or of all parts' together. See `unit`; and :meth:`parts`.

        Args:
            spikes: Of all parts, shape (T, M, F).
            mask: True at parts, shape (B, S); M of them.
            whole: True at the part that stands for the whole, shape (M,); None where there is none.
        """
        own = spikes[:, whole] if whole is not None else group_sum(spikes, mask.nonzero()[:, 0], len(mask))
        of_whole = traces(own, self.neuron.p).transpose(0, 1).flatten(1)
        return Embeddings(unit(of_whole), self.parts(spikes, mask), non_empty(mask))

    @staticmethod
    def parts(spikes: Tensor, mask: Tensor) -> Tensor:
        """Each part's spike counts, see `unit`: spikes of all M parts, shape (T, M, F) -> (B, S, F), padded."""
        counts = unit(spikes.sum(dim=0))
        out = counts.new_zeros(*mask.shape, spikes.shape[2])  # autocast adds in float32 on a GPU
        out[mask] = counts
        return out

    @torch.no_grad()
    def init_word_biases(self, frequencies: Tensor) -> None:
        """Start the prediction at how often each word occurs: b = log f - log(1 - f).

        Else the first thing to learn of a large vocabulary would be that most words are absent (as in RetinaNet,
        arXiv:1708.02002).

        Args:
            frequencies: Share of the training captions that have the word, shape (number of words,).
        """
        linear = self.words[1]
        assert isinstance(linear, nn.Linear)
        linear.bias.copy_(torch.logit(frequencies, eps=1e-4))

    def word_prediction(self, rates: Tensor, batch: Tensor, words: Tensor) -> Tensor:
        """Binary cross-entropy of the words in the caption, predicted from the segments' spike code.

        logit[b, w] = max over the segments n of graph b of (W LayerNorm(rates[n]) + b)[w]: one segment suffices for a
        word. L = sum over b, w of BCE(logit[b, w], words[b, w]) / number of words that the captions have, at least one
        a caption. Per word of a caption, and not per word of the vocabulary: the many that are absent say nearly
        nothing once it is known how rare they are, and a mean over them would fade with the vocabulary's size. An image
        without segments says nothing, and is left out. A block of words at a time: memory grows with B times the words,
        not with the nodes times the words.

        Args:
            rates: E_SNN, shape (N, C).
            batch: Graph of each node, shape (N,).
            words: 1 where the caption has the word, shape (B, number of words).
        """
        norm, linear = self.words
        assert isinstance(linear, nn.Linear)
        normed, graphs = norm(rates.float()), len(words)

        def best_of(nodes: Tensor, weight: Tensor, bias: Tensor, graph: Tensor) -> Tensor:
            logits = F.linear(nodes, weight, bias)
            index = graph[:, None].expand_as(logits)
            return logits.new_zeros(graphs, len(bias)).scatter_reduce(0, index, logits, "amax", include_self=False)

        size = max(1, numbers_per_block(rates.device, len(batch) * words.shape[1]) // max(1, len(batch)))
        if size >= words.shape[1]:
            best = best_of(normed, linear.weight, linear.bias, batch)
        else:
            blocks = zip(linear.weight.split(size), linear.bias.split(size), strict=True)
            best = torch.cat([recomputed(best_of, normed, *block, batch) for block in blocks], dim=1)
        some = torch.zeros_like(words[:, 0]).index_fill(0, batch, 1.0)
        error = F.binary_cross_entropy_with_logits(best, words, reduction="none") * some[:, None]
        return global_sum(error) / torch.maximum(global_sum(words * some[:, None]), global_sum(some)).clamp(min=1)
