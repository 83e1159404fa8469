"""Tables of a result, for the terminal and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Table:
    """A table: a column of names, and columns of numbers.

    Attributes:
        title: One line above it.
        columns: Heads of the columns.
        rows: Texts of each row, one for each column.
        notes: Lines below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())

    def print(self, console: Console | None = None) -> None:
        """Print it to the terminal."""
        from rich import table
        from rich.console import Console

        console = console or Console(markup=False, emoji=False)
        shown = table.Table(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            shown.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            shown.add_row(*row)
        console.print(shown)
        for note in self.notes:
            console.print(note, highlight=False, soft_wrap=True)

    def html(self) -> str:
        """The table as HTML."""
        head = "".join(f"<th>{escape(column)}</th>" for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:{"right" if k else "left"}">{escape(cell)}</td>'
                             for k, cell in enumerate(row)) + "</tr>"
            for row in self.rows
        )  # fmt: skip
        below = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<p><b>{escape(self.title)}</b></p><table><tr>{head}</tr>{body}</table>{below}"


def percent(share: float, digits: int = 2) -> str:
    """A share in percent."""
    return f"{100 * share:.{digits}f} %"


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, and of those packages that are installed."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    out = {"python": platform.python_version()}
    for package in packages:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out
