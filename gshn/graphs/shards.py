"""Scene graphs of an image collection on disk: a folder of WebDataset tar shards, each written once.

::

    manifest.json        what shapes the graphs, in words; another collection or setting is refused
    00000.tar            graphs of the first images: per image <index>.json (index, name, texts) and
                         <index>.safetensors (the attributes of gshn.graphs.scene_graph.SceneGraph, x in float16)
    00000.json           written last: number of graphs, images that could not be used, digest of the tar
    00001.tar.partial    a shard being written; a killed run goes on after its last whole image
    index.json           written when all shards are there and their counts agree

Which images a shard holds depends on its number alone, so any number of processes can write: process r of W takes the
shards k with k mod W = r.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from tqdm import tqdm

from gshn.data.images import ImageCollection, ImageSample
from gshn.errors import DataError, GSHNError
from gshn.files import make_folder, write_atomically
from gshn.graphs.backbones import Backbone
from gshn.graphs.build import try_to_build_graphs
from gshn.graphs.dataset import EDGE_TENSORS, IMAGE_TENSORS, NODE_TENSORS, GraphDataset
from gshn.graphs.scene_graph import EDGE_GEOMETRY, GEOMETRY, GraphParameters, SceneGraph
from gshn.segments.panoptic import Category, Segmenter

logger = logging.getLogger(__name__)

SHARD = 256
"""Images per shard where nobody says otherwise."""

IMAGES_PER_BATCH = 64
"""Images that segmenter and backbone may take together."""

VERSION = 3
"""Raise when the code of ``gshn.graphs`` or ``gshn.segments`` starts to give other graphs from the same key."""


@dataclass(frozen=True)
class Recipe:
    """Images -> scene graphs: all that shapes what is in the shards.

    Attributes:
        collection: The images.
        segmenter: Gives the nodes.
        backbone: See :func:`~gshn.graphs.build.build_graphs`.
        parameters: See :class:`GraphParameters`.
    """

    collection: ImageCollection
    segmenter: Segmenter
    backbone: Backbone
    parameters: GraphParameters

    @property
    def key(self) -> dict[str, Any]:
        """Everything that shapes the graphs, JSON-able."""
        return {
            "version": VERSION,
            "collection": self.collection.key,
            "images": len(self.collection),
            "segmenter": self.segmenter.key,
            "categories": [[c.id, c.name, c.isthing] for c in self.segmenter.categories],
            # A trainable backbone gets the pixels, whatever it makes of them.
            "features": "pixels" if self.backbone.trainable else self.backbone.key,
            "parameters": asdict(self.parameters),
            "geometry": [list(GEOMETRY), list(EDGE_GEOMETRY)],
        }


Annotate = Callable[[int], Mapping[str, Any]]
"""Index of an image -> what is stored of its texts, JSON-able."""


def write_shards(
    recipe: Recipe,
    folder: Path,
    label: str,
    shard_size: int = SHARD,
    rank: int = 0,
    world_size: int = 1,
    strict: bool = False,
    annotate: Annotate | None = None,
) -> None:
    """Write the shards that are this process's and not there yet.

    Args:
        recipe: What to write.
        folder: Where to; made if missing.
        label: Names the collection in the progress bar (stderr).
        shard_size: Images per shard.
        rank: This process among those that write.
        world_size: Their number.
        strict: Stop at an image that cannot be used, instead of listing it and going on.
        annotate: Texts to store with each image.

    Raises:
        DataError: the folder holds something else, the collection is empty, images differ in size and the backbone is
            trainable; an image cannot be used, if ``strict``.
        GSHNError: the folder cannot be written, the disk is full, or another process writes the same shard.
    """
    collection = recipe.collection
    if not len(collection):
        raise DataError(f"{label}: there are no images")
    _write_manifest(make_folder(folder), {**recipe.key, "shard_size": shard_size})
    shards = shard_ranges(len(collection), shard_size)
    own = {folder / name: shards[name] for name in list(shards)[rank::world_size]}
    missing = {path: images for path, images in own.items() if not _is_complete(path)}
    if not missing:
        return
    total, left = (sum(map(len, part.values())) for part in (own, missing))
    with tqdm(total=total, initial=total - left, desc=label, unit="image") as bar:
        for path, images in missing.items():
            _write_shard(recipe, path, images, strict, annotate, bar)


def shard_ranges(images: int, shard_size: int) -> dict[str, range]:
    """File name of every shard, and the images that it holds."""
    starts = range(0, images, shard_size)
    return {f"{k:05d}.tar": range(start, min(start + shard_size, images)) for k, start in enumerate(starts)}


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    path = folder / "manifest.json"
    if path.is_file():
        found = _read_json(path)
        if changed := [name for name in manifest if found.get(name) != json.loads(json.dumps(manifest[name]))]:
            raise DataError(f"{folder} holds shards that differ in {', '.join(changed)}; choose another folder")
    else:
        write_atomically(path, json.dumps(manifest, indent=2))


def _is_complete(path: Path) -> bool:
    return path.is_file() and path.with_suffix(".json").is_file()


def _write_shard(recipe: Recipe, path: Path, images: range, strict: bool, annotate: Annotate | None, bar: tqdm) -> None:
    """Write the images of a shard that its ``.partial`` does not hold yet, then give it its name."""
    partial = path.with_suffix(".tar.partial")
    broken: list[dict[str, Any]] = []
    with _Appender(partial) as appender:
        todo = [index for index in images if index not in appender.written]
        bar.update(len(images) - len(todo))
        for start in range(0, len(todo), IMAGES_PER_BATCH):
            indices = todo[start : start + IMAGES_PER_BATCH]
            for index, name, result in _build(recipe, indices):
                if isinstance(result, DataError):
                    if strict:
                        raise result
                    logger.warning("%s; it is left out", result)
                    broken.append({"index": index, "name": name, "reason": str(result)})
                else:
                    appender.write(
                        index, {"index": index, "name": name, **(annotate(index) if annotate else {})}, result
                    )
            bar.update(len(indices))
    write_atomically(path.with_suffix(".json"), json.dumps({**_summary(partial), "broken": broken}))
    partial.replace(path)  # last: a shard is complete when both are there


def _summary(path: Path) -> dict[str, Any]:
    """What a shard holds, read back from it: numbers of graphs and nodes, sums over the nodes' features, a digest."""
    graphs = nodes = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    for stored in read_shard(path):
        graphs += 1
        nodes += len(stored.tensors["category"])
        if "x" in stored.tensors:
            x = stored.tensors["x"].double()
            total, squares = total + x.sum(dim=0), squares + x.square().sum(dim=0)
    moments = [total.tolist(), squares.tolist()] if isinstance(total, Tensor) and isinstance(squares, Tensor) else []
    return {"graphs": graphs, "nodes": nodes, "moments": moments, "digest": _digest(path)}


