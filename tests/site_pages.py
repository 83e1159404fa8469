"""The pages of the site: README.md, CONTRIBUTING.md and docs/, their code blocks and their commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if page.parent.name != "results" or page.name == "conformance.md"),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, those in lists included."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


@dataclass(frozen=True)
class Command:
    """A line of a ``bash`` block: its page, the line, and its words without comments."""

    page: str
    line: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The words with one blank between them and one at the end, so that a beginning may name whole words."""
        return f"{shlex.join(self.words)} "

    def __str__(self) -> str:
        return f"{self.page}: {self.text.strip()}"


def commands() -> Iterator[Command]:
    """Every command of every page."""
    for page, name in zip(PAGES, NAMES, strict=True):
        for block in blocks(page.read_text(), "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield Command(name, line, tuple(words))


def make_network() -> None:
    """In this folder, the file and the input of docs/nir.md: ``model.nir`` and ``in.npz``."""
    exec(compile(blocks((DOCS / "nir.md").read_text(), "python")[0], "docs/nir.md", "exec"), {})
