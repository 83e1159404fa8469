"""WUPS (Malinowski and Fritz, arXiv:1410.0210): similarity of two lists of answers, by WordNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

THRESHOLDS = (0.9, 0.0)
"""Those that the field reports."""

Likeness = Callable[[str, str], float]
"""Similarity of two words, in [0, 1]: see :attr:`gshn.data.wordnet.WordNet.likeness`."""


def wups(predicted: Sequence[str], right: Sequence[str], threshold: float, likeness: Likeness) -> float:
    """WUPS of one question, in [0, 1].

    min(prod_{a in A} max_{t in T} m(a, t), prod_{t in T} max_{a in A} m(t, a)), with A the right answers and T those
    that are predicted. m(a, t) is 1 for the same word, else likeness(a, t), times 0.1 where that is below the
    threshold.

    The products are over lists, as in the authors' ``calculate_wups.py``: a word that stands twice counts twice.

    Args:
        predicted: T, one word or more.
        right: A, one word or more.
        threshold: 0.9, or 0 for no threshold.
        likeness: Similarity of two words.
    """

    def same(a: str, b: str) -> float:
        alike = 1.0 if a == b else likeness(a, b)
        return alike if alike >= threshold else 0.1 * alike

    return min(
        prod(max(same(a, t) for t in predicted) for a in right),
        prod(max(same(t, a) for a in right) for t in predicted),
    )
