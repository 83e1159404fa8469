"""Image-text retrieval figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

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
    embedded_texts,
    encode_images,
)
from gshn.model import GSHN
from gshn.training.batches import PairCorpus

KS = (1, 5, 10)
BLOCK = 2**22
"""Pairs whose ranks are counted together."""

Look = Callable[[Tensor, Tensor, Sequence[str]], None]
"""Gets similarities, shape (T, I); the image of each text, shape (T,); and T texts."""


def recalls(scores: Tensor, owner: Tensor, prefix: str = "retrieval") -> dict[str, float]:
    """Recall@K both ways, as fractions.

    R@K of images is the share of images with one of their own texts among the K most similar ones; that of texts the
    share of texts with their image among the K most similar ones (Karpathy and Fei-Fei, arXiv:1412.2306).

    Of equal scores the one that comes first in ``scores`` ranks first, as in a stable sort: who gives all pairs one
    score is right as often as by chance. A score that is not a number ranks before every other, and is never a hit.

    Args:
        scores: Similarity of texts and images, shape (texts, images).
        owner: Image of each text, shape (texts,); of an image without texts none is ever found.
        prefix: Of the keys ``<prefix>.t2i_r1`` and so on.
    """
    texts, images = scores.shape
    own = scores.gather(1, owner[:, None])[:, 0]
    # Of an image's texts, the one that ranks best: the first of those with the highest score.
    best = own.new_full((images,), -torch.inf).scatter_reduce(0, owner, own, "amax")
    leads = own == best[owner]
    first = owner.new_full((images,), texts).scatter_reduce(0, owner[leads], leads.nonzero()[:, 0], "amin")
    figures = {}
    for name, queries, target, place in (("i2t", scores.T, best, first), ("t2i", scores, own, owner)):
        rank = ranks(queries, target, place)
        for k in KS:
            hits = rank < min(k, queries.shape[1])
            figures[f"{prefix}.{name}_r{k}"] = round(float(hits.float().mean()), 6)
    return figures


def ranks(scores: Tensor, target: Tensor, place: Tensor) -> Tensor:
    """How many columns rank before one of them, in each row: see :func:`recalls` about equal scores.

    A block of rows at a time: beside the scores memory is that of a block.

    Args:
        scores: Shape (queries, columns).
        target: The score of that column, shape (queries,).
        place: That column, shape (queries,); as many as there are columns where there is none.

    Returns:
        Shape (queries,), int64; the number of columns where there is none, or where its score is not a number.
    """
    columns = torch.arange(scores.shape[1])
    rows = max(1, BLOCK // max(1, scores.shape[1]))
    found = []
    for block, own, at in zip(scores.split(rows), target.split(rows), place.split(rows), strict=True):
        earlier = (block == own[:, None]) & (columns < at[:, None])
        found.append((~(block <= own[:, None]) | earlier).sum(dim=1))
    return torch.where((place == len(columns)) | target.isnan(), len(columns), torch.cat(found))


@torch.inference_mode()
def similarities(
    similarity: Callable[[Embeddings, Embeddings], Tensor], texts: Iterable[Embeddings], images: Embeddings
) -> Tensor:
    """Similarity of all pairs, such as :meth:`gshn.model.GSHN.similarity`, a block of texts at a time.

    Args:
        similarity: Of a block of texts and all images.
        texts: Blocks of texts; what is made only when it is asked for need not be in memory together.
        images: I images.

    Returns:
        Shape (T, I), on the CPU.
    """
    return torch.cat([similarity(block, images).cpu() for block in texts])


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
    evidence = float(model.similarity_scale()) * scores[tuple(pairs.T)]
    for rows in chunks(len(pairs), 4 * TEXTS_PER_BATCH, "pairs"):
        text, image = pairs[rows].T
        own, place = text.unique(return_inverse=True)  # pairs come by their texts: a text is read once, or twice
        ids, attention = (t.to(device) for t in tokenize(model.tokenizer, [texts[i] for i in own.tolist()]))
        read = model.encode_text(ids, attention)[place.to(device)]
        logits = model.matching(read, images.tokens[image].to(device))
        no, yes = logits.float().cpu().unbind(dim=1)
        evidence[rows] += yes - no
    above = 2 + evidence - evidence.min()  # at least 2, and every similarity is at most 1
    text, image = pairs.T
    to_images, to_texts = (
        scores.index_put((text[chosen], image[chosen]), above[chosen]) for chosen in (own[text, image] for own in near)
    )
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
    images = encode_images(model, corpus.graphs, count, backend, tokens=rerank > 0)
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
        scores = similarities(model.similarity, embedded_texts(model, texts), images.embeddings)
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
                silent = encode_images(model, corpus.graphs, SpikeCount(), backend, tokens=False).embeddings
            ranked = {"v": (model.alignment, images.embeddings), "v_r0": (model.alignment, silent)}
            if images.embeddings.spikes is not None:
                ranked["spikes"] = (model.spike_alignment, images.embeddings)
                ranked["r0"] = (model.similarity, silent)
            for path, (similarity, own) in ranked.items():
                scores = similarities(similarity, embedded_texts(model, texts), own)
                figures |= recalls(scores, owner, f"retrieval.{path}")
    return figures
