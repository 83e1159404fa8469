"""The files of a folder of shards: tars that are appended to and read, and JSON beside them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import torch
import webdataset
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gshn.errors import DataError, GSHNError
from gshn.graphs.dataset import EDGE_TENSORS, IMAGE_TENSORS, NODE_TENSORS, GraphDataset
from gshn.graphs.scene_graph import SceneGraph


@dataclass(frozen=True)
class StoredGraph:
    """One image of a shard.

    Attributes:
        annotation: ``index``, ``name`` and the image's texts.
        tensors: The graph's attributes.
    """

    annotation: dict[str, Any]
    tensors: dict[str, Tensor]


def read_shard(path: Path) -> Iterator[StoredGraph]:
    """Read a shard from its beginning to its end.

    Raises:
        DataError: the file is missing or broken.
    """
    try:
        for sample in webdataset.WebDataset(
            str(path), shardshuffle=False, empty_check=False, nodesplitter=None, workersplitter=None
        ):
            yield StoredGraph(json.loads(sample["json"]), load(sample["safetensors"]))
    except (OSError, tarfile.TarError, SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"shard {path} is broken ({error}); delete it and run gshn.preprocess again") from None


def to_dataset(samples: Sequence[StoredGraph]) -> GraphDataset:
    """Stored graphs as tensors in memory."""
    first = samples[0].tensors
    axis = {"edge_index": 1}
    tensors = {name: torch.cat([s.tensors[name] for s in samples], dim=axis.get(name, 0)) for name in first}
    tensors["edge_index"] = tensors["edge_index"].T.contiguous()
    tensors["nodes"] = torch.tensor([len(s.tensors["category"]) for s in samples])
    tensors["edges"] = torch.tensor([s.tensors["edge_index"].shape[1] for s in samples])
    return GraphDataset(tensors)


class Appender:
    """A tar that goes on after its last whole sample, and that one process at a time writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[bytes] = path.open("r+b" if path.exists() else "w+b")

    def __enter__(self) -> Self:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.file.close()
            raise GSHNError(
                f"{self.path} is being written by another process; give each its own rank, or wait for that one"
            ) from None
        self.written, end = whole_samples(self.file)
        self.file.truncate(end)
        self.file.seek(end)
        self.sink = _Sink(self.file)
        self.writer = webdataset.TarWriter(self.sink, encoder=False, mtime=0)
        return self

    def write(self, index: int, annotation: Mapping[str, Any], graph: SceneGraph) -> None:
        """Append a graph."""
        tensors = {name: graph[name] for name in (*NODE_TENSORS, *EDGE_TENSORS, *IMAGE_TENSORS) if name in graph}
        if "x" in tensors:
            # Features are of magnitude < 100: float16 keeps three digits, and the shards half as large.
            tensors["x"] = tensors["x"].half()
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        sample = {"__key__": f"{index:09d}", "json": json.dumps(annotation).encode(), "safetensors": save(tensors)}
        with self._guarded():
            self.writer.write(sample)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.sink.file = None  # the writer has a rest that no longer goes anywhere
            raise GSHNError(
                f"{self.path} cannot be written ({error.strerror}); what is complete stays: make room and run the same "
                "command again"
            ) from None

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
    """What the tar writer writes to; nowhere once ``file`` is None."""

    file: IO[bytes] | None

    def write(self, data: bytes) -> None:
        """Write to the file."""
        if self.file is not None:
            self.file.write(data)


def whole_samples(file: IO[bytes]) -> tuple[set[int], int]:
    """Indices of the images that a tar, perhaps cut short, holds whole, and where the last of them ends."""
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


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def read_json_file(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it and run gshn.preprocess again") from None
