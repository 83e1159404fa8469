"""Complete folders of shards: their counts verified, their contents in memory; and the cache of training runs."""

from __future__ import annotations

import hashlib
import json
import logging
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gshn.data.image_files import ImageNames
from gshn.errors import DataError
from gshn.graphs.dataset import GraphDataset
from gshn.graphs.shards.files import StoredGraph, read_json_file, read_shard, to_dataset, whole_samples
from gshn.graphs.shards.write import SHARD, Recipe, change, is_complete, shard_ranges, summary, write_shards
from gshn.segments.panoptic import Category
from neuromorphic.errors import counted
from neuromorphic.files import Lock, file_digest, make_folder, write_atomically

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Index:
    """A complete folder of shards, or the graphs of some of its images.

    Attributes:
        folder: The folder.
        manifest: What shaped the graphs.
        limit: Only the first ``limit`` images count.
        left_out: Images below the limit that do not count, either.
        graphs: Number of graphs of each shard, by file name.
        nodes: Number of nodes in all.
        broken: Images that could not be used: ``index``, ``name`` and ``reason``.
        mean: Mean of each feature over all nodes, or over those of whole images where there are such, shape (F,),
            float64; None where the backbone is trained.
        square: Mean of the features' squares.
    """

    folder: Path
    manifest: dict[str, Any]
    limit: int
    left_out: frozenset[int]
    graphs: dict[str, int]
    nodes: int
    broken: list[dict[str, Any]]
    mean: Tensor | None
    square: Tensor | None

    def __len__(self) -> int:
        return sum(self.graphs.values())

    @property
    def categories(self) -> tuple[Category, ...]:
        """Vocabulary of the graphs' nodes."""
        return tuple(Category(*entry) for entry in self.manifest["categories"])

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """:attr:`mean` and :attr:`square`, shape (F,) each, float32; None if there are none."""
        return None if self.mean is None or self.square is None else (self.mean.float(), self.square.float())

    @property
    def bytes(self) -> int:
        """Length of the shards."""
        return sum((self.folder / name).stat().st_size for name in self.graphs)

    @cached_property
    def _stored(self) -> list[dict[str, Any]]:
        """What is stored beside each graph below the limit: one pass over the shards, which goes past the graphs."""
        stored = (annotation for name in self.graphs for annotation in _annotations(self.folder / name))
        return [annotation for annotation in stored if annotation["index"] < self.limit]

    @property
    def annotations(self) -> list[dict[str, Any]]:
        """What is stored beside each graph that counts, in the order in which they are stored.

        The shards are read once for it and for :attr:`names`, and it is kept: about 1 KB an image.
        """
        return [annotation for annotation in self._stored if self._counts(annotation["index"])]

    @property
    def names(self) -> list[str]:
        """Name of every image below the limit, also of those that are left out: the path of its file."""
        return [annotation["name"] for annotation in self._stored]

    def read(self, name: str) -> Iterator[StoredGraph]:
        """Graphs of a shard, in the order in which they are stored.

        Raises:
            DataError: the shard is missing or broken.
        """
        return (stored for stored in read_shard(self.folder / name) if self._counts(stored.annotation["index"]))

    def _counts(self, image: int) -> bool:
        return image < self.limit and image not in self.left_out

    def read_in_order(self, name: str) -> list[StoredGraph]:
        """Graphs of a shard in the order of their images; one that could not be used at first may be stored last."""
        return sorted(self.read(name), key=lambda stored: stored.annotation["index"])


def missing_shards(folder: Path) -> list[str]:
    """Names of the shards that are not written yet."""
    manifest = read_json_file(folder / "manifest.json")
    return [n for n in shard_ranges(manifest["images"], manifest["shard_size"]) if not is_complete(folder / n)]


