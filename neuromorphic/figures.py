"""What every picture drawn with matplotlib needs: text taken as it is, and PNG."""

from __future__ import annotations

import io
import warnings

from matplotlib.figure import Figure


def verbatim(text: str) -> str:
    """Text of a user (a caption, a file's name) for matplotlib, to be drawn as it is.

    Dollar signs begin no formula, and what cannot be drawn (control characters, bytes of a file's name that are no
    text) becomes a question mark. All text that this project has not written itself goes through here.
    """
    drawable = (c if c == "\n" or (c.isprintable() and not "\ud800" <= c <= "\udfff") else "?" for c in text)
    return "".join(drawable).replace("$", r"\$")  # without a bare $, matplotlib draws \$ as $


def to_png(figure: Figure, dpi: float | None = None) -> bytes:
    """A figure as PNG, whose bytes depend on the figure alone; ``dpi`` where it is not the figure's own."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a script that the font lacks: it shows boxes
        figure.savefig(buffer, format="png", dpi=dpi or "figure", metadata={"Software": None})
    return buffer.getvalue()
