"""What a tab shows: sections of HTML, and files to download."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gshn.api.html import picture
from gshn.errors import DataError
from neuromorphic.errors import UserError
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


def shown_or_error(make: Callable[[], Shown], file: str | None, words: Mapping[str, str] | None = None) -> Shown | str:
    """A result; or, where there is none, why, in one line.

    Args:
        make: Makes the result.
        file: That of the browser's upload, whose folder messages need not name.
        words: What messages say of commands, and what stands for it on the page.
    """
    try:
        return make()
    except UserError as error:
        message = str(error)
    except MemoryError:
        message = "there is not memory enough; give something smaller"
    except OSError as error:
        message = f"{error.filename or 'the system'}: {error.strerror or error}"
    for said, here in (words or {}).items():
        message = message.replace(said, here)
    if file is not None:
        message = message.replace(f"{Path(file).parent}{os.sep}", "")
    return " ".join(message.split())


def required_number(what: str, value: float | None) -> int:
    """A field's whole number.

    Raises:
        DataError: it is empty.
    """
    if value is None:
        raise DataError(f"{what} is empty; give a whole number")
    return int(value)


def seconds(text: str | None) -> float | None:
    """A field's time step; None where it is empty, or was never touched.

    Raises:
        DataError: it is no number.
    """
    if text is None or not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise DataError(f"time step {text!r} is no number; give seconds, such as 1e-4") from None


def failed(message: str) -> str:
    """What is shown in place of a result: one line."""
    return f'<p class="failed" role="alert">{escape(message)}</p>'


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
