"""Text of users in pictures."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from neuromorphic.figures import to_png, verbatim

NAMES = ["cost $5 or $x{$", "$", r"\$5 and $6", "a$b_{}$c\\", "\udcff\x00.jpg", "two\nlines", "中文 ☃", "_hidden {0}"]


def drawn(text, **options):
    figure = Figure(figsize=(4, 1))
    figure.text(0.1, 0.4, text, **options)
    return to_png(figure)


@pytest.mark.parametrize("name", NAMES)
def test_text_is_drawn_as_it_is(name):
    plain = "".join(c if c == "\n" or c.isprintable() else "?" for c in name)
    assert drawn(verbatim(name)) == drawn(plain, parse_math=False)


def test_png_has_the_figures_size_or_another(tmp_path):
    for dpi, size in ((None, (400, 100)), (50, (200, 50))):
        (tmp_path / "a.png").write_bytes(to_png(Figure(figsize=(4, 1), dpi=100), dpi))
        with Image.open(tmp_path / "a.png") as image:
            assert image.size == size and np.asarray(image).min() == 255
