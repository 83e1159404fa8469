"""Which segments of an image drive its match with a caption."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch

from gshn.encoders.hybrid import EncodedGraphs, HybridEncoder
from gshn.encoders.text import tokenize
from gshn.errors import CheckpointError
from gshn.graphs.scene_graph import SceneGraph
from gshn.inference import device_of
from gshn.model import GSHN


@dataclass(frozen=True)
class Explanation:
    """An image of S segments, of which one may be all of it, and a caption of L tokens, [CLS] and [SEP] among them.

    All tensors are on the CPU.

    Attributes:
        tokens: The caption's tokens.
        similarity: What retrieval ranks by, in [-1, 1].
        matching: Probability of a match by the matching head.
        met: <p_a, p_s> of token a and segment s by V', shape (L, S): the maxima of its rows are in the similarity.
        met_by_spikes: The same by spikes, <c_a, c_s>; None without spiked text learning.
        share: What each segment gives to the second term of the similarity, mean_a max_s, by V' and by spikes together:
            the sum of their :func:`shares`, each times its weight in :meth:`gshn.model.GSHN.similarity`, shape (S,).
        attention: Of token a to segment s, mean over the fusion's layers and heads, shape (L, S).
        spikes: Of every layer, each of shape (T, S, C); None without a spiking path.
        spiking: Norm of r E_SNN, shape (S,).
        continuous: Norm of F_GAT, shape (S,).
        names: Of the segments: their numbers, and "whole image" for the node that stands for it.
    """

    tokens: list[str]
    similarity: float
    matching: float
    met: Tensor
    met_by_spikes: Tensor | None
    share: Tensor
    attention: Tensor
    spikes: tuple[Tensor, ...] | None
    spiking: Tensor
    continuous: Tensor
    names: list[str]


def names(graph: SceneGraph) -> list[str]:
    """What a picture calls the nodes of a graph."""
    whole = graph.whole.tolist() if "whole" in graph else [False] * graph.num_nodes
    return ["whole image" if own else str(node) for node, own in enumerate(whole)]


def shares(met: Tensor) -> Tensor:
    """How much of mean_a max_s met[a, s] each segment gives.

    share[s] = sum over the tokens a that s meets best of met[a, s] / L

    Args:
        met: Shape (L, S).

    Returns:
        Shape (S,).
    """
    best, segment = met.max(dim=1)
    return met.new_zeros(met.shape[1]).index_add(0, segment, best / met.shape[0])


def paths(model: GSHN, encoded: EncodedGraphs) -> tuple[Tensor, Tensor]:
    """Norms of r E_SNN and of F_GAT = V' - r E_SNN, each of shape (N,)."""
    assert isinstance(model.encoder, HybridEncoder)
    spiking = torch.zeros_like(encoded.nodes)
    if encoded.spikes is not None:
        spiking = (model.encoder.r * model.encoder.discrete(encoded.spikes)).to(encoded.nodes.dtype)
    return spiking.norm(dim=1), (encoded.nodes - spiking).norm(dim=1)


@torch.inference_mode()
def explain(model: GSHN, graph: SceneGraph, caption: str) -> Explanation:
    """Explain the match of an image and a caption.

    Raises:
        CheckpointError: the model's encoder is not the hybrid one.
    """
    if not isinstance(model.encoder, HybridEncoder):
        raise CheckpointError(f"model.encoder is {model.config.model.encoder}; only hybrid has the two paths to show")
    device = device_of(model)
    encoded = model.encode_graphs(Batch.from_data_list([graph]).to(device))
    ids, mask = (t.to(device) for t in tokenize(model.tokenizer, [caption]))
    read = model.encode_text(ids, mask)
    texts, images = model.embed_texts(read), model.embed_images(encoded)
    tokens = model.node_tokens(encoded)
    compared = model.met(read, tokens)[0].cpu()
    met, met_by_spikes = compared[..., 0], None
    share = shares(met)
    if compared.shape[-1] > 1:
        met_by_spikes = compared[..., 1]
        weight = float(1 / (1 + model.spike_weight()))
        share = weight * share + (1 - weight) * shares(met_by_spikes)
    with model.fusion.watched() as weights:
        logits = model.matching(read, tokens)
    spiking, continuous = paths(model, encoded)
    return Explanation(
        tokens=[str(token) for token in model.tokenizer.convert_ids_to_tokens(ids[0].tolist())],
        similarity=float(model.similarity(texts, images)),
        matching=float(logits.float().softmax(dim=1)[0, 1]),
        met=met,
        met_by_spikes=met_by_spikes,
        share=share,
        attention=torch.stack(weights).mean(dim=0)[0].cpu(),
        spikes=None if encoded.spikes is None else tuple(layer.cpu() for layer in encoded.spikes.layers),
        spiking=spiking.cpu(),
        continuous=continuous.cpu(),
        names=names(graph),
    )
