"""A gallery of retrieval results: queries with the best and with the worst rank of a right result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from neuromorphic.figures import to_png, verbatim

SHOWN = 3
"""Number of results that are drawn for a query."""
QUERIES = 4
"""Number of best and of worst queries that are drawn, in each direction."""
WIDE, NARROW = 40, 26
"""Characters in a line of text, in the first column and in the others."""
RIGHT, WRONG = "#1a7f37", "#b42318"


@dataclass(frozen=True)
class Query:
    """A text or an image, and its results.

    Attributes:
        index: Index of the text or image.
        rank: Rank of the first right result, counted from 1.
        found: The first :data:`SHOWN` results, the best first.
        right: The right results.
    """

    index: int
    rank: int
    found: list[int]
    right: list[int]


def queries(scores: Tensor, relevant: Tensor, count: int) -> tuple[list[Query], list[Query]]:
    """Choose the best and the worst queries.

    The margin of a query is the score of its best right result less that of its best wrong result. The best queries
    have the lowest ranks, and among equal ranks the largest margins; the worst queries the other way round.

    Args:
        scores: Similarity of queries and targets, shape (Q, N).
        relevant: Whether a target is right, shape (Q, N), bool; at least one for each query.
        count: Number of best and of worst queries. No query is in both.

    Returns:
        The best queries, the best first; and the worst ones, the worst first.
    """
    right = scores.masked_fill(~relevant, -torch.inf).amax(dim=1)
    wrong = scores.masked_fill(relevant, -torch.inf).amax(dim=1)
    rank = (scores > right[:, None]).sum(dim=1) + 1
    lead = (right - wrong).nan_to_num(neginf=0.0, posinf=0.0)
    order = sorted(range(len(scores)), key=lambda q: (int(rank[q]), -float(lead[q])))
    count = min(count, len(order) // 2)

    def query(q: int) -> Query:
        found = scores[q].argsort(descending=True, stable=True)[:SHOWN].tolist()
        return Query(q, int(rank[q]), found, relevant[q].nonzero()[:, 0].tolist())

    return [query(q) for q in order[:count]], [query(q) for q in order[len(order) - count :][::-1]]


def _photograph(axes: Axes, image: NDArray[np.uint8], title: str, colour: str | None = None) -> None:
    axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(verbatim(title), fontsize=8, color=colour or "black")
    for side in axes.spines.values():
        side.set_visible(colour is not None)
        side.set_color(colour or "black")
        side.set_linewidth(3)


def _text(axes: Axes, lines: Sequence[tuple[str, str]], width: int) -> None:
    """Draw texts one below the other, each in its colour, in lines of ``width`` letters."""
    axes.axis("off")
    y = 0.98
    for line, colour in lines:
        wrapped = fill(line, width)
        axes.text(0, y, verbatim(wrapped), va="top", fontsize=8, color=colour, transform=axes.transAxes)
        y -= 0.105 * (wrapped.count("\n") + 1) + 0.05


def _ordinal(rank: int, of: int) -> str:
    return "found first" if rank == 1 else f"right one at place {rank} of {of}"


def draw(
    scores: Tensor, owner: Tensor, texts: Sequence[str], images: Sequence[NDArray[np.uint8]], count: int, title: str
) -> bytes:
    """A gallery as PNG: texts with the images found for them, and images with the texts found.

    Args:
        scores: Similarity of texts and images, shape (T, I).
        owner: Image of each text, shape (T,).
        texts: T texts.
        images: I images, RGB of shape (H, W, 3), uint8.
        count: Best and worst queries, each way.
        title: Title of the picture.
    """
    relevant = owner[:, None] == torch.arange(scores.shape[1])
    to_images, to_texts = queries(scores, relevant, count), queries(scores.T, relevant.T, count)
    rows = sum(len(own) for own in (*to_images, *to_texts))
    height = 2.1 * rows + 0.5
    figure = Figure(figsize=(11, height))
    figure.text(0.5, 1 - 0.25 / height, verbatim(title), ha="center", va="center", fontsize=12)
    grid = figure.subplots(
        rows,
        SHOWN + 2,
        squeeze=False,
        width_ratios=[1.6, *[1] * (SHOWN + 1)],
        gridspec_kw={"left": 0.01, "right": 0.99, "bottom": 0.1 / height, "top": 1 - 0.75 / height, "wspace": 0.06,
                     "hspace": 0.2},
    )  # fmt: skip
    free = iter(grid)
    for label, own in (("text to image, best", to_images[0]), ("text to image, worst", to_images[1])):
        for query in own:
            row, (image,) = next(free), query.right
            _text(row[0], [(label, "0.4"), (texts[query.index], "black"), (_ordinal(query.rank, len(images)), "0.4")],
                  WIDE)  # fmt: skip
            _photograph(row[1], images[image], "its photograph")
            for place, found in enumerate(query.found):
                colour = RIGHT if found == image else WRONG
                _photograph(row[2 + place], images[found], f"found: {place + 1}", colour)
            for axes in row[2 + len(query.found) :]:
                axes.axis("off")
    for label, own in (("image to text, best", to_texts[0]), ("image to text, worst", to_texts[1])):
        for query in own:
            row = next(free)
            _text(row[0], [(label, "0.4"), (_ordinal(query.rank, len(texts)), "0.4"), ("one of its texts:", "0.4"),
                           (texts[query.right[0]], "black")], WIDE)  # fmt: skip
            _photograph(row[1], images[query.index], "the photograph")
            for place, found in enumerate(query.found):
                colour = RIGHT if found in query.right else WRONG
                _text(row[2 + place], [(f"found: {place + 1}", "0.4"), (texts[found], colour)], NARROW)
            for axes in row[2 + len(query.found) :]:
                axes.axis("off")
    return to_png(figure, dpi=80)
