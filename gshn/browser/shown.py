"""The result that a tab shows: sections of HTML, and files to download."""

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
        sections: HTML of each section, by title.
        png, nir, json: Contents of the files to download; None where there is none.
    """

    headline: str
    sections: Mapping[str, str]
    png: bytes | None = None
    nir: bytes | None = None
    json: str | None = None

    def html(self) -> str:
        """The result as HTML. Screen readers announce the headline."""
        parts = [f'<div role="status"><h2>{escape(self.headline)}</h2></div>']
        parts += [f"<section><h3>{escape(title)}</h3>{content}</section>" for title, content in self.sections.items()]
        return f'<div class="result">{"".join(parts)}</div>'


def shown_or_error(make: Callable[[], Shown], file: str | None, words: Mapping[str, str] | None = None) -> Shown | str:
    """The result of ``make``, or its error as one line.

    Args:
        make: Makes the result.
        file: The uploaded file. Its folder is removed from messages.
        words: Replacements in messages, for advice that names options of commands.
    """
    try:
        return make()
    except UserError as error:
        message = str(error)
    except MemoryError:
        message = "there is not enough memory; choose something smaller"
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
    """The time step in a field, in seconds; None where the field is empty.

    Raises:
        DataError: the field holds no number.
    """
    if text is None or not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise DataError(f"time step {text!r} is not a number; give seconds, such as 1e-4") from None


def failed(message: str) -> str:
    """An error as HTML."""
    return f'<p class="failed" role="alert">{escape(message)}</p>'


def paragraph(text: str) -> str:
    """Text as HTML."""
    return f"<p>{escape(text)}</p>"


def image(png: bytes, text: str, width: int = 660) -> str:
    """A picture as HTML; ``text`` describes it for screen readers, ``width`` is in pixels."""
    return picture(png, text, width)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as HTML. On a narrow page it scrolls horizontally, also by keyboard."""
    return scrolling(Table(title, columns, rows).html(), title)


def scrolling(html: str, title: str) -> str:
    """HTML in a region that scrolls horizontally. ``title`` names the region for screen readers."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{escape(title)}">{html}</div>'


def draw(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def nir_bytes(network: SpikingNetwork) -> bytes:
    """The contents of a network's NIR file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.nir"
        network.save(path)
        return path.read_bytes()


def json_text(report: Mapping[str, Any]) -> str:
    """A report as JSON text."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def energy_rows(joules: Mapping[str, tuple[float, float]]) -> list[tuple[str, str, str]]:
    """Table rows of energies in microjoules: energy model, low, high."""
    return [(name, f"{1e6 * low:.3g}", f"{1e6 * high:.3g}") for name, (low, high) in joules.items()]
