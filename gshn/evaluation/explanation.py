"""Which segments of an image drive its match with a caption."""

from __future__ import annotations

from collections.abc import Callable
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
    """Why an image of S segments and a caption of L tokens (with [CLS] and [SEP]) match.

    One of the S segments may be the whole image. All tensors are on the CPU.

    Attributes:
        tokens: The caption's tokens.
        similarity: The similarity that retrieval ranks by, in [-1, 1].
        matching: Probability of a match by the matching head; None where it was not trained.
        compared: The tokens that are compared with segments. Where retrieval compares whole texts only
            (``model.similarity`` is whole or attention): one entry for the whole text.
        segment_similarity: <p_a, p_s> of entry a of ``compared`` and segment s by V', shape (len(compared), S). For
            tokens, the similarity contains the maximum of each row. For a whole text, it is the similarity of the text
            with an image whose readout is this segment's V'.
        segment_similarity_by_spikes: The same by spikes, <c_a, c_s>; None without spiked text learning.
        share: Contribution of each segment to the second term of the similarity, mean_a max_s, shape (S,): the sum of
            :func:`shares` by V' and by spikes with their weights in :meth:`gshn.model.GSHN.similarity`. For a whole
            text: the sum of both similarities with these weights.
        attention: Attention of token a to segment s, mean over layers and heads of the fusion, shape (L, S); None where
            the fusion was not trained.
        spikes: Spikes of every layer, each of shape (T, S, C); None without a spiking path.
        spiking: Norm of r E_SNN, shape (S,).
        continuous: Norm of F_GAT, shape (S,).
        names: Names of the segments: their numbers, and "whole image" for the node of the whole image.
    """

    tokens: list[str]
    similarity: float
    matching: float | None
    compared: list[str]
    segment_similarity: Tensor
    segment_similarity_by_spikes: Tensor | None
    share: Tensor
    attention: Tensor | None
    spikes: tuple[Tensor, ...] | None
    spiking: Tensor
    continuous: Tensor
    names: list[str]


def names(graph: SceneGraph) -> list[str]:
    """Names of the nodes of a graph in pictures."""
    whole = graph.whole.tolist() if "whole" in graph else [False] * graph.num_nodes
    return ["whole image" if own else str(node) for node, own in enumerate(whole)]


def shares(similarity: Tensor) -> Tensor:
    """Contribution of each segment to mean_a max_s similarity[a, s].

    share[s] = sum of similarity[a, s] / L over the tokens a whose most similar segment is s

    Args:
        similarity: Shape (L, S).

    Returns:
        Shape (S,).
    """
    best, segment = similarity.max(dim=1)
    return similarity.new_zeros(similarity.shape[1]).index_add(0, segment, best / similarity.shape[0])


def paths(model: GSHN, encoded: EncodedGraphs) -> tuple[Tensor, Tensor]:
    """Norms of r E_SNN and of F_GAT = V' - r E_SNN, each of shape (N,)."""
    assert isinstance(model.encoder, HybridEncoder)
    spiking = torch.zeros_like(encoded.nodes)
    if encoded.spikes is not None:
        spiking = (model.encoder.r * model.encoder.discrete(encoded.spikes)).to(encoded.nodes.dtype)
    return spiking.norm(dim=1), (encoded.nodes - spiking).norm(dim=1)


def require_paths(model: GSHN) -> None:
    """Check that a model can be explained.

    Raises:
        CheckpointError: the model's encoder is not the hybrid one.
    """
    if not isinstance(model.encoder, HybridEncoder):
        raise CheckpointError(f"model.encoder is {model.config.model.encoder}; only hybrid has the two paths to show")


@torch.inference_mode()
def explain(model: GSHN, graph: SceneGraph, caption: str) -> Explanation:
    """Explain the match of an image and a caption.

    Args:
        model: The model, in eval mode.
        graph: Scene graph of the image.
        caption: The caption.

    Raises:
        CheckpointError: the model's encoder is not the hybrid one.
    """
    require_paths(model)
    device = device_of(model)
    encoded = model.encode_graphs(Batch.from_data_list([graph]).to(device))
    ids, mask = (t.to(device) for t in tokenize(model.tokenizer, [caption]))
    read = model.encode_text(ids, mask)
    texts, images = model.embed_texts(read), model.embed_images(encoded)
    tokens = model.node_tokens(encoded)
    of_tokens = model.part_similarities(read, tokens)[0].cpu()
    by_spikes = [of_tokens[..., code] for code in range(1, of_tokens.shape[-1])]  # none or one
    names_of_tokens = [str(token) for token in model.tokenizer.convert_ids_to_tokens(ids[0].tolist())]
    each: Callable[[Tensor], Tensor] = shares
    compared, similarity = names_of_tokens, of_tokens[..., 0]
    if not model.with_parts:
        each = torch.flatten
        compared, similarity = ["the text"], (texts.whole @ model.image_head.of_wholes(encoded.nodes).T).cpu()
        # Where the whole text is one code, every token's row is the same; words were not compared.
        by_spikes = [own[:1] for own in by_spikes if model.config.model.spiking.text == "whole"]
    share = each(similarity)
    if by_spikes:
        weight = float(1 / (1 + model.spike_weight()))
        share = weight * share + (1 - weight) * each(by_spikes[0])
    with model.fusion.watched() as weights:
        logits = model.matching(read, tokens)
    objectives = model.config.objectives
    fused = objectives.mlm or objectives.itm or model.vocabulary.answers
    spiking, continuous = paths(model, encoded)
    return Explanation(
        tokens=names_of_tokens,
        similarity=float(model.similarity(texts, images)),
        matching=float(logits.float().softmax(dim=1)[0, 1]) if objectives.itm else None,
        compared=compared,
        segment_similarity=similarity,
        segment_similarity_by_spikes=by_spikes[0] if by_spikes else None,
        share=share,
        attention=torch.stack(weights).mean(dim=0)[0].cpu() if fused else None,
        spikes=None if encoded.spikes is None else tuple(layer.cpu() for layer in encoded.spikes.layers),
        spiking=spiking.cpu(),
        continuous=continuous.cpu(),
        names=names(graph),
    )
