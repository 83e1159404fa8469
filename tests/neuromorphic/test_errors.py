"""Parts of messages."""

from __future__ import annotations

import pytest

from neuromorphic.errors import counted


@pytest.mark.parametrize(
    ("number", "words", "told"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (1, ("image is", "images are"), "1 image is"),
        (3, ("image is", "images are"), "3 images are"),
    ],
)
def test_a_number_has_the_right_noun(number: int, words: tuple[str, ...], told: str) -> None:
    assert counted(number, *words) == told
