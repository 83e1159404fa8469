"""Images -> shards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from gshn.backbones.base import Backbone
from gshn.data.images import ImageCollection, ImageSample
from gshn.errors import DataError
from gshn.graphs.build import try_to_build_graphs
from gshn.graphs.scene_graph import EDGE_GEOMETRY, GEOMETRY, GraphParameters, SceneGraph
from gshn.graphs.shards.files import Appender, StoredGraph, content, read_json_file, read_shard, stamps
from gshn.segments.panoptic import Category, Segmenter
from neuromorphic.errors import counted
from neuromorphic.files import Lock, file_digest, make_folder, write_atomically

logger = logging.getLogger(__name__)

SHARD = 256
"""Default number of images per shard."""

IMAGES_PER_BATCH = 64
"""Images that segmenter and backbone may take together."""

MOST_NAMED = 10
"""Number of left-out images of a shard that are logged one by one. The file beside the shard lists all."""

VERSION = 4
"""Raise when the code of ``gshn.graphs`` or ``gshn.segments`` starts to give other graphs from the same key."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the content of shards: images, and how they become scene graphs.

    Attributes:
        collection: The images.
        segmenter: Its segments become the nodes.
        backbone: See :func:`~gshn.graphs.build.build_graphs`.
        parameters: See :class:`GraphParameters`.
    """

    collection: ImageCollection
    segmenter: Segmenter
    backbone: Backbone
    parameters: GraphParameters

    @property
    def categories(self) -> tuple[Category, ...]:
        """Vocabulary of the graphs' nodes."""
        return self.parameters.categories(self.segmenter.categories)

    @property
    def key(self) -> dict[str, Any]:
        """Everything that shapes the graphs, JSON-able."""
        return {
            "version": VERSION,
            "collection": self.collection.key,
            "images": len(self.collection),
            "segmenter": self.segmenter.key,
            "categories": [[c.id, c.name, c.isthing] for c in self.categories],
            # A trainable backbone gets the pixels, whatever it makes of them.
            "features": "pixels" if self.backbone.trainable else self.backbone.key,
            "parameters": self.parameters.key,
            "geometry": [list(GEOMETRY), list(EDGE_GEOMETRY)],
        }


Annotate = Callable[[int], Mapping[str, Any]]
"""Maps the index of an image to its texts as they are stored, in JSON types."""


def no_texts(_: int) -> Mapping[str, Any]:
    """An image without stored texts."""
    return {}


