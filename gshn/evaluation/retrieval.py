"""Image-text retrieval figures."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.retrieval import retrieval_hit_rate

from gshn.encoders.alignment import Embeddings, similarity
from gshn.inference import SpikeBackend, SpikeCount, embed_images, embed_texts
from gshn.model import GSHN
from gshn.training.batches import PairCorpus

KS = (1, 5, 10)


def recalls(scores: Tensor, prefix: str = "retrieval") -> dict[str, float]:
    """Recall@K both ways, as fractions.

    R@K is the share of queries whose own match is among the K most similar.

    Args:
        scores: Similarity of texts and images, shape (n, n); text i belongs to image i.
        prefix: Of the keys ``<prefix>.t2i_r1`` and so on.
    """
    relevant = torch.eye(len(scores), dtype=torch.bool)
    figures = {}
    for name, queries in (("i2t", scores.T), ("t2i", scores)):
        for k in KS:
            top_k = min(k, len(queries))
            hits = [retrieval_hit_rate(row, own, top_k=top_k) for row, own in zip(queries, relevant, strict=True)]
            figures[f"{prefix}.{name}_r{k}"] = round(float(torch.stack(hits).mean()), 6)
    return figures


@torch.inference_mode()
def similarities(texts: Embeddings, images: Embeddings, size: int = 64) -> Tensor:
    """:func:`gshn.encoders.alignment.similarity` of all pairs, in blocks of texts that fit in memory."""
    blocks = []
    for start in range(0, len(texts.whole), size):
        rows = slice(start, start + size)
        block = Embeddings(texts.whole[rows], texts.parts[rows], texts.mask[rows])
        blocks.append(similarity(block, images).cpu())
    return torch.cat(blocks)


def evaluate_retrieval(
    model: GSHN, corpus: PairCorpus, count: SpikeCount, backend: SpikeBackend | None = None
) -> dict[str, float]:
    """Retrieval among a corpus's images, by contrastive similarity.

    Returns:
        ``retrieval.i2t_r1`` and so on, with each image's first (most detailed) caption; and the same for the k-th
        caption, counted from 0, as ``retrieval.caption<k>.i2t_r1``. Vaguer captions fit several images, of which only
        the image that they were written for counts as right.
    """
    images = embed_images(model, corpus.graphs, count, backend)
    figures: dict[str, float] = {}
    for level in range(len(corpus.captions[0])):
        texts = embed_texts(model, [captions[level] for captions in corpus.captions])
        prefix = "retrieval" if level == 0 else f"retrieval.caption{level}"
        figures |= recalls(similarities(texts, images), prefix)
    return figures
