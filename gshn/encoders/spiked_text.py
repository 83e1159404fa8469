"""Spiked Text Learning (STL): text supervises the spike code of the segments.

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
    """Spike counts divided by max(1, their Euclidean norm), shape (..., C).

    1 is the norm of a single spike. A segment without spikes becomes the zero vector, and its gradient (through the
    surrogate) is no larger than that of a segment with one spike. Division by the norm alone would let the gradient of
    a single silent segment exceed those of all others.
    """
    return F.normalize(counts, dim=-1, eps=1.0)


def group_sum(x: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Sum over the nodes of each graph, or the tokens of each text: shape (T, N, C) -> (T, B, C).

    ``group`` is the graph or text of each element, shape (N,).
    """
    return x.new_zeros(x.shape[0], num_groups, x.shape[2]).index_add(1, group, x)


def traces(spikes: Tensor, p: LIFParameters) -> Tensor:
    """Low-pass filtered spike trains: trace[t] = (1 - dt/tau) trace[t-1] + spikes[t], shape (T, ...).

    The inner product of two traces is that of the van Rossum metric (Neural Computation 13, 2001). It is large where
    both neurons spike at about the same time.
    """
    trace = torch.zeros_like(spikes[0])
    out = []
    for s in spikes.unbind(0):
        trace = (1 - p.dt / p.tau) * trace + s
        out.append(trace)
    return torch.stack(out)


class SpikedTextLearning(nn.Module):
    """Text as spike trains, the embeddings of both modalities by spikes, and a prediction of the caption's words.

    Every token drives a population of LIF neurons with the constant current W h + b. h is the entry of its word in the
    text encoder's dictionary (:attr:`gshn.encoders.text.EncodedTexts.words`), so a word has the same spikes in every
    text, and combinations of known words generalise. The population has the dynamics of the image's spiking path. It
    has as many neurons per token as that path has per node over all layers: the first layer codes a node, later layers
    also its neighbours.

    With ``model.spiking.text=whole`` the state of the whole text drives one population instead. Captions of photographs
    say more than their words one by one. In both cases h is detached: the text supervises the spike code, and gets no
    gradient from it.
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
            channels: C, neurons of a layer of the image's spiking path.
            layers: Number of its layers.
            words: Number of words that are predicted.
            steps: T, its number of steps.
            neuron: Its neuron.
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
        # Potentials are float32's under autocast, too.
        current = self.current(words.detach().float()).float()
        return self.neuron(current.expand(self.steps, *current.shape))

    def scale(self) -> Tensor:
        """Inverse temperature of the contrast, at most 100."""
        return self.log_scale.clamp(max=4.6052).exp()

    def embed_texts(self, words: Tensor, mask: Tensor, with_parts: bool = True) -> Embeddings:
        """Embed texts by spikes.

        Args:
            words: Dictionary entries of the tokens, or states of the whole texts with L = 1, shape (B, L, W).
            mask: True at tokens, shape (B, L).
            with_parts: Whether tokens have embeddings, too.
        """
        return self._embed(self.text_spikes(words[mask]), mask, with_parts)

    def embed_images(
        self, spikes: Tensor, batch: Tensor, num_graphs: int, whole: Tensor | None = None, with_parts: bool = True
    ) -> Embeddings:
        """Embed images by spikes.

        Args:
            spikes: Spikes of all layers of the spiking path, shape (T, N, layers C).
            batch: Graph of each node, ascending, shape (N,).
            num_graphs: B.
            whole: True at the node of the whole image, shape (N,), one of each graph. None: the image's embedding is
                that of the spikes of all its nodes together.
            with_parts: Whether segments have embeddings, too.
        """
        return self._embed(spikes.float(), node_mask_of(batch, num_graphs), with_parts, whole)

    def _embed(self, spikes: Tensor, mask: Tensor, with_parts: bool, whole: Tensor | None = None) -> Embeddings:
        """Embeddings of images or texts: :func:`traces` for the whole, :meth:`parts` for segments or tokens.

        Args:
            spikes: Spikes of all segments or tokens, shape (T, M, F).
            mask: True at segments or tokens, shape (B, S); M of them.
            with_parts: Whether segments or tokens have embeddings.
            whole: True at the node of the whole image, shape (M,). None: the spikes of all parts are added up.
        """
        own = spikes[:, whole] if whole is not None else group_sum(spikes, mask.nonzero()[:, 0], len(mask))
        of_whole = unit(traces(own, self.neuron.p).transpose(0, 1).flatten(1))
        if not with_parts:
            return Embeddings.of_wholes(of_whole)
        return Embeddings(of_whole, self.parts(spikes, mask), non_empty(mask))

    @staticmethod
    def parts(spikes: Tensor, mask: Tensor) -> Tensor:
        """Normalised spike counts (:func:`unit`) of M segments or tokens: shape (T, M, F) -> (B, S, F), padded."""
        counts = unit(spikes.sum(dim=0))
        out = counts.new_zeros(*mask.shape, spikes.shape[2])  # autocast adds in float32 on a GPU
        out[mask] = counts
        return out

    @torch.no_grad()
    def init_word_biases(self, frequencies: Tensor) -> None:
        """Set the biases so that the prediction starts at the frequency f of each word: b = log f - log(1 - f).

        With biases of 0 the first training steps of a large vocabulary would only learn that most words are absent.
        Source: RetinaNet, arXiv:1708.02002.

        Args:
            frequencies: Share of the training captions that have the word, shape (number of words,).
        """
        linear = self.words[1]
        assert isinstance(linear, nn.Linear)
        linear.bias.copy_(torch.logit(frequencies, eps=1e-4))

    def word_prediction(self, rates: Tensor, batch: Tensor, words: Tensor) -> Tensor:
        """Binary cross-entropy of the caption's words, predicted from the firing rates of the segments.

            logit[b, w] = max over segments n of graph b of (W LayerNorm(rates[n]) + b)[w]
            L = sum over b, w of BCE(logit[b, w], words[b, w]) / number of words in the captions, at least one a caption

        The maximum means that one segment is enough for a word. The sum is divided by the number of words in the
        captions, because a mean over the vocabulary would shrink with its size: nearly all words are absent. Images
        without segments are left out. Words are processed in blocks, so memory grows with B times the vocabulary, not
        with N times the vocabulary.

        Args:
            rates: E_SNN, shape (N, C).
            batch: Graph of each node, shape (N,).
            words: 1 where the caption has the word, shape (B, number of words).

        Returns:
            L, shape ().
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
