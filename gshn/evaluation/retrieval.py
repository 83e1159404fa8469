"""Image-text retrieval figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torchmetrics.functional.retrieval import retrieval_hit_rate

from gshn.encoders.alignment import Embeddings
from gshn.encoders.hybrid import HybridEncoder
from gshn.encoders.text import tokenize
from gshn.inference import (
    TEXTS_PER_BATCH,
    EncodedImages,
    SpikeBackend,
    SpikeCount,
    chunks,
    count_texts,
    device_of,
    embed_texts,
    encode_images,
)
from gshn.model import GSHN
from gshn.training.batches import PairCorpus

KS = (1, 5, 10)

Look = Callable[[Tensor, Tensor, Sequence[str]], None]
"""Gets similarities, shape (T, I); the image of each text, shape (T,); and T texts."""


def recalls(scores: Tensor, owner: Tensor, prefix: str = "retrieval") -> dict[str, float]:
    """Recall@K both ways, as fractions.

    R@K of images is the share of images with one of their own texts among the K most similar ones; that of texts the
    share of texts with their image among the K most similar ones (Karpathy and Fei-Fei, arXiv:1412.2306).

    Args:
        scores: Similarity of texts and images, shape (texts, images).
        owner: Image of each text, shape (texts,); every image has one.
        prefix: Of the keys ``<prefix>.t2i_r1`` and so on.
    """
    relevant = owner[:, None] == torch.arange(scores.shape[1])
    figures = {}
    for name, queries, targets in (("i2t", scores.T, relevant.T), ("t2i", scores, relevant)):
        for k in KS:
            top_k = min(k, queries.shape[1])
            hits = [retrieval_hit_rate(row, own, top_k=top_k) for row, own in zip(queries, targets, strict=True)]
            figures[f"{prefix}.{name}_r{k}"] = round(float(torch.stack(hits).mean()), 6)
    return figures


@torch.inference_mode()
def similarities(
    similarity: Callable[[Embeddings, Embeddings], Tensor], texts: Embeddings, images: Embeddings, size: int = 64
) -> Tensor:
    """Similarity of all pairs, such as :meth:`gshn.model.GSHN.similarity`, in blocks of texts that fit in memory."""
    blocks = []
    for start in range(0, len(texts.whole), size):
        blocks.append(similarity(texts[start : start + size], images).cpu())
    return torch.cat(blocks)


@contextmanager
def without_spikes_in_v(model: GSHN) -> Iterator[None]:
    """Meanwhile, r of V' = r E_SNN + F_GAT is 0."""
    assert isinstance(model.encoder, HybridEncoder)
    r = model.encoder.r.detach().clone()
    with torch.no_grad():
        model.encoder.r.zero_()
        try:
            yield
        finally:
            model.encoder.r.copy_(r)


@torch.inference_mode()
def reranked(
    model: GSHN, texts: Sequence[str], images: EncodedImages, scores: Tensor, candidates: int
) -> tuple[Tensor, Tensor]:
    """Similarity with the best candidates ordered by the matching head, too, for queries of either kind.

    Contrast ranks all; each query's K best come first, ordered by a S + log P(match) / P(no match), with a S the logits
    of the contrast (:meth:`gshn.model.GSHN.similarity_scale`). ALBEF (arXiv:2107.07651) orders by the second term
    alone; but matching is trained on negatives that are drawn by the first, and so learns what the first does not tell.

    Args:
        model: The model.
        texts: The T texts.
        images: The I images.
        scores: Similarity, shape (T, I).
        candidates: K.

    Returns:
        Scores to rank images by, and scores to rank texts by, each of shape (T, I).
    """
    device = device_of(model)
    near = [
        torch.zeros_like(scores, dtype=torch.bool).scatter(
            axis, scores.topk(min(candidates, scores.shape[axis]), dim=axis).indices, True
        )
        for axis in (1, 0)
    ]
    pairs = (near[0] | near[1]).nonzero()
    evidence = float(model.similarity_scale()) * scores
    for rows in chunks(len(pairs), 4 * TEXTS_PER_BATCH, "pairs"):
        text, image = pairs[rows].T
        ids, attention = (t.to(device) for t in tokenize(model.tokenizer, [texts[i] for i in text.tolist()]))
        logits = model.matching(model.encode_text(ids, attention), images.tokens[image].to(device))
        no, yes = logits.float().cpu().unbind(dim=1)
        evidence[text, image] += yes - no
    above = 2 + evidence - evidence[near[0] | near[1]].min()  # at least 2, and every similarity is at most 1
    to_images, to_texts = (torch.where(own, above, scores) for own in near)
    return to_images, to_texts


def evaluate_retrieval(
    model: GSHN,
    corpus: PairCorpus,
    count: SpikeCount,
    backend: SpikeBackend | None = None,
    rerank: int = 0,
    paths: bool = False,
    look: Look | None = None,
) -> dict[str, float]:
    """Retrieval among a corpus's images, by contrastive similarity.

    ``look`` is shown what images are ranked by for the first or all captions.

    Returns:
        ``retrieval.i2t_r1`` and so on. Of ShapeScenes, with each image's first (most detailed) caption; and the same
        for the k-th caption, counted from 0, as ``retrieval.caption<k>.i2t_r1``: vaguer captions fit several images,
        of which only the image that they were written for counts as right. Of other sources, with all captions.
        With ``rerank`` K > 0 also ``retrieval.reranked.i2t_r1`` and so on, of the first or all captions: see
        :func:`reranked`. With ``paths`` also what each path is worth, of the first or all captions: ``retrieval.v``
        ranks by V' alone, ``retrieval.spikes`` by the similarity of spikes alone, ``retrieval.v_r0`` by V' with r = 0,
        and ``retrieval.r0`` by both with r = 0.
    """
    images = encode_images(model, corpus.graphs, count, backend)
    captions = list(corpus.captions())
    count_texts(model, [caption for own in captions for caption in own], "captions")
    chosen = {"retrieval": captions}
    if corpus.by_level:
        names = ["retrieval", *(f"retrieval.caption{level}" for level in range(1, len(captions[0])))]
        chosen = {name: [[own[level]] for own in captions] for level, name in enumerate(names)}
    figures: dict[str, float] = {}
    for name, of_image in chosen.items():
        owner = torch.arange(len(of_image)).repeat_interleave(torch.tensor([len(own) for own in of_image]))
        texts = [caption for own in of_image for caption in own]
        embedded = embed_texts(model, texts)
        scores = similarities(model.similarity, embedded, images.embeddings)
        figures |= recalls(scores, owner, name)
        if look is not None and name == "retrieval":
            look(scores, owner, texts)
        if rerank and name == "retrieval":
            to_images, to_texts = reranked(model, texts, images, scores, rerank)
            prefix = "retrieval.reranked"
            by_image, by_text = recalls(to_images, owner, prefix), recalls(to_texts, owner, prefix)
            figures |= {key: by_image[key] if ".t2i" in key else by_text[key] for key in by_image}
        if paths and name == "retrieval":
            with without_spikes_in_v(model):
                silent = encode_images(model, corpus.graphs, SpikeCount(), backend).embeddings
            ranked = {"v": (model.alignment, images.embeddings), "v_r0": (model.alignment, silent)}
            if images.embeddings.spikes is not None:
                ranked["spikes"] = (model.spike_alignment, images.embeddings)
                ranked["r0"] = (model.similarity, silent)
            for path, (similarity, own) in ranked.items():
                figures |= recalls(similarities(similarity, embedded, own), owner, f"retrieval.{path}")
    return figures
