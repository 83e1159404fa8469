"""The files of a folder of shards: tars that are appended to and read, and JSON beside them."""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import torch
import webdataset
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from webdataset.tariterators import group_by_keys, tar_file_expander

from gshn.errors import DataError
from gshn.graphs.dataset import EDGE_TENSORS, IMAGE_TENSORS, NODE_TENSORS, GraphDataset
from gshn.graphs.scene_graph import SceneGraph
from neuromorphic.files import file_digest, writing


@dataclass(frozen=True)
class StoredGraph:
    """One image of a shard.

    Attributes:
        annotation: ``index``, ``name``, ``content`` (see :func:`content`) and the image's texts.
        tensors: The graph's attributes.
    """

    annotation: dict[str, Any]
    tensors: dict[str, Tensor]


def stored_tensors(graph: SceneGraph) -> dict[str, Tensor]:
    """The attributes of a graph as they are stored: visual features as float16."""
    tensors = {name: graph[name] for name in (*NODE_TENSORS, *EDGE_TENSORS, *IMAGE_TENSORS) if name in graph}
    if "x" in tensors:
        # Features are of magnitude < 100: float16 keeps three digits, and the shards half as large.
        tensors["x"] = tensors["x"].half()
    return tensors


def read_shard(path: Path) -> Iterator[StoredGraph]:
    """Read a shard from its beginning to its end.

    Raises:
        DataError: the file is missing or broken.
    """
    try:
        with path.open("rb") as file:
            # Opened here: for webdataset a name is a pattern with braces, a pipe or an address.
            for sample in group_by_keys(tar_file_expander([{"url": path.name, "stream": file}])):
                yield StoredGraph(json.loads(sample["json"]), load(sample["safetensors"]))
    except (OSError, tarfile.TarError, SafetensorError, ValueError, KeyError) as error:
        # webdataset adds to an error what it is about: the file, as an object.
        reason = error.strerror if isinstance(error, OSError) else str(error.args[0]).partition(" @ ")[0]
        raise DataError(f"shard {path} is broken ({reason}); delete it and run gshn.preprocess again") from None


def to_dataset(samples: Sequence[StoredGraph]) -> GraphDataset:
    """Stored graphs as tensors in memory."""
    first = samples[0].tensors
    axis = {"edge_index": 1}
    tensors = {name: torch.cat([s.tensors[name] for s in samples], dim=axis.get(name, 0)) for name in first}
    tensors["edge_index"] = tensors["edge_index"].T.contiguous()
    tensors["nodes"] = torch.tensor([len(s.tensors["category"]) for s in samples])
    tensors["edges"] = torch.tensor([s.tensors["edge_index"].shape[1] for s in samples])
    return GraphDataset(tensors)


Update = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Maps the annotation stored with a graph to the present one; None if the graph itself has changed."""


class Appender:
    """A tar that is continued after its last complete sample that is still up to date.

    Args:
        path: The tar; made if missing. One process at a time may write it.
        update: Samples are kept up to the first one for which it returns None.

    Attributes:
        written: Indices of the images in the tar.
    """

    def __init__(self, path: Path, update: Update) -> None:
        self.path, self.update = path, update
        self.written: set[int] = set()
        self.sink = _Sink(None)

    def __enter__(self) -> Self:
        with self._guarded():
            self.file: IO[bytes] = self.path.open("r+b" if self.path.exists() else "w+b")
            self.sink.file = self.file
            self.writer = webdataset.TarWriter(self.sink, encoder=False, mtime=0)
            self.written, end = whole_samples(self.file)
            self.file.truncate(end)
            self.file.seek(end)
        try:
            if self.written:
                self._bring_up_to_date()
        except BaseException:
            self.file.close()
            raise
        return self

    def _bring_up_to_date(self) -> None:
        stored = list(read_shard(self.path))
        kept: list[tuple[Mapping[str, Any], Mapping[str, Tensor]]] = []
        for sample in stored:
            annotation = self.update(sample.annotation)
            if annotation is None:
                break
            kept.append((annotation, sample.tensors))
        if [annotation for annotation, _ in kept] == [sample.annotation for sample in stored]:
            return
        self.written = set()
        with self._guarded():
            self.file.seek(0)
            self.file.truncate()
        for annotation, tensors in kept:
            self._write(annotation, tensors)

    def write(self, annotation: Mapping[str, Any], graph: SceneGraph) -> None:
        """Append a graph."""
        self._write(annotation, stored_tensors(graph))

    def _write(self, annotation: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        index: int = annotation["index"]
        payload = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        sample = {"__key__": f"{index:09d}", "json": json.dumps(annotation).encode(), "safetensors": payload}
        with self._guarded():
            self.writer.write(sample)
        self.written.add(index)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        with writing(self.path, "what is complete stays: make room and run the same command again"):
            try:
                yield
            except OSError:
                self.sink.file = None  # the writer has a rest that no longer goes anywhere
                raise

    def __exit__(self, *_: object) -> None:
        try:
            with self._guarded():
                self.writer.close()
                if self.sink.file is not None:
                    self.file.flush()
                    os.fsync(self.file.fileno())
        finally:
            with contextlib.suppress(OSError):
                self.file.close()


@dataclass
class _Sink:
    """The file that the tar writer writes to. Once ``file`` is None, nothing is written."""

    file: IO[bytes] | None

    def write(self, data: bytes) -> None:
        """Write to the file."""
        if self.file is not None:
            self.file.write(data)


def whole_samples(file: IO[bytes]) -> tuple[set[int], int]:
    """Indices of the complete images in a tar that may be cut short, and the position where the last one ends."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    written, end = set(), 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                last = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if last > size:
                    break
                key, _, extension = member.name.partition(".")
                if extension == "safetensors":  # the second of the two
                    written.add(int(key))
                    end = last
    except tarfile.ReadError:  # empty, or cut within a header
        pass
    return written, end


def content(files: Sequence[Path]) -> str:
    """Digests of some files' contents; one that cannot be read counts as having none."""
    found = []
    for path in files:
        try:
            found.append(file_digest(path))
        except OSError:
            found.append("none")
    return " ".join(found)


def stamps(files: Sequence[Path]) -> list[list[int]]:
    """Length and time of the last change (nanoseconds) of some files: where these are the same, so is the content."""
    found = [path.stat() if path.is_file() else None for path in files]
    return [[] if status is None else [status.st_size, status.st_mtime_ns] for status in found]


def read_json_file(path: Path) -> dict[str, Any]:
    """Read a JSON file of a folder of shards.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it and run gshn.preprocess again") from None
