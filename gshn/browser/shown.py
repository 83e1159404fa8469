"""What a tab shows: sections of HTML, and files to download."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gshn.api.html import picture
from neuromorphic.results.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuromorphic import SpikingNetwork


@dataclass(frozen=True)
class Shown:
    """A result.

    Attributes:
        headline: The result in one line.
        sections: HTML by title.
        png, nir, json: Files to download; None where there is none.
    """

    headline: str
    sections: Mapping[str, str]
    png: bytes | None = None
    nir: bytes | None = None
    json: str | None = None

    def html(self) -> str:
        """All of it; the headline is read out by a screen reader when it comes."""
        parts = [f'<div role="status"><h2>{escape(self.headline)}</h2></div>']
        parts += [f"<section><h3>{escape(title)}</h3>{content}</section>" for title, content in self.sections.items()]
        return f'<div class="result">{"".join(parts)}</div>'


def failed(message: str) -> str:
    """What is shown in place of a result: one line."""
    return f'<p class="failed" role="alert">{escape(" ".join(message.split()))}</p>'


def paragraph(text: str) -> str:
    """Text as HTML."""
    return f"<p>{escape(text)}</p>"


def image(png: bytes, text: str, width: int = 660) -> str:
    """A picture, with what it shows in words."""
    return picture(png, text, width)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the page is narrow; it can be reached with the keyboard for that."""
    return scrolling(Table(title, columns, rows).html(), title)


def scrolling(html: str, title: str) -> str:
    """Something wide, which scrolls by itself."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{escape(title)}">{html}</div>'


def draw(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def nir_bytes(network: SpikingNetwork) -> bytes:
    """A network as a NIR file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.nir"
        network.save(path)
        return path.read_bytes()


def json_text(report: Mapping[str, Any]) -> str:
    """A report as JSON."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def energy_rows(joules: Mapping[str, tuple[float, float]]) -> list[tuple[str, str, str]]:
    """Energies in microjoules, a row for each energy model."""
    return [(name, f"{1e6 * low:.3g}", f"{1e6 * high:.3g}") for name, (low, high) in joules.items()]