def _build(recipe: Recipe, indices: Sequence[int]) -> Iterator[tuple[int, str, SceneGraph | DataError]]:
    """Graph, or the reason why there is none, of some images."""
    samples: dict[int, ImageSample] = {}
    errors: dict[int, DataError] = {}
    for index in indices:
        try:
            samples[index] = recipe.collection[index]
        except DataError as error:
            errors[index] = error
    if recipe.backbone.trainable and samples:
        _check_sizes(list(samples.values()), recipe.collection[0])
    built = try_to_build_graphs(list(samples.values()), recipe.segmenter, recipe.backbone, recipe.parameters)
    results = dict(zip(samples, built, strict=True))
    for index in indices:
        if index in errors:
            yield index, "", errors[index]
        else:
            yield index, samples[index].name, results[index]


def _check_sizes(samples: Sequence[ImageSample], first: ImageSample) -> None:
    for sample in samples:
        if sample.image.shape != first.image.shape:
            raise DataError(
                f"{sample.name}: a trainable backbone needs images of one size, not {sample.image.shape} as here and "
                f"{first.image.shape} as in {first.name}"
            )


class _Appender:
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
        self.written, end = _whole_samples(self.file)
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


def _whole_samples(file: IO[bytes]) -> tuple[set[int], int]:
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


@dataclass(frozen=True)
class Index:
    """A complete folder of shards.

    Attributes:
        folder: The folder.
        manifest: What shaped the graphs.
        graphs: Number of graphs of each shard, by file name.
        nodes: Number of nodes in all.
        broken: Images that could not be used: ``index``, ``name`` and ``reason``.
        mean: Of each feature over all nodes, shape (F,), float64; None where the backbone is trained.
        square: Mean of the features' squares.
    """

    folder: Path
    manifest: dict[str, Any]
    graphs: dict[str, int]
    nodes: int
    broken: list[dict[str, Any]]
    mean: Tensor | None
    square: Tensor | None

    def __len__(self) -> int:
        return sum(self.graphs.values())

    @property
    def categories(self) -> tuple[Category, ...]:
        """The segmenter's vocabulary."""
        return tuple(Category(*entry) for entry in self.manifest["categories"])


def missing_shards(folder: Path) -> list[str]:
    """Shards that other processes, or a killed run, have yet to write."""
    manifest = _read_json(folder / "manifest.json")
    return [n for n in shard_ranges(manifest["images"], manifest["shard_size"]) if not _is_complete(folder / n)]


def write_index(folder: Path) -> Index:
    """Verify the counts of all shards, and write ``index.json``.

    Raises:
        DataError: a shard is missing, or holds other images than it should.
    """
    manifest = _read_json(folder / "manifest.json")
    if missing := missing_shards(folder):
        raise DataError(f"{folder}: shard {missing[0]} is missing; run gshn.preprocess again, it goes on where it was")
    contents = {}
    for name, images in shard_ranges(manifest["images"], manifest["shard_size"]).items():
        content = contents[name] = _read_json((folder / name).with_suffix(".json"))
        with (folder / name).open("rb") as file:
            held = _whole_samples(file)[0]
        lost = set(images) - held - {entry["index"] for entry in content["broken"]}
        if lost or len(held) != content["graphs"] or not held <= set(images):
            raise DataError(
                f"{folder / name} holds {len(held)} graphs, its list says {content['graphs']} of {len(images)} images; "
                "delete it and run gshn.preprocess again"
            )
    write_atomically(
        folder / "index.json",
        json.dumps(
            {
                "images": manifest["images"],
                "shards": {name: content["graphs"] for name, content in contents.items()},
                "broken": [entry for content in contents.values() for entry in content["broken"]],
            },
            indent=1,
        ),
    )
    return read_index(folder)


