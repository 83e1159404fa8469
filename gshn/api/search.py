"""Search a folder of photographs by text: the photographs are encoded once and kept in an index."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from gshn.data.files import list_images
from gshn.encoders.alignment import Embeddings
from gshn.errors import DataError
from neuromorphic.errors import UserError, UserNotice, counted
from neuromorphic.files import Lock, make_folder, write_atomically

BESIDE = ".gshn"
"""Folder of the index, inside the folder that is searched. Search skips folders whose name begins with a dot."""
FORMAT = 1
"""Version of the file's format. Increase it with every change of the format."""
STEP = 16
"""Number of images that are encoded together."""
AT_ONCE = 1024
"""Number of images that a text is compared with at once."""

Stamp = list[int]
"""Size (bytes) and modification time (nanoseconds) of a file. A file is taken as unchanged where both are equal."""


@dataclass(frozen=True)
class Hit:
    """A result of a search.

    Attributes:
        path: File of the image.
        similarity: Similarity of image and text, in [-1, 1]: that of :meth:`gshn.api.model.Model.similarity`.
    """

    path: Path
    similarity: float


@dataclass(frozen=True)
class Rows:
    """Embeddings of I images, concatenated without padding.

    Attributes:
        whole: Embedding of each image, shape (I, E).
        parts: Embeddings of the segments of all images, shape (sum of ``lengths``, F).
        lengths: Number of segments of each image, shape (I,), int64.
        spikes: The embeddings by spikes; None without spiked text learning.
    """

    whole: Tensor
    parts: Tensor
    lengths: Tensor
    spikes: Rows | None

    @classmethod
    def of(cls, e: Embeddings) -> Rows:
        """Embeddings without their padding, on the CPU."""
        spikes = None if e.spikes is None else cls.of(e.spikes)
        return cls(e.whole.float().cpu(), e.parts[e.mask].float().cpu(), e.mask.sum(dim=1).cpu(), spikes)

    @classmethod
    def cat(cls, several: list[Rows]) -> Rows:
        """Concatenate the embeddings of several groups of images."""
        spikes = [own.spikes for own in several if own.spikes is not None]
        whole, parts, lengths = (
            torch.cat([getattr(own, name) for own in several]) for name in ("whole", "parts", "lengths")
        )
        return cls(whole, parts, lengths, cls.cat(spikes) if spikes else None)

    def take(self, rows: list[int]) -> Rows:
        """The embeddings of the images ``rows``."""
        own = self.parts.split(self.lengths.tolist())
        parts = torch.cat([own[row] for row in rows]) if rows else self.parts[:0]
        return Rows(self.whole[rows], parts, self.lengths[rows], self.spikes and self.spikes.take(rows))

    def padded(self) -> Embeddings:
        """Padded embeddings, in the form that retrieval compares."""
        parts = pad_sequence(list(self.parts.split(self.lengths.tolist())), batch_first=True)
        mask = torch.arange(parts.shape[1]) < self.lengths[:, None]
        return Embeddings(self.whole, parts, mask, None if self.spikes is None else self.spikes.padded())

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All tensors by name, in the form that a file holds."""
        own = {f"{prefix}{name}": getattr(self, name).contiguous() for name in ("whole", "parts", "lengths")}
        return own | (self.spikes.tensors("spikes.") if self.spikes is not None else {})

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], prefix: str = "") -> Rows:
        """The inverse of :meth:`tensors`.

        Raises:
            KeyError: a tensor is missing.
            ValueError: the tensors do not fit each other.
        """
        spikes = cls.from_tensors(tensors, "spikes.") if not prefix and "spikes.whole" in tensors else None
        whole, parts, lengths = (tensors[f"{prefix}{name}"] for name in ("whole", "parts", "lengths"))
        if len(whole) != len(lengths) or int(lengths.sum()) != len(parts):
            raise ValueError("its tensors do not fit each other")
        return cls(whole, parts, lengths, spikes)


class Index:
    """Index of the images in a folder, made by :meth:`gshn.api.model.Model.index`.

    Attributes:
        folder: The folder.
        file: File of the index.
        paths: Files of the images, relative to the folder, sorted by name.
        left_out: Files that are not in the index, each with the reason.
        added: Number of images that this call encoded: new ones, and those that had changed.
        dropped: Number of images that this call removed, because their files are gone.
    """

    def __init__(self, folder: Path, file: Path, scores: Callable[[str, Embeddings], Tensor]) -> None:
        self.folder, self.file, self._scores = folder, file, scores
        self.paths: list[str] = []
        self.left_out: dict[str, str] = {}
        self.added = self.dropped = 0
        self._rows: Rows | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"Index({self.folder}: {len(self)} images, {self.added} added, {self.dropped} dropped; {self.file})"

    def search(self, text: str, k: int = 10) -> list[Hit]:
        """Find the images that are most similar to a text.

        Args:
            text: What the images should show.
            k: Number of results; there are fewer where the folder has fewer images.

        Returns:
            The results, the most similar first.

        Raises:
            DataError: the text is empty, or k is less than 1.
        """
        if not isinstance(text, str) or not text.strip():
            raise DataError("the text to search for is empty; say what the image shows")
        if k < 1:
            raise DataError(f"k is {k}; ask for at least 1 image")
        assert self._rows is not None
        scores = torch.cat([self._scores(text, chunk.padded()) for chunk in self._chunks()]).numpy()
        order = np.argsort(-scores, kind="stable")[:k]
        return [Hit(self.folder / self.paths[row], float(scores[row])) for row in order]

    def _chunks(self) -> Iterator[Rows]:
        assert self._rows is not None
        for start in range(0, len(self), AT_ONCE):
            yield self._rows.take(list(range(start, min(start + AT_ONCE, len(self)))))

    def refresh(self, encode: Callable[[list[Path]], Embeddings], key: str) -> None:
        """Bring the index up to date: encode new and changed images, remove deleted ones, write the file.

        An interrupted call also writes the images that it has encoded.

        Args:
            encode: Encodes a list of image files.
            key: Describes everything that affects embeddings: model, segmenter and so on. An index that was written
                with another key is not used.

        Raises:
            DataError: the folder has no image that can be used.
            UserError: the file cannot be written.
        """
        with Lock(make_folder(self.file.parent) / f"{self.file.name}.lock", str(self.file)):
            stamps, left_out, rows = self._read(key)
            found, _ = list_images(self.folder)
            now = {path.relative_to(self.folder).as_posix(): _stamp(path) for path in found}
            kept = [name for name, stamp in stamps.items() if now.get(name) == stamp]
            known = {name: own for name, own in left_out.items() if now.get(name) == own[0]}
            new = [name for name in now if name not in known and now[name] != stamps.get(name)]
            self.dropped = sum(name not in now for name in stamps)
            place = {name: row for row, name in enumerate(stamps)}
            parts = [rows.take([place[name] for name in kept])] if rows is not None and kept else []
            names = kept
            try:
                with tqdm(total=len(new), desc="index", unit=" images", leave=False, disable=not new) as bar:
                    for start in range(0, len(new), STEP):
                        some = new[start : start + STEP]
                        parts, names = self._add(encode, some, now, known, parts, names)
                        bar.update(len(some))
            finally:
                changed = new or self.dropped or len(known) != len(left_out)
                if parts:
                    rows = Rows.cat(parts)
                    order = sorted(range(len(names)), key=lambda row: names[row])
                    self._rows, self.paths = rows.take(order), [names[row] for row in order]
                    self.added = len(names) - len(kept)
                if changed and (names or known):
                    self._write(key, now, known)
        self.left_out = {name: reason for name, (_, reason) in known.items()}
        if self.left_out:
            first = next(iter(self.left_out.values()))
            of = f"of {counted(len(now), 'image')} of {self.folder}"
            text = f"{counted(len(self.left_out), f'{of} is', f'{of} are')} left out, the first: {first}"
            warnings.warn(text, UserNotice, stacklevel=3)
        if not self.paths:
            raise DataError(f"folder {self.folder} has no image that can be used; name another one")

    def _add(
        self,
        encode: Callable[[list[Path]], Embeddings],
        some: list[str],
        now: dict[str, Stamp],
        known: dict[str, tuple[Stamp, str]],
        parts: list[Rows],
        names: list[str],
    ) -> tuple[list[Rows], list[str]]:
        """Encode images together. If one of them fails, encode them one by one, and leave out those that fail."""
        try:
            return [*parts, Rows.of(encode([self.folder / name for name in some]))], [*names, *some]
        except DataError as error:
            if len(some) == 1:
                known[some[0]] = (now[some[0]], str(error))
                return parts, names
        for name in some:
            parts, names = self._add(encode, [name], now, known, parts, names)
        return parts, names

    def _read(self, key: str) -> tuple[dict[str, Stamp], dict[str, tuple[Stamp, str]], Rows | None]:
        """Read the file: stamp of each image, images that were left out with stamp and reason, embeddings.

        All are empty where the file is missing, broken or of another model.
        """
        nothing: tuple[dict[str, Stamp], dict[str, tuple[Stamp, str]], None] = ({}, {}, None)
        if not self.file.is_file():
            return nothing
        try:
            with safe_open(self.file, "pt") as file:
                told: dict[str, Any] = json.loads(file.metadata()["index"])
                if told["format"] != FORMAT or told["key"] != key:
                    return nothing
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            rows = Rows.from_tensors(tensors) if tensors else None
            if len(told["images"]) != (0 if rows is None else len(rows.whole)):
                raise ValueError("another number of images")
            return told["images"], {name: (stamp, why) for name, (stamp, why) in told["left_out"].items()}, rows
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            warnings.warn(f"{self.file} is broken ({error}): it is made anew", UserNotice, stacklevel=4)
            return nothing

    def _write(self, key: str, now: dict[str, Stamp], known: dict[str, tuple[Stamp, str]]) -> None:
        images = {name: now[name] for name in self.paths}
        told = {"format": FORMAT, "key": key, "images": images, "left_out": known}
        tensors = {} if self._rows is None else self._rows.tensors()
        write_atomically(self.file, save(tensors, {"index": json.dumps(told)}))


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def index_file(folder: Path, key: str) -> Path:
    """File of a folder's index: in its subfolder :data:`BESIDE`, or in the user's cache if that cannot be written.

    Args:
        folder: The folder.
        key: See :meth:`Index.refresh`. Each key has a file of its own.

    Raises:
        UserError: neither folder can be written to.
    """
    name = f"index-{hashlib.blake2b(key.encode(), digest_size=6).hexdigest()}.safetensors"
    try:
        return make_folder(folder / BESIDE) / name
    except UserError:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        own = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()
        return make_folder(cache / "gshn" / own) / name
