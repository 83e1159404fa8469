"""Retrieval at COCO's size, and the contrast of parts: seconds and memory, on made-up embeddings.

    OMP_NUM_THREADS=1 python -m benchmarks.retrieval                       # 5,000 images x 25,000 captions
    OMP_NUM_THREADS=1 python -m benchmarks.retrieval --share 0.2           # a fifth of both
    OMP_NUM_THREADS=1 python -m benchmarks.retrieval --rerank 16           # and the best 16 of each query anew
    OMP_NUM_THREADS=1 python -m benchmarks.retrieval --batch 512           # one batch's contrast, forward and backward

Random unit vectors in place of encoded images and captions: what encoding takes is not in it. Images have 4 to 30
segments, captions 8 to 20 tokens, made a block at a time as ``gshn.evaluate`` makes them. ``--similarity parts``
compares tokens with segments by V' and by spikes of twice the width, as the default model does; ``attention`` is that
of the config ``photographs``. Re-ranking is by the default model with random weights, whichever they are, and captions
of 6 to 14 words. Seconds are of the process's CPU and of the wall; the peak of memory is the process's.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.coco import captions
from gshn.config import load_config
from gshn.encoders.alignment import Embeddings, attended, similarity
from gshn.encoders.text_encoders import build_tokenizer
from gshn.evaluation.retrieval import recalls, reranked, similarities
from gshn.graphs.region_features import COLOUR_DIM
from gshn.inference import TEXTS_PER_BATCH, EncodedImages, chunks
from gshn.model import GSHN, NodeTokens, Vocabulary

CAPTIONS, STEPS = 5, 8


def unit(*shape: int) -> Tensor:
    """Random unit vectors."""
    return F.normalize(torch.randn(*shape), dim=-1)


def made_up(whole: Tensor, parts: tuple[int, int], width: int, spikes: bool) -> Embeddings:
    """Embeddings of wholes with parts, as many as between the two numbers; with ``spikes`` those too."""
    count, most = len(whole), parts[1]
    mask = torch.arange(most) < torch.randint(parts[0], most + 1, (count, 1))
    own = Embeddings(whole, unit(count, most, width) * mask[..., None], mask)
    if not spikes:
        return own
    code = unit(count, most, 2 * width) * mask[..., None]
    return replace(own, spikes=Embeddings(unit(count, 2 * width * STEPS), code, mask))


def peak() -> float:
    """The most memory that the process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(begun: tuple[float, float]) -> str:
    """Seconds since then, and the peak of memory."""
    return f"{time.process_time() - begun[0]:.1f} s of CPU, {time.time() - begun[1]:.1f} s, peak {peak():.0f} MiB"


def rerank(scores: Tensor, owner: Tensor, embeddings: Embeddings, candidates: int) -> None:
    """Order the best candidates of every query by the matching head of the default model."""
    images, most = embeddings.mask.shape
    texts = [caption for image in range(images) for caption in captions(np.random.default_rng(image))]
    config = load_config("default")
    width, tokenizer = config.model.width, build_tokenizer("bert", texts, config.model.text.max_length)
    model = GSHN(config, Vocabulary(["region"], {}, [7], COLOUR_DIM), tokenizer).eval()
    code = unit(images, most, config.model.spiking.layers * width)
    tokens = NodeTokens(
        embeddings.mask, torch.randn(images, most, width), torch.randn(images, width), torch.rand(images, most, 2), code
    )
    begun = time.process_time(), time.time()
    found = reranked(model, texts, EncodedImages(tokens, embeddings), scores, candidates)
    print(f"the best {candidates} of each query anew: {timed(begun)}", flush=True)
    for own in found:
        recalls(own, owner)
    print(f"with Recall@K: {timed(begun)}", flush=True)


def retrieve(images: int, width: int, kind: str, candidates: int) -> None:
    """Compare and rank."""
    torch.manual_seed(0)
    wholes, by_parts = unit(images, width), kind == "parts"
    theirs = made_up(wholes, (4, 30), width, by_parts)
    owner = torch.arange(images).repeat_interleave(CAPTIONS)
    print(f"{images} images with {CAPTIONS} captions each, width {width}, {kind}: embeddings, peak {peak():.0f} MiB")

    def texts() -> Iterator[Embeddings]:
        for rows in chunks(len(owner), TEXTS_PER_BATCH, "texts"):
            near = F.normalize(wholes[owner[rows]] + 0.3 * torch.randn(len(rows), width), dim=-1)
            yield made_up(near, (8, 20), width, by_parts)

    def compare(own: Embeddings, images: Embeddings) -> Tensor:
        if not by_parts:
            return 0.7 * similarity(own, images, False) + 0.3 * attended(own, images, torch.tensor(10.0))
        assert own.spikes is not None and images.spikes is not None
        return (similarity(own, images) + similarity(own.spikes, images.spikes)) / 2

    begun = time.process_time(), time.time()
    scores = similarities(compare, texts(), theirs)
    print(f"similarity of {scores.shape[0]} x {scores.shape[1]}: {timed(begun)}", flush=True)
    begun = time.process_time(), time.time()
    figures = recalls(scores, owner)
    print(f"Recall@K both ways: {timed(begun)}", flush=True)
    print(figures)
    if candidates:
        rerank(scores, owner, theirs, candidates)


def contrast(batch: int, width: int) -> None:
    """Losses and gradients of one batch: 20 tokens a caption, 30 segments an image, nothing padded."""
    own, theirs = (made_up(unit(batch, width), (parts, parts), width, False) for parts in (20, 30))
    asked = [x.requires_grad_() for each in (own, theirs) for x in (each.whole, each.parts)]
    before, begun = peak(), (time.process_time(), time.time())
    logits = 14 * similarity(own, theirs)
    torch.autograd.grad(F.cross_entropy(logits, torch.arange(batch)), asked)
    print(f"contrast of {batch} pairs, width {width}: {timed(begun)}, {peak() - before:.0f} MiB above the inputs")


def main() -> None:
    """Measure one of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of COCO's 5,000 images and 25,000 captions")
    parser.add_argument("--similarity", choices=("parts", "attention"), default="parts", help="what is compared")
    parser.add_argument("--width", type=int, help="of the embeddings; default: 128, and 256 with --batch")
    parser.add_argument("--rerank", type=int, default=0, metavar="K", help="re-rank the best K of each query")
    parser.add_argument("--batch", type=int, help="the contrast of a batch of as many pairs, in place of retrieval")
    args = parser.parse_args()
    if args.batch:
        contrast(args.batch, args.width or 256)
    else:
        retrieve(round(5000 * args.share), args.width or 128, args.similarity, args.rerank)


if __name__ == "__main__":
    main()