def write_index(folder: Path) -> Index:
    """Verify the counts of all shards, and write ``index.json``.

    Raises:
        DataError: a shard is missing, or holds other images than it should.
    """
    manifest = read_json_file(folder / "manifest.json")
    if missing := missing_shards(folder):
        raise DataError(f"{folder}: shard {missing[0]} is missing; run gshn.preprocess again, it goes on where it was")
    contents = {}
    for name, images in shard_ranges(manifest["images"], manifest["shard_size"]).items():
        content = contents[name] = read_json_file((folder / name).with_suffix(".json"))
        with (folder / name).open("rb") as file:
            held = whole_samples(file)[0]
        lost = set(images) - held - {entry["index"] for entry in content["broken"]}
        if lost or len(held) != content["graphs"] or not held <= set(images):
            raise DataError(
                f"{folder / name} holds {counted(len(held), 'graph')}, its list says {content['graphs']} of "
                f"{counted(len(images), 'image')}; delete it and run gshn.preprocess again"
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


def read_index(folder: Path, limit: int | None = None, leave_out: ImageNames | None = None) -> Index:
    """Read what :func:`write_index` wrote.

    Args:
        folder: The folder of shards.
        limit: Only the first ``limit`` images count. None: all.
        leave_out: Images that do not count.

    Raises:
        DataError: the folder is not a complete folder of shards, or no image of it counts.
    """
    if not (folder / "index.json").is_file():
        raise DataError(f"{folder} has no index.json: name a folder that gshn.preprocess has finished writing")
    manifest, index = read_json_file(folder / "manifest.json"), read_json_file(folder / "index.json")
    limit = min(limit or manifest["images"], manifest["images"])
    left_out: set[int] = set()
    graphs: dict[str, int] = {}
    moments = []
    nodes = rows = 0
    for name, images in shard_ranges(manifest["images"], manifest["shard_size"]).items():
        if images.start >= limit:
            break
        content = read_json_file((folder / name).with_suffix(".json"))
        own = set()
        if leave_out is not None:
            own = {entry["index"] for entry in _annotations(folder / name) if leave_out.find(entry["name"]) is not None}
        if images.stop > limit or own:
            counting = set(range(limit)) - own
            content |= summary(stored for stored in read_shard(folder / name) if stored.annotation["index"] in counting)
        left_out |= own
        graphs[name] = content["graphs"]
        nodes += content["nodes"]
        if content["moments"]:
            moments.append(content["moments"])
            rows += content.get("counted", content["nodes"])  # older shards counted all
    mean = square = None
    if moments:
        mean, square = torch.tensor(moments, dtype=torch.float64).sum(dim=0) / rows
    if leave_out is not None and left_out and not any(graphs.values()):
        raise DataError(f"{leave_out.path} has all images of {folder}: none is left to train on")
    broken = [entry for entry in index["broken"] if entry["index"] < limit]
    return Index(folder, manifest, limit, frozenset(left_out), graphs, nodes, broken, mean, square)


def load_or_build(
    recipe: Recipe, cache_dir: Path, label: str, strict: bool = True, leave_out: ImageNames | None = None
) -> tuple[GraphDataset, list[dict[str, Any]]]:
    """:func:`load_all` of :func:`cached`."""
    return load_all(cached(recipe, cache_dir, label, strict, leave_out))


def cached(
    recipe: Recipe, cache_dir: Path, label: str, strict: bool = True, leave_out: ImageNames | None = None
) -> Index:
    """A collection's scene graphs in the cache, after building those that are not in it.

    A cache is a folder of shards named by the digest of the recipe.

    Args:
        recipe: What to load.
        cache_dir: Folder of all caches; made if missing.
        label: Names the collection in the progress bar (stderr).
        strict: Whether an image that cannot be used is an error; if not, it is left out with a warning.
        leave_out: Images whose graphs are not returned. They are in the cache for other runs.

    Raises:
        DataError: an image cannot be used (it is named), images differ in size and the backbone is trainable, or the
            collection is empty.
        UserError: the cache cannot be written.

    Another process that fills the same part of the cache is waited for.
    """
    key = hashlib.blake2b(json.dumps(recipe.key, sort_keys=True).encode(), digest_size=16).hexdigest()
    folder = cache_dir / key
    if not _is_ready(recipe, folder):
        make_folder(cache_dir)
        with Lock(folder.with_suffix(".lock"), f"{folder} ({label})"):
            for name in shard_ranges(len(recipe.collection), SHARD):
                if is_complete(folder / name) and not _is_intact(folder / name):
                    logger.warning("%s is broken and will be rebuilt (its digest does not match)", folder / name)
                    (folder / name).unlink()
            write_shards(recipe, folder, label, strict=strict)
            write_index(folder)
    index = read_index(folder, leave_out=leave_out)
    if strict and index.broken:
        raise DataError(index.broken[0]["reason"])
    return index


def _is_ready(recipe: Recipe, folder: Path) -> bool:
    """Whether a cache is complete and up to date."""
    shards = {folder / name: images for name, images in shard_ranges(len(recipe.collection), SHARD).items()}
    return (folder / "index.json").is_file() and all(
        is_complete(path) and _is_intact(path) and not change(recipe, path, images) for path, images in shards.items()
    )


def load_all(index: Index) -> tuple[GraphDataset, list[dict[str, Any]]]:
    """All graphs of a folder of shards in memory, and what is stored beside each: ``index``, ``name``, texts.

    Raises:
        DataError: a shard is broken, or no image could be used.
    """
    samples = [sample for name in index.graphs for sample in index.read_in_order(name)]
    if not samples:
        raise DataError(f"{index.folder}: no image could be used, the first because: {index.broken[0]['reason']}")
    return to_dataset(samples), [sample.annotation for sample in samples]


def _annotations(path: Path) -> Iterator[dict[str, Any]]:
    """What is stored beside the graphs of a shard, without the digest of the picture."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.name.endswith(".json") and (file := tar.extractfile(member)) is not None:
                    annotation = json.load(file)
                    yield {key: own for key, own in annotation.items() if key != "content"}
    except (OSError, tarfile.TarError, ValueError, KeyError) as error:
        raise DataError(f"shard {path} is broken ({error}); delete it and run gshn.preprocess again") from None


def _is_intact(path: Path) -> bool:
    return file_digest(path) == read_json_file(path.with_suffix(".json"))["digest"]
