"""Retrieval to look at."""

import io

import numpy as np
import torch
from PIL import Image

from gshn.evaluation.gallery import draw, queries

# Texts 0 and 1 are of image 0, and so on. Text 0 leads by 0.5, text 1 by 0.1; text 2 is second, text 3 last.
SCORES = torch.tensor([[0.9, 0.4, 0.1], [0.5, 0.4, 0.2], [0.6, 0.5, 0.1], [0.9, 0.1, 0.3], [0.1, 0.2, 0.8],
                       [0.0, 0.0, 0.2]])  # fmt: skip
OWNER = torch.tensor([0, 0, 1, 1, 2, 2])


def test_best_and_worst_texts() -> None:
    relevant = OWNER[:, None] == torch.arange(3)
    best, worst = queries(SCORES, relevant, 2)
    assert [(query.index, query.rank) for query in best] == [(4, 1), (0, 1)]  # ahead by 0.6 and 0.5
    assert [(query.index, query.rank) for query in worst] == [(3, 3), (2, 2)]
    assert worst[0].found == [0, 2, 1] and worst[0].right == [1]
    everything = queries(SCORES, relevant, 50)
    assert [len(own) for own in everything] == [3, 3]
    assert not {query.index for query in everything[0]} & {query.index for query in everything[1]}


def test_the_first_right_text_counts_for_an_image() -> None:
    relevant = (OWNER[:, None] == torch.arange(3)).T
    best, worst = queries(SCORES.T, relevant, 1)
    assert (best[0].index, best[0].rank, best[0].right) == (2, 1, [4, 5])
    assert (worst[0].index, worst[0].rank) == (0, 1)  # text 3 is as near as text 0


def test_a_gallery_is_a_picture() -> None:
    texts = ["a $dog$ on grass", "a cat", "x" * 200, "", "two men talk", "snow"]
    images = [np.full((20, 30, 3), 80 * k, np.uint8) for k in range(3)]
    picture = Image.open(io.BytesIO(draw(SCORES, OWNER, texts, images, 1, "runs/a $")))
    assert picture.format == "PNG" and picture.width > 500 and picture.height > 500
    assert draw(SCORES, OWNER, texts, images, 1, "runs/a $") == draw(SCORES, OWNER, texts, images, 1, "runs/a $")
