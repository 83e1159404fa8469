"""Image-text retrieval figures."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.retrieval import retrieval_hit_rate

from gshn.encoders.alignment import Embeddings
from gshn.inference import SpikeBackend, SpikeCount, embed_images, embed_texts
from gshn.model import GSHN
from gshn.training.batches import PairCorpus

KS = (1, 5, 10)


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
def similarities(model: GSHN, texts: Embeddings, images: Embeddings, size: int = 64) -> Tensor:
    """Similarity of all pairs, in blocks of texts that fit in memory."""
    blocks = []
    for start in range(0, len(texts.whole), size):
        rows = slice(start, start + size)
        block = Embeddings(texts.whole[rows], texts.parts[rows], texts.mask[rows])
        blocks.append(model.similarity(block, images).cpu())
    return torch.cat(blocks)


def evaluate_retrieval(
    model: GSHN, corpus: PairCorpus, count: SpikeCount, backend: SpikeBackend | None = None
) -> dict[str, float]:
    """Retrieval among a corpus's images, by contrastive similarity.

    Returns:
        ``retrieval.i2t_r1`` and so on. Of ShapeScenes, with each image's first (most detailed) caption; and the same
        for the k-th caption, counted from 0, as ``retrieval.caption<k>.i2t_r1``: vaguer captions fit several images,
        of which only the image that they were written for counts as right. Of other sources, with all captions.
    """
    images = embed_images(model, corpus.graphs, count, backend)
    captions = list(corpus.captions())
    figures: dict[str, float] = {}
    if corpus.by_level:
        for level in range(len(captions[0])):
            texts = embed_texts(model, [own[level] for own in captions])
            prefix = "retrieval" if level == 0 else f"retrieval.caption{level}"
            figures |= recalls(similarities(model, texts, images), torch.arange(len(captions)), prefix)
        return figures
    owner = torch.arange(len(captions)).repeat_interleave(torch.tensor([len(own) for own in captions]))
    texts = embed_texts(model, [caption for own in captions for caption in own])
    return recalls(similarities(model, texts, images), owner)