def write_shards(
    recipe: Recipe,
    folder: Path,
    label: str,
    shard_size: int = SHARD,
    rank: int = 0,
    world_size: int = 1,
    strict: bool = False,
    annotate: Annotate = no_texts,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write this process's shards that are missing or out of date.

    Where only texts have changed, the graphs are kept.

    Args:
        recipe: What to write.
        folder: The folder; created if missing.
        label: Names the collection in the progress bar (stderr).
        shard_size: Images per shard.
        rank: Number of this process.
        world_size: Number of processes that write.
        strict: Stop at an image that cannot be used, instead of listing it and going on.
        annotate: Texts to store with each image.
        extra: Added to ``manifest.json`` for its readers.

    Raises:
        DataError: the folder holds something else, the collection is empty, images differ in size and the backbone is
            trainable; an image cannot be used, if ``strict``.
        UserError: the folder cannot be written, the disk is full, or another process writes the same shard.
    """
    collection = recipe.collection
    if not len(collection):
        raise DataError(f"{label}: there are no images")
    _write_manifest(make_folder(folder), {**recipe.key, "shard_size": shard_size}, extra or {})
    shards = shard_ranges(len(collection), shard_size)
    own = {folder / name: shards[name] for name in list(shards)[rank::world_size]}
    changes = {path: change(recipe, path, images, annotate) for path, images in own.items() if is_complete(path)}
    if stale := [f"{path}: {what}" for path, what in changes.items() if what]:
        logger.warning(
            "%d of %d shards hold what has changed since they were written, and are brought up to date, the first %s",
            *(len(stale), len(own), stale[0]),
        )
    missing = {path: images for path, images in own.items() if changes.get(path, "not there")}
    if not missing:
        return
    (folder / "index.json").unlink(missing_ok=True)
    total, left = (sum(map(len, part.values())) for part in (own, missing))
    with tqdm(total=total, initial=total - left, desc=label, unit=" images") as bar:
        for path, images in missing.items():
            with Lock(path.with_suffix(".lock"), str(path), "give each process its own rank, or wait for that one"):
                if is_complete(path) and (path not in changes or not change(recipe, path, images, annotate)):
                    bar.update(len(images))  # another process has done it meanwhile
                    continue
                _write_shard(recipe, path, images, strict, annotate, bar)


def shard_ranges(images: int, shard_size: int) -> dict[str, range]:
    """File name of every shard, and the images that it holds."""
    starts = range(0, images, shard_size)
    return {f"{k:05d}.tar": range(start, min(start + shard_size, images)) for k, start in enumerate(starts)}


def _write_manifest(folder: Path, manifest: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
    path = folder / "manifest.json"
    if not path.is_file():
        write_atomically(path, json.dumps({**manifest, **extra}, indent=2), keep=True)
    found = read_json_file(path)
    if changed := [name for name in manifest if found.get(name) != json.loads(json.dumps(manifest[name]))]:
        raise DataError(f"{folder} holds shards that differ in {', '.join(changed)}; choose another folder")


def is_complete(path: Path) -> bool:
    """Whether a shard has been written to its end."""
    return path.is_file() and path.with_suffix(".json").is_file()


def change(recipe: Recipe, path: Path, images: range, annotate: Annotate = no_texts) -> str:
    """What has changed since a complete shard was written, in words; empty if it is up to date."""
    list_file = path.with_suffix(".json")
    listed = read_json_file(list_file)
    files = [recipe.collection.files(index) for index in images]
    now = [stamps(paths) for paths in files]
    for (index, paths), before, after, found in zip(
        enumerate(files, start=images.start), listed["stamps"], now, listed["contents"], strict=True
    ):
        if before != after and content(paths) != found:
            return f"image {paths[0] if paths else index} is another"
    if listed["texts"] != _digest_of_texts(images, annotate):
        return "texts are others"
    if listed["stamps"] != now:  # After a copy, for one: the same content with another date is read once.
        write_atomically(list_file, json.dumps({**listed, "stamps": now}))
    return ""


def _digest_of_texts(images: range, annotate: Annotate) -> str:
    found = hashlib.blake2b(digest_size=16)
    for index in images:
        found.update(json.dumps(annotate(index)).encode())
    return found.hexdigest()


def _write_shard(recipe: Recipe, path: Path, images: range, strict: bool, annotate: Annotate, bar: tqdm) -> None:
    """Write the missing images of a shard to its ``.partial`` file, then rename it."""
    partial, list_file = path.with_suffix(".tar.partial"), path.with_suffix(".json")
    if is_complete(path):
        list_file.unlink()
        path.replace(partial)
    broken: list[dict[str, Any]] = []
    # Taken before the images are read: what changes later is noticed the next time.
    files = {index: recipe.collection.files(index) for index in images}
    stamp = {index: stamps(files[index]) for index in images}
    contents = {index: content(files[index]) for index in images}

    def annotation(index: int, name: str) -> Mapping[str, Any]:
        return {"index": index, "name": name, "content": contents[index], **annotate(index)}

    def update(stored: Mapping[str, Any]) -> Mapping[str, Any] | None:
        index = stored["index"]
        if contents.get(index) != stored["content"]:
            return None
        return json.loads(json.dumps(annotation(index, stored["name"])))  # a tuple is a list there

    with Appender(partial, update) as appender:
        todo = [index for index in images if index not in appender.written]
        bar.update(len(images) - len(todo))
        for start in range(0, len(todo), IMAGES_PER_BATCH):
            indices = todo[start : start + IMAGES_PER_BATCH]
            for index, name, result in _build(recipe, indices):
                if isinstance(result, DataError):
                    if strict:
                        raise result
                    if len(broken) < MOST_NAMED:
                        logger.warning("%s; it is left out", result)
                    broken.append({"index": index, "name": name, "reason": str(result)})
                else:
                    appender.write(annotation(index, name), result)
            bar.update(len(indices))
    if len(broken) > MOST_NAMED:
        of = counted(len(images), "image")  # more than MOST_NAMED are left out
        logger.warning("%s: %d of %s are left out in all; %s lists them", path, len(broken), of, list_file)
    listed = {
        **summary(read_shard(partial)),
        "digest": file_digest(partial),
        "broken": broken,
        "texts": _digest_of_texts(images, annotate),
        "stamps": [stamp[index] for index in images],
        "contents": [contents[index] for index in images],
    }
    write_atomically(list_file, json.dumps(listed))
    partial.replace(path)  # last: a shard is complete when both are there


def summary(graphs: Iterable[StoredGraph]) -> dict[str, Any]:
    """What is kept of some graphs: numbers of graphs and nodes, sums over the nodes' features and their squares.

    The sums are over ``counted`` nodes: those of whole images where there are such, see :attr:`GraphDataset.moments`.
    """
    count = nodes = rows = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    for stored in graphs:
        count += 1
        nodes += len(stored.tensors["category"])
        if "x" in stored.tensors:
            x = stored.tensors["x"].double()
            if "whole" in stored.tensors:
                x = x[stored.tensors["whole"]]
            rows += len(x)
            total, squares = total + x.sum(dim=0), squares + x.square().sum(dim=0)
    moments = [total.tolist(), squares.tolist()] if isinstance(total, Tensor) and isinstance(squares, Tensor) else []
    return {"graphs": count, "nodes": nodes, "counted": rows, "moments": moments}


def _build(recipe: Recipe, indices: Sequence[int]) -> Iterator[tuple[int, str, SceneGraph | DataError]]:
    """The graph of each image, or the reason why it has none."""
    samples: dict[int, ImageSample] = {}
    errors: dict[int, DataError] = {}
    for index in indices:
        try:
            samples[index] = recipe.collection[index]
        except DataError as error:
            errors[index] = error
    if recipe.backbone.trainable and samples:
        _check_sizes(list(samples.values()), _first(recipe.collection))
    built = try_to_build_graphs(list(samples.values()), recipe.segmenter, recipe.backbone, recipe.parameters)
    results = dict(zip(samples, built, strict=True))
    for index in indices:
        if index in errors:
            yield index, "", errors[index]
        else:
            yield index, samples[index].name, results[index]


def _first(collection: ImageCollection) -> ImageSample:
    """The first image that can be read, of a collection that has one."""
    for index in range(len(collection)):
        with contextlib.suppress(DataError):
            return collection[index]
    raise DataError("no image can be read")


def _check_sizes(samples: Sequence[ImageSample], first: ImageSample) -> None:
    for sample in samples:
        if sample.image.shape != first.image.shape:
            raise DataError(
                f"{sample.name}: a trainable backbone needs images of one size, not {sample.image.shape} as here and "
                f"{first.image.shape} as in {first.name}"
            )