def read_index(folder: Path) -> Index:
    """Read what :func:`write_index` wrote.

    Raises:
        DataError: the folder is no complete folder of shards.
    """
    if not (folder / "index.json").is_file():
        raise DataError(f"{folder} has no index.json: name a folder that gshn.preprocess has finished writing")
    manifest, index = _read_json(folder / "manifest.json"), _read_json(folder / "index.json")
    contents = [_read_json((folder / name).with_suffix(".json")) for name in index["shards"]]
    nodes = sum(content["nodes"] for content in contents)
    moments = [content["moments"] for content in contents if content["moments"]]
    mean = square = None
    if moments:
        mean, square = torch.tensor(moments, dtype=torch.float64).sum(dim=0) / nodes
    return Index(folder, manifest, index["shards"], nodes, index["broken"], mean, square)


def load_or_build(
    recipe: Recipe, cache_dir: Path, label: str, strict: bool = True
) -> tuple[GraphDataset, list[dict[str, Any]]]:
    """A collection's scene graphs in memory, from the cache, after building those that are not in it.

    A cache is a folder of shards named by the digest of the recipe.

    Args:
        recipe: What to load.
        cache_dir: Folder of all caches; made if missing.
        label: Names the collection in the progress bar (stderr).
        strict: Whether an image that cannot be used is an error; if not, it is left out with a warning.

    Returns:
        The graphs, and what is stored beside each: ``index`` in the collection, ``name``, texts.

    Raises:
        DataError: an image cannot be used (it is named), images differ in size and the backbone is trainable, or the
            collection is empty.
        GSHNError: the cache cannot be written.
    """
    digest = hashlib.blake2b(json.dumps(recipe.key, sort_keys=True).encode(), digest_size=16).hexdigest()
    folder = cache_dir / digest
    for name in shard_ranges(len(recipe.collection), SHARD):
        if _is_complete(folder / name) and not _is_intact(folder / name):
            logger.warning("%s is broken and will be rebuilt (its digest does not match)", folder / name)
            (folder / name).unlink()
    write_shards(recipe, folder, label, strict=strict)
    index = read_index(folder) if (folder / "index.json").is_file() else write_index(folder)
    if strict and index.broken:
        raise DataError(index.broken[0]["reason"])
    return load_all(index)


def load_all(index: Index) -> tuple[GraphDataset, list[dict[str, Any]]]:
    """All graphs of a folder of shards in memory, and what is stored beside each: ``index``, ``name``, texts.

    Raises:
        DataError: a shard is broken, or no image could be used.
    """
    samples = [sample for name in index.graphs for sample in read_shard(index.folder / name)]
    if not samples:
        raise DataError(f"{index.folder}: no image could be used, the first because: {index.broken[0]['reason']}")
    return to_dataset(samples), [sample.annotation for sample in samples]


class ShardStream:
    """Graphs and texts of a folder of shards, a few shards in memory at a time.

    :meth:`order` visits the shards in groups of ``group``, so that each is read once an epoch, from its beginning to
    its end, and no more than two groups are held.
    """

    def __init__(self, index: Index, group: int = 4) -> None:
        self.index, self.group = index, group
        self._names = list(index.graphs)
        self._starts = np.cumsum([0, *index.graphs.values()])
        self._held: OrderedDict[int, list[StoredGraph]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[StoredGraph]:
        for name in self._names:
            yield from read_shard(self.index.folder / name)

    def __repr__(self) -> str:
        return f"ShardStream({self.index.folder}: {len(self)} graphs in {len(self._names)} shards)"

    def order(self, random: np.random.Generator) -> NDArray[np.int64]:
        """A permutation of all graphs: shards in random order, ``group`` of them shuffled together."""
        shards = random.permutation(len(self._names))
        parts = []
        for first in range(0, len(shards), self.group):
            ranges = [np.arange(self._starts[k], self._starts[k + 1]) for k in shards[first : first + self.group]]
            parts.append(random.permutation(np.concatenate(ranges)))
        return np.concatenate(parts)

    def fetch(self, indices: Sequence[int]) -> list[StoredGraph]:
        """Graphs of some positions."""
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        return [self._shard(int(k))[i - self._starts[k]] for i, k in zip(indices, shards, strict=True)]

    def _shard(self, k: int) -> list[StoredGraph]:
        if k not in self._held:
            while len(self._held) >= 2 * self.group:
                self._held.popitem(last=False)
            self._held[k] = list(read_shard(self.index.folder / self._names[k]))
        self._held.move_to_end(k)
        return self._held[k]


def _is_intact(path: Path) -> bool:
    return _digest(path) == _read_json(path.with_suffix(".json"))["digest"]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it and run gshn.preprocess again") from None
