"""Image-text retrieval figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
"""Number of pairs whose ranks are computed together."""

Look = Callable[[Tensor, Tensor, Sequence[str]], None]
"""Called with similarities, shape (T, I); the image of each text, shape (T,); and T texts."""


def recalls(scores: Tensor, owner: Tensor, prefix: str = "retrieval") -> dict[str, float]:
    """Recall@K in both directions, as fractions.

    Image to text: the share of images that have one of their own texts among the K most similar texts. Text to image:
    the share of texts that have their image among the K most similar images (Karpathy and Fei-Fei, arXiv:1412.2306).

    Of equal scores the first one in ``scores`` ranks first, as in a stable sort, so a model that gives all pairs the
    same score is at chance level. A score of NaN ranks before every other, and is never a hit.

    Args:
        scores: Similarity of texts and images, shape (texts, images).
        owner: Image of each text, shape (texts,). An image without texts is never a hit.
        prefix: Prefix of the keys ``<prefix>.t2i_r1`` and so on.

    Returns:
        Recall@K by key.
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


def recall_sums(figures: Mapping[str, float]) -> dict[str, float]:
    """The six recalls of each ranking added up, at most 6, as ``<prefix>.rsum``: figures of :func:`recalls`."""
    prefixes = [key.removesuffix(".i2t_r1") for key in figures if key.endswith(".i2t_r1")]
    return {f"{p}.rsum": sum(figures[f"{p}.{way}_r{k}"] for way in ("i2t", "t2i") for k in KS) for p in prefixes}


def ranks(scores: Tensor, target: Tensor, place: Tensor) -> Tensor:
    """Rank of a target column in each row, counted from 0. Equal scores rank as in :func:`recalls`.

    Rows are processed in blocks, so memory is that of the scores and of one block.

    Args:
        scores: Shape (queries, columns).
        target: Score of the target, shape (queries,).
        place: Column of the target, shape (queries,); the number of columns where a query has no target.

    Returns:
        Shape (queries,), int64; the number of columns where there is no target, or where its score is NaN.
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
    """Similarity of all pairs, computed for a block of texts at a time.

    Args:
        similarity: Similarity of a block of texts and all images, such as :meth:`gshn.model.GSHN.similarity`.
        texts: Blocks of texts. A generator keeps only one block in memory.
        images: I images.

    Returns:
        Shape (T, I), on the CPU.
    """
    return torch.cat([similarity(block, images).cpu() for block in texts])


@contextmanager
def without_spikes_in_v(model: GSHN) -> Iterator[None]:
    """A context in which r of V' = r E_SNN + F_GAT is 0."""
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
    """Scores with the K best candidates of each query reordered by the matching head, in both directions.

    All pairs are ranked by similarity. The K best of each query are then ordered by a S + log P(match) / P(no match),
    with a S the logits of the contrast (:meth:`gshn.model.GSHN.similarity_scale`). ALBEF (arXiv:2107.07651) uses the
    second term alone. Here both are added, because matching is trained on hard negatives of the contrast and learns
    what the contrast does not separate.

    Args:
        model: The model.
        texts: T texts.
        images: I images.
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
    for rows in chunks(len(pairs), 4 * TEXTS_PER_BATCH, "rerank pairs"):
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
        blocks: Iterable[Embeddings] = embedded_texts(model, texts)
        if paths and name == "retrieval":
            blocks = list(blocks)  # ranked by several times, and read once
        scores = similarities(model.similarity, blocks, images.embeddings)
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
                scores = similarities(similarity, blocks, own)
                figures |= recalls(scores, owner, f"retrieval.{path}")
    return figures
