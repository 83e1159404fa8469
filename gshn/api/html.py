"""What notebooks show of the library's objects."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png(pixels: NDArray[np.uint8]) -> bytes:
    """RGB of shape (H, W, 3), uint8, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def picture(data: bytes, text: str, width: int) -> str:
    """A PNG as an ``img`` element; ``text`` describes it, for screen readers."""
    source = base64.b64encode(data).decode()
    return f'<img alt="{escape(text)}" title="{escape(text)}" width="{width}" src="data:image/png;base64,{source}">'


def table(rows: Iterable[tuple[str, str]], head: tuple[str, str] | None = None) -> str:
    """A table of two columns; what is in it is text, not HTML."""
    first = "" if head is None else f"<tr><th>{escape(head[0])}</th><th>{escape(head[1])}</th></tr>"
    body = "".join(f"<tr><td>{escape(left)}</td><td>{escape(right)}</td></tr>" for left, right in rows)
    return f"<table>{first}{body}</table>"
